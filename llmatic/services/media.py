"""Pictures and sounds of a chat request, from what the client wrote to bytes.

Owns the checks that need no decoder: encoding, size, number, and that the content is what it claims to be.
Never decodes anything: the worker does, which may crash alone. Asynchronous, on the event loop.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from llmatic.config import MediaSettings
from llmatic.core.errors import InvalidRequest
from llmatic.core.signatures import picture_format, sound_format
from llmatic.core.types import EngineInfo, Media
from llmatic.services.download import Downloader

MAX_TOTAL_BYTES = 48 << 20  # a request travels to its worker in one frame
UNSUPPORTED = (
    "You uploaded an unsupported image. Please make sure your image has of one the following formats: "
    "['png', 'jpeg', 'gif', 'webp']."
)
_WRONG_URL = (
    "Invalid image URL: '{}'. Expected a base64-encoded data URL with an image MIME type "
    "(e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), or an http(s) URL."
)
_TYPES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_SHOWN_CHARACTERS = 80
_LONG_CHARACTERS = 1 << 18  # decoding more takes milliseconds
_N_AT_ONCE = 4
_SLACK_BYTES = 4  # base64 comes in threes
_KINDS: dict[str, Literal["image", "audio"]] = {"image_url": "image", "input_audio": "audio"}


class MediaLoader:
    """Takes the media out of messages; one for the whole server."""

    def __init__(self, settings: MediaSettings) -> None:
        self._settings = settings
        self._downloader = Downloader(settings)

    async def load(
        self, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[tuple[Mapping[str, Any], ...], tuple[Media, ...]]:
        """The messages with `{"type": "media", "index"}` in the place of each of the media, and the media.

        Raises InvalidRequest naming the part at fault.
        """
        found = _parts(messages)
        if not found:
            return tuple(messages), ()
        if len(found) > self._settings.max_items:
            limit = self._settings.max_items
            message = f"Too many images or sounds: {len(found)}, where at most {limit} are allowed."
            raise InvalidRequest(message, param="messages")
        media: list[Media] = []
        for start in range(0, len(found), _N_AT_ONCE):
            media += await self._several(found[start : start + _N_AT_ONCE])
            if sum(len(item.data) for item in media) > MAX_TOTAL_BYTES:
                message = f"The images and sounds have more than {MAX_TOTAL_BYTES} bytes together."
                raise InvalidRequest(message, param="messages", code="media_too_large")
        return tuple(_replaced(messages)), tuple(media)

    async def _several(self, found: Sequence[tuple[Mapping[str, Any], str]]) -> list[Media]:
        """At the same time; if one fails, the others are given up."""
        tasks = [asyncio.ensure_future(self._read(part, place)) for part, place in found]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _read(self, part: Mapping[str, Any], place: str) -> Media:
        if part["type"] == "input_audio":
            return self._sound(part["input_audio"], f"{place}.input_audio")
        image = part["image_url"]
        image = {"url": image} if isinstance(image, str) else image
        param = f"{place}.image_url.url"
        data = await self._picture(image["url"], param)
        return Media("image", data, image.get("detail") or "auto")

    async def _picture(self, url: str, param: str) -> bytes:
        scheme = url[:5].lower()
        if scheme == "data:":
            is_long = len(url) > _LONG_CHARACTERS
            claimed, data = (
                await asyncio.to_thread(self._data, url, param) if is_long else self._data(url, param)
            )
        elif scheme in ("http:", "https"):
            claimed, data = None, await self._downloader.fetch(url, param)
        else:
            raise InvalidRequest(_WRONG_URL.format(_shown(url)), param=param, code="invalid_image_url")
        form = picture_format(data)
        if form is None:
            raise InvalidRequest(UNSUPPORTED, param=param, code="invalid_image_format")
        if claimed is not None and _TYPES.get(claimed) != form:
            raise InvalidRequest(
                f"Invalid image data: the content is {form}, not {_shown(claimed)}.",
                param=param,
                code="invalid_image_format",
            )
        return data

    def _data(self, url: str, param: str) -> tuple[str, bytes]:
        head, comma, body = url[5:].partition(",")
        kind, *options = [item.strip().lower() for item in head.split(";")]
        if not comma or not kind.startswith("image/"):
            raise InvalidRequest(_WRONG_URL.format(_shown(url)), param=param, code="invalid_image_url")
        if "%" in body or "base64" not in options:
            plain = unquote_to_bytes(body)
            if "base64" not in options:
                self._check_size(len(plain), param)
                return kind, plain
            body = plain.decode("latin-1")
        self._check_size(len(body) * 3 // 4, param)
        return kind, _from_base64(body, "Invalid base64 image_url.", param)

    def _sound(self, part: Mapping[str, Any], param: str) -> Media:
        text, form, param = part["data"], part["format"], f"{param}.data"
        text = text.partition(",")[2] if text[:5].lower() == "data:" else text
        self._check_size(len(text) * 3 // 4, param)
        data = _from_base64(text, "Invalid base64 audio data.", param)
        self._check_size(len(data), param)
        if sound_format(data) != form:
            message = f"The audio data is not a valid {form} file."
            raise InvalidRequest(message, param=param, code="invalid_audio_format")
        return Media("audio", data)

    def _check_size(self, n_bytes: int, param: str) -> None:
        limit = self._settings.max_bytes
        if n_bytes > limit + _SLACK_BYTES:
            message = f"The image or sound is too large: at most {limit} bytes are allowed."
            raise InvalidRequest(message, param=param, code="media_too_large")


def has_media(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are pictures or sounds in the messages, as the client sent them."""
    return bool(_parts(messages))


def refuse_unseen(messages: Sequence[Mapping[str, Any]], info: EngineInfo) -> None:
    """Raises InvalidRequest if the model cannot take one of the media: before they are downloaded for it."""
    for part, place in _parts(messages):
        if not (info.has_vision if _KINDS[part["type"]] == "image" else info.has_audio):
            message = f"Invalid content type. {part['type']} is only supported by certain models."
            raise InvalidRequest(message, param=f"{place}.type")


def _parts(messages: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Every part that is no text, and where it stands."""
    return [
        (part, f"messages.[{m}].content.[{c}]")
        for m, message in enumerate(messages)
        if isinstance(message.get("content"), list | tuple)
        for c, part in enumerate(message["content"])
        if part.get("type") in _KINDS
    ]


def _replaced(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    index = 0
    replaced: list[Mapping[str, Any]] = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list | tuple) and any(part.get("type") in _KINDS for part in content):
            parts: list[Mapping[str, Any]] = []
            for part in content:
                if part.get("type") in _KINDS:
                    parts.append({"type": "media", "index": index})
                    index += 1
                else:
                    parts.append(part)
            message = {**message, "content": parts}
        replaced.append(message)
    return replaced


def _from_base64(text: str, refusal: str, param: str) -> bytes:
    """Standard or URL-safe, with or without padding and white space."""
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(refusal, param=param, code="invalid_base64") from error
    if not data:
        raise InvalidRequest(refusal, param=param, code="invalid_base64")
    return data


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
