"""A model's projector, fenced in: llama.cpp's mtmd over one mmproj file.

The only file that calls mtmd. mtmd aborts the process on what it does not expect, so what it is given is
checked before: pictures by `pictures`, sounds by `sounds`; and each kind is tried once while the model is
loaded. Its context is apart from the model's, so that encoding disturbs no decode; it serves one call at a
time, hence one thread owns a Projector after loading.
"""

import ctypes
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import mtmd_cpp as M
from numpy.typing import NDArray

from llmatic.core.errors import ConfigError, EngineFailed
from llmatic.engines.llama.log import last_lines, share_log
from llmatic.engines.llama.media.pictures import Pixels
from llmatic.engines.llama.media.rows import Expansion, Kind, Piece, Rows, pseudo_ids
from llmatic.engines.llama.model import Model
from llmatic.gguf_header import read_header

# Where an embedding stands decides what it is, or how many there are of it.
_UNSERVED = {
    "deepseek4v": "its pictures are padded by where they stand",
    "hunyuanvl": "its pictures count each other",
}
_HEAD_BYTES = 1 << 20
_TRIAL_SIDE, _TRIAL_S = 64, 1.0


@dataclass(slots=True)
class Opened:
    """A picture or sound that was cut up but not encoded yet; close it by `Projector.drop`."""

    chunks: Any
    n_rows: int


class Projector:
    """Makes pictures or sounds into rows of a model's input. `has_vision`, `has_audio`: which of them."""

    def __init__(
        self, path: Path, model: Model, *, n_threads: int, uses_gpu: bool, max_rows: int | None = None
    ) -> None:
        """Load `path` for `model` and try it. `max_rows`: of one picture, where the model lets that vary.

        Raises ConfigError: no such projector, one of another model, one that cannot be served."""
        self.path = path
        self._refuse_what_cannot_be_served(path)
        share_log(M.mtmd_helper_log_set)
        params = M.mtmd_context_params_default()
        params.use_gpu = uses_gpu
        params.n_threads = n_threads
        params.print_timings = False
        if max_rows is not None:
            params.image_max_tokens = max_rows
        self._context: Any = M.mtmd_init_from_file(str(path).encode(), model.handle, params)
        if not self._context:
            raise ConfigError(f"llama.cpp could not load the projector '{path}': {last_lines()}")
        self._width, self._n_vocab = model.n_embd, model.vocabulary.n_tokens
        self._marker = M.mtmd_default_marker()
        self.has_vision = bool(M.mtmd_support_vision(self._context))
        self.has_audio = bool(M.mtmd_support_audio(self._context))
        self.identity = _identity(path)
        try:
            self._try()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _refuse_what_cannot_be_served(path: Path) -> None:
        if not path.is_file():
            raise ConfigError(f"there is no projector file '{path}'")
        header = read_header(path)
        if header.architecture != "clip":
            raise ConfigError(f"'{path}' is no projector (mmproj) file")
        why = _UNSERVED.get(header.projector_type or "")
        if why is not None:
            raise ConfigError(f"the projector '{path}' cannot be served: {why}")

    def _try(self) -> None:
        """What cannot be encoded is found out now, not by the first request."""
        if self.has_vision:
            grey = np.full((_TRIAL_SIDE, _TRIAL_SIDE, 3), 127, np.uint8)
            self._encode_now(self.open_picture(grey), "image")
        if self.has_audio:
            n_samples = int(_TRIAL_S * M.mtmd_get_audio_sample_rate(self._context))
            tone = np.sin(np.arange(n_samples, dtype=np.float32) / 10).astype(np.float32)
            bitmap = M.mtmd_bitmap_init_from_audio(n_samples, _floats(tone))
            self._encode_now(self._cut(bitmap), "audio")

    def _encode_now(self, opened: Opened | None, kind: Kind) -> None:
        if opened is None:
            raise ConfigError(f"the projector '{self.path}' takes no {kind}: {last_lines()}")
        try:
            expansion = self.encode(opened, b"trial", kind)
        except EngineFailed as error:
            raise ConfigError(f"the projector '{self.path}' cannot be served: {error.message}") from error
        finally:
            self.drop(opened)
        if not any(isinstance(piece, Rows) for piece in expansion):
            raise ConfigError(f"the projector '{self.path}' makes nothing of an {kind}")

    def open_picture(self, pixels: Pixels) -> Opened | None:
        """Cut up a picture, [height, width, 3]; None if mtmd does not take it."""
        height, width, _ = pixels.shape
        pointer = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return self._cut(M.mtmd_bitmap_init(width, height, pointer))

    def open_sound(self, file: bytes) -> Opened | None:
        """Decode and cut up a sound that `check_sound` has passed; None if mtmd does not take it."""
        buffer = (ctypes.c_uint8 * len(file)).from_buffer_copy(file)
        return self._cut(M.mtmd_helper_bitmap_init_from_buf(self._context, buffer, len(file), False))

    def _cut(self, bitmap: Any) -> Opened | None:
        if not bitmap:
            return None
        chunks = M.mtmd_input_chunks_init()
        text = M.mtmd_input_text()
        text.text, text.text_len = self._marker, len(self._marker)
        text.add_special, text.parse_special = False, True
        bitmaps = (M.mtmd_bitmap_p_ctypes * 1)(bitmap)
        try:
            failed = M.mtmd_tokenize(self._context, chunks, ctypes.byref(text), bitmaps, 1)
        finally:
            M.mtmd_bitmap_free(bitmap)
        if failed:
            M.mtmd_input_chunks_free(chunks)
            return None
        n_rows = sum(int(M.mtmd_input_chunk_get_n_tokens(chunk)) for chunk in _each(chunks))
        return Opened(chunks, n_rows)

    def drop(self, opened: Opened) -> None:
        """Forget what was cut up."""
        chunks, opened.chunks = opened.chunks, None
        if chunks:
            M.mtmd_input_chunks_free(chunks)

    def encode(self, opened: Opened, digest: bytes, kind: Kind) -> Expansion:
        """Its marks and rows; `digest` stands for its content. Takes long. Raises EngineFailed."""
        pieces: list[Piece] = []
        for number, chunk in enumerate(_each(opened.chunks)):
            if M.mtmd_input_chunk_get_type(chunk) == M.MTMD_INPUT_CHUNK_TYPE_TEXT:
                pieces.append(self._marks(chunk))
            else:
                pieces.append(self._rows(chunk, digest + number.to_bytes(4, "little"), kind))
        return tuple(pieces)

    def _marks(self, chunk: Any) -> tuple[int, ...]:
        n_tokens = ctypes.c_size_t()
        pointer = M.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(n_tokens))
        marks = tuple(int(pointer[i]) for i in range(n_tokens.value))
        if not all(0 <= token < self._n_vocab for token in marks):
            raise EngineFailed(
                "the model has no tokens for the marks that the projector wants around pictures"
            )
        return marks

    def _rows(self, chunk: Any, digest: bytes, kind: Kind) -> Rows:
        n_rows = int(M.mtmd_input_chunk_get_n_tokens(chunk))
        if M.mtmd_encode_chunk(self._context, chunk) != 0:
            raise EngineFailed(f"llama.cpp failed to encode the {kind}: {last_lines()}")
        pointer = M.mtmd_get_output_embd(self._context)
        data = np.ctypeslib.as_array(pointer, shape=(n_rows, self._width)).copy()
        if not math.isfinite(float(data.sum())):
            raise EngineFailed(f"the {kind} was encoded to no finite numbers")
        is_whole = bool(M.mtmd_decode_use_non_causal(self._context, chunk))
        ids = pseudo_ids(self.identity + digest, n_rows)
        grid = self._grid(chunk, n_rows)
        n_positions = int(M.mtmd_input_chunk_get_n_pos(chunk)) if grid is not None else n_rows
        return Rows(kind, ids, data, is_whole, grid, n_positions)

    def _grid(self, chunk: Any, n_rows: int) -> NDArray[np.int32] | None:
        """The places of a picture's rows, [3, n]; None if they stand one behind the other."""
        image = M.mtmd_input_chunk_get_tokens_image(chunk)
        if not M.mtmd_decode_use_mrope(self._context) or not image:
            return None
        places = (M.mtmd_decoder_pos * n_rows)()
        M.mtmd_helper_image_get_decoder_pos(image, 0, places)
        grid = np.array([[p.t, p.y, p.x] for p in places], np.int32).T
        return None if np.array_equal(grid[1], np.arange(n_rows)) else grid

    def close(self) -> None:
        """Free the projector. Idempotent; nothing else may be called afterwards."""
        context, self._context = self._context, None
        if context:
            M.mtmd_free(context)


def _each(chunks: Any) -> Iterator[Any]:
    for number in range(int(M.mtmd_input_chunks_size(chunks))):
        yield M.mtmd_input_chunks_get(chunks, number)


def _floats(values: NDArray[np.float32]) -> Any:
    return values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def _identity(path: Path) -> bytes:
    """What tells projectors apart: size, first and last MiB."""
    digest = hashlib.sha256(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_HEAD_BYTES))
        file.seek(max(0, path.stat().st_size - _HEAD_BYTES))
        digest.update(file.read())
    return digest.digest()
