"""A model file in memory: weights, vocabulary, and what kind of model it is.

Owns the llama_model handle. Together with `backend`, `encoder_context`, `log` and `vocabulary` the only code
that calls llama.cpp. Loading blocks and belongs in the engine's thread; what it has read is read-only
afterwards.
"""

import ctypes
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp as C

from llmatic.core.errors import ConfigError
from llmatic.engines.llama.log import last_lines, silence
from llmatic.engines.llama.memory import available_bytes, file_bytes
from llmatic.engines.llama.options import SPLIT_MODES, Options
from llmatic.engines.llama.vocabulary import Vocabulary
from llmatic.gguf_header import ENCODERS

_HEAD_AND_TAIL_BYTES = 1 << 20
_GRID_ROPES = (C.LLAMA_ROPE_TYPE_MROPE, C.LLAMA_ROPE_TYPE_IMROPE)


class Model:
    """Loaded weights.

    `can_fork`: sequences may share cells. It is False for recurrent and hybrid models, whose state is one
    lump per sequence. Sliding-window models are given a full-size cache, which makes them as the others.
    `n_embd`: width of a row of embeddings that goes in, `n_embd_out` of one that comes out, `n_classes` of a
    classifier's (1 without one). `has_grids`: rows of pictures have places instead of positions
    (M-RoPE).
    """

    def __init__(
        self,
        path: Path,
        options: Options,
        *,
        n_gpu_layers: int | None = None,
        on_progress: Callable[[float], None] | None = None,
        encodes: bool = False,
    ) -> None:
        """Load `path`, telling `on_progress` shares from 0 to 1.

        Raises ConfigError if the file is no model, or, unless it `encodes`, one that does not write text.
        """
        silence()
        if not path.is_file():
            raise ConfigError(f"there is no model file '{path}'")
        C.llama_backend_init()
        params = C.llama_model_default_params()
        is_mapped = options.mmap
        if is_mapped is None:
            is_mapped = bool(n_gpu_layers) or file_bytes(path) > available_bytes() // 2
        params.load_mode = (C.LLAMA_LOAD_MODE_MMAP if is_mapped else 0) | (
            C.LLAMA_LOAD_MODE_MLOCK if options.mlock else 0
        )
        keep = _fill(params, options, n_gpu_layers, on_progress)
        self.handle: Any = C.llama_model_load_from_file(str(path).encode(), params)
        del keep
        if not self.handle:
            raise ConfigError(f"llama.cpp could not load '{path}': {last_lines()}")
        try:
            if not encodes:
                self._refuse_what_cannot_be_served(path)
            self.vocabulary = Vocabulary(self.handle)
        except BaseException:
            self.close()
            raise
        self.path = path
        self.n_context_train = int(C.llama_model_n_ctx_train(self.handle))
        self.size_bytes = int(C.llama_model_size(self.handle))
        self.description = self._read_description()
        self.can_fork = not (C.llama_model_is_recurrent(self.handle) or C.llama_model_is_hybrid(self.handle))
        self.n_embd = int(C.llama_model_n_embd_inp(self.handle))
        self.n_embd_out = int(C.llama_model_n_embd_out(self.handle))
        self.n_classes = int(C.llama_model_n_cls_out(self.handle))
        self.n_layers = int(C.llama_model_n_layer(self.handle))
        self.has_grids = int(C.llama_model_rope_type(self.handle)) in _GRID_ROPES
        template = C.llama_model_chat_template(self.handle, None)
        self.chat_template: str | None = template.decode("utf-8", "replace") if template else None

    def _refuse_what_cannot_be_served(self, path: Path) -> None:
        if C.llama_model_has_encoder(self.handle):
            raise ConfigError(f"'{path}' is an encoder-decoder model; only decoder models can be served")
        if self.metadata("general.architecture") in _WORDLESS or not C.llama_model_has_decoder(self.handle):
            raise ConfigError(f"'{path}' is an encoder (embedding) model and writes no text")
        if C.llama_model_is_diffusion(self.handle):
            raise ConfigError(f"'{path}' is a diffusion model; only left-to-right models can be served")

    def metadata(self, key: str) -> str | None:
        """A scalar of the file's header as text; None if it has none of that name."""
        size = 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = C.llama_model_meta_val_str(self.handle, key.encode(), buffer, size)
            if n < size:
                return buffer.value.decode("utf-8", "replace") if n >= 0 else None
            size = n + 1

    def _read_description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        C.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def fingerprint(self, *more: str) -> str:
        """A short hash of the file (size, first and last MiB) and of `more`; equal means the same answers."""
        digest = hashlib.sha256()
        size = self.path.stat().st_size
        digest.update(str(size).encode())
        with self.path.open("rb") as file:
            digest.update(file.read(_HEAD_AND_TAIL_BYTES))
            file.seek(max(0, size - _HEAD_AND_TAIL_BYTES))
            digest.update(file.read())
        for text in more:
            digest.update(b"\0" + text.encode())
        return "fp_" + digest.hexdigest()[:10]

    def close(self) -> None:
        """Free the weights; contexts over them must be gone. Idempotent."""
        handle, self.handle = self.handle, None
        if handle:
            C.llama_model_free(handle)


_WORDLESS = ENCODERS | {"wavtokenizer-dec", "clip"}


def _fill(
    params: Any, options: Options, n_gpu_layers: int | None, on_progress: Callable[[float], None] | None
) -> list[Any]:
    """Set `params`; what it returns must live until the load has returned."""
    if n_gpu_layers is not None:
        params.n_gpu_layers = n_gpu_layers
    params.main_gpu = options.main_gpu
    params.split_mode = SPLIT_MODES.index(options.split_mode)
    params.check_tensors = options.check_tensors
    keep: list[Any] = []
    if options.tensor_split:
        n_devices = int(C.llama_max_devices())
        if len(options.tensor_split) > n_devices:
            raise ConfigError(f"option 'tensor_split' has more than {n_devices} shares")
        shares = (ctypes.c_float * max(n_devices, 1))(*options.tensor_split)
        params.tensor_split = shares
        keep.append(shares)
    if on_progress is not None:
        callback = C.llama_progress_callback(lambda share, _data: on_progress(float(share)) is None)
        params.progress_callback = callback
        keep.append(callback)
    return keep
