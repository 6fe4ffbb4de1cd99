"""From a request's media to the pieces of its prompt.

Owns the cache of what was encoded, found by content. Used by one thread of low priority, apart from the one
that reads prompts and from the engine's, because encoding a picture takes seconds on a CPU.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256

from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.core.types import ChatPrompt, Media
from llmatic.engines.llama.media.pictures import UNSUPPORTED, read_picture
from llmatic.engines.llama.media.projector import Opened, Projector
from llmatic.engines.llama.media.rows import Expansion, Kind, Rows, n_rows
from llmatic.engines.llama.media.sounds import check_sound

_FIELDS: dict[Kind, str] = {"image": "image_url", "audio": "input_audio"}


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """`n_rows`: positions that a prompt may have; `n_whole`: rows that can be computed at once."""

    n_rows: int
    n_whole: int
    max_pixels: int
    max_audio_s: float
    cache_bytes: int


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class MediaReader:
    """Reads the media of one model's requests. `projector` None: refuses them all."""

    def __init__(self, projector: Projector | None, limits: MediaLimits) -> None:
        self.projector = projector
        self._limits = limits
        self._cache: OrderedDict[bytes, Expansion] = OrderedDict()
        self.n_cached_bytes = 0
        self.n_encoded = 0
        self.n_found = 0

    @property
    def has_vision(self) -> bool:
        """Whether pictures are taken."""
        return self.projector is not None and self.projector.has_vision

    @property
    def has_audio(self) -> bool:
        """Whether sounds are taken."""
        return self.projector is not None and self.projector.has_audio

    @property
    def identity(self) -> str:
        """What tells one projector from another; empty without one."""
        return "" if self.projector is None else self.projector.identity.hex()

    def refuse_unseen(self, prompt: ChatPrompt) -> None:
        """Raises InvalidRequest if one of the media is of a kind that the model does not take."""
        for media, place in zip(prompt.media, places(prompt), strict=True):
            if not (self.has_vision if media.kind == "image" else self.has_audio):
                raise InvalidRequest(
                    f"Invalid content type. {_FIELDS[media.kind]} is only supported by certain models.",
                    param=f"{place}.type",
                )

    def read(
        self, prompt: ChatPrompt, is_wanted: Callable[[], bool], *, salt: str = ""
    ) -> tuple[Expansion, ...]:
        """What stands in the prompt for each of its media, in their order.

        `is_wanted` is asked before each is encoded. What was encoded under another `salt` is not used, so
        that nobody learns by the time of an answer what others have sent. Raises InvalidRequest for what
        cannot be decoded, ContextLengthExceeded before anything is encoded in vain, EngineFailed, Cancelled.
        """
        self.refuse_unseen(prompt)
        keys = [_key(media, salt) for media in prompt.media]
        with ExitStack() as stack:
            opened: dict[bytes, Opened] = {}
            n_taken = 0
            for media, key, place in zip(prompt.media, keys, places(prompt), strict=True):
                if key not in opened and key not in self._cache:
                    opened[key] = self._open(media, place)
                    stack.callback(self._projector.drop, opened[key])
                n_taken += opened[key].n_rows if key in opened else n_rows(self._cache[key])
                self._check_room(n_taken)
            found: dict[bytes, Expansion] = {}
            try:
                for media, key, place in zip(prompt.media, keys, places(prompt), strict=True):
                    if key not in found:
                        found[key] = self._expand(key, media, opened.get(key), is_wanted)
                        self._check_whole(found[key], place)
            finally:  # who hung up may ask again
                for key, expansion in found.items():
                    self._keep(key, expansion)
        return tuple(found[key] for key in keys)

    @property
    def _projector(self) -> Projector:
        assert self.projector is not None
        return self.projector

    def _open(self, media: Media, place: str) -> Opened:
        limits = self._limits
        param = f"{place}.{_FIELDS[media.kind]}"
        if media.kind == "image":
            pixels = read_picture(media.data, max_pixels=limits.max_pixels, detail=media.detail, param=param)
            opened = self._projector.open_picture(pixels)
        else:
            file = check_sound(media.data, max_s=limits.max_audio_s, param=param)
            opened = self._projector.open_sound(file)
        if opened is None:
            message = UNSUPPORTED if media.kind == "image" else "The audio data could not be decoded."
            raise InvalidRequest(message, param=param, code=f"invalid_{media.kind}_format")
        return opened

    def _check_room(self, total: int) -> None:
        if total >= self._limits.n_rows:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {self._limits.n_rows} tokens. However, the images "
                f"and sounds in your messages resulted in {total} tokens or more. Please send fewer ones.",
                param="messages",
            )

    def _check_whole(self, expansion: Expansion, place: str) -> None:
        most = max((len(p) for p in expansion if isinstance(p, Rows) and p.is_whole), default=0)
        if most > self._limits.n_whole:
            raise InvalidRequest(
                f"The image takes {most} tokens that must be computed at once, and the model is set up for "
                f"{self._limits.n_whole}: raise its options 'batch' and 'ubatch', or send a smaller image.",
                param=place,
            )

    def _expand(
        self, key: bytes, media: Media, opened: Opened | None, is_wanted: Callable[[], bool]
    ) -> Expansion:
        if opened is None:
            self.n_found += 1
            return self._cache[key]
        if not is_wanted():
            raise Cancelled
        self.n_encoded += 1
        return self._projector.encode(opened, key, media.kind)

    def _keep(self, key: bytes, expansion: Expansion) -> None:
        if key not in self._cache:
            self.n_cached_bytes += _size(expansion)
        self._cache[key] = expansion
        self._cache.move_to_end(key)
        while self.n_cached_bytes > self._limits.cache_bytes and self._cache:
            _, oldest = self._cache.popitem(last=False)
            self.n_cached_bytes -= _size(oldest)

    def close(self) -> None:
        """Free the projector. Idempotent."""
        if self.projector is not None:
            self.projector.close()


def places(prompt: ChatPrompt) -> list[str]:
    """Where each of the media stands, in OpenAI's words: `messages.[0].content.[1]`."""
    found = dict.fromkeys(range(len(prompt.media)), "messages")
    for m, message in enumerate(prompt.messages):
        content = message.get("content")
        for c, part in enumerate(content if isinstance(content, list | tuple) else ()):
            if part.get("type") == "media":
                found[part["index"]] = f"messages.[{m}].content.[{c}]"
    return list(found.values())


def _key(media: Media, salt: str) -> bytes:
    """Stands for the content, how it is looked at, and among whom it is shared."""
    is_low = media.kind == "image" and media.detail == "low"
    return sha256(repr((media.kind, is_low, salt)).encode() + media.data).digest()


def _size(expansion: Expansion) -> int:
    return sum(piece.data.nbytes for piece in expansion if isinstance(piece, Rows))
