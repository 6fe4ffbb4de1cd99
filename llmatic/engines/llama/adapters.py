"""LoRA adapters over one loaded model (LoRA, arXiv:2106.09685).

Owns the llama_adapter_lora handles and knows which of them a context runs with. Never decides who runs with
which adapter. `pin` and `identity` read files only and may be called from any thread; everything else calls
llama.cpp and belongs to the engine's thread.

A set applies to a whole decode: rows of different sets cannot share a batch. Changing the set costs the next
decode a new graph (milliseconds); setting the same set again is free. What was computed with one set is
wrong under any other, so prefixes are kept apart by `identity`.
"""

import ctypes
import hashlib
import math
import os
import struct
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp as C
import numpy as np

from llmatic.core.errors import Unavailable
from llmatic.core.types import Adapter
from llmatic.engines.llama.adapter_file import AdapterFiles, unusable
from llmatic.engines.llama.log import last_lines

AdapterSet = tuple[Adapter, ...]
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class PinnedAdapter(Adapter):
    """An adapter with the content that its file had when the request came: a replaced file is another one."""

    content: bytes = b""


class Adapters:
    """The adapters of one model; `()` is the model without any.

    At most `n_max` files stay loaded, more only while more are in use. Sets may be given pinned or not; the
    scheduler should only compare pinned ones.
    """

    def __init__(self, model_handle: Any, *, n_max: int = 32) -> None:
        """`model_handle`: a llama_model that outlives this object."""
        self._model = model_handle
        self._n_max = n_max
        self._files = AdapterFiles(_n_experts(model_handle))
        self._handles: OrderedDict[tuple[str, bytes], Any] = OrderedDict()  # least recently used first
        self._set: dict[Any, AdapterSet] = {}

    def __len__(self) -> int:
        """Loaded files."""
        return len(self._handles)

    def pin(self, adapters: AdapterSet) -> AdapterSet:
        """The same set with the present content of its files, in one order.

        Scales of a file that is named twice add up, and what has no effect (scale 0) is left out, so that an
        equal set means equal answers. Negative scales take a contribution away. Idempotent: what is pinned
        keeps its content. Reads each file once. Any thread; no call of llama.cpp.

        Raises InvalidRequest: a scale that is no number, a file that is missing or no adapter. Raises
        Unavailable: a file that is just being written.
        """
        scales: dict[tuple[str, bytes], float] = {}
        for adapter in adapters:
            if not math.isfinite(adapter.scale) or abs(adapter.scale) > _FLOAT32_MAX:
                raise unusable(adapter.path, f"{adapter.scale} is no scale")
            if adapter.scale == 0.0:
                continue
            if isinstance(adapter, PinnedAdapter):
                key = _key(adapter)
            else:
                key = (adapter.path, self._files.content(adapter.path))
            scales[key] = scales.get(key, 0.0) + adapter.scale
        pinned = (PinnedAdapter(path, scale, content) for (path, content), scale in sorted(scales.items()))
        return tuple(adapter for adapter in pinned if adapter.scale != 0.0)

    def identity(self, adapters: AdapterSet) -> bytes:
        """What must agree for computed prompts to be shared: contents and scales, not paths. b"" without any.

        The same in every process that has the same files. Raises as `pin`. Any thread; no call of llama.cpp.
        """
        pinned = self.pin(adapters)
        if not pinned:
            return b""
        parts = sorted(_content(adapter) + struct.pack("<f", adapter.scale) for adapter in pinned)
        return hashlib.blake2b(b"".join(parts), digest_size=16).digest()

    def prepare(self, adapters: AdapterSet, in_use: Iterable[AdapterSet] = ()) -> None:
        """Load what is not loaded, and make room by dropping what was not used for longest.

        `in_use`: the pinned sets of running sequences; their files, and those set in a context, stay loaded.
        Raises InvalidRequest: llama.cpp refuses the file, or it works after invocation tokens only (aLoRA).
        Raises Unavailable: the file was replaced since it was pinned. What runs is not disturbed by either.
        """
        pinned = self.pin(adapters)
        for adapter in pinned:
            key = _key(adapter)
            if key not in self._handles:
                self._handles[key] = self._load(*key)
            self._handles.move_to_end(key)
        kept = (pinned, *self._set.values(), *in_use)
        needed = {_key(a) for adapters in kept for a in adapters if isinstance(a, PinnedAdapter)}
        for key in [key for key in self._handles if key not in needed]:
            if len(self._handles) <= self._n_max:
                break
            C.llama_adapter_lora_free(self._handles.pop(key))

    def use(self, context: Any, adapters: AdapterSet) -> None:
        """Make the next decodes of `context` run with exactly these; llama.cpp skips it if they are set.

        Raises as `prepare`, which it calls for what is not loaded.
        """
        pinned = self.pin(adapters)
        if any(_key(adapter) not in self._handles for adapter in pinned):
            self.prepare(pinned)
        n = len(pinned)
        handles = (C.llama_adapter_lora_p_ctypes * n)(*(self._handles[_key(a)] for a in pinned))
        scales = (ctypes.c_float * n)(*(adapter.scale for adapter in pinned))
        C.llama_set_adapters_lora(context, handles, n, scales)
        self._set[context] = pinned
        for adapter in pinned:
            self._handles.move_to_end(_key(adapter))

    def close(self) -> None:
        """Free everything. After the contexts, before the model. Idempotent."""
        self._set.clear()
        while self._handles:
            C.llama_adapter_lora_free(self._handles.popitem()[1])

    def _load(self, path: str, content: bytes) -> Any:
        self._check_content(path, content)
        last_lines()  # older complaints are not about this file
        handle = C.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not handle:
            raise unusable(path, f"llama.cpp refuses it: {last_lines().rpartition('; ')[2]}")
        try:
            if C.llama_adapter_get_alora_n_invocation_tokens(handle):
                raise unusable(path, "it is an activated LoRA, which only works after its invocation tokens")
            self._check_content(path, content)
        except BaseException:
            C.llama_adapter_lora_free(handle)
            raise
        return handle

    def _check_content(self, path: str, content: bytes) -> None:
        if self._files.content(path) != content:
            raise Unavailable(f"The adapter '{Path(path).name}' was replaced meanwhile; try again.")


def _content(adapter: Adapter) -> bytes:
    assert isinstance(adapter, PinnedAdapter)
    return adapter.content


def _key(adapter: Adapter) -> tuple[str, bytes]:
    return adapter.path, _content(adapter)


def _n_experts(model_handle: Any) -> int:
    buffer = ctypes.create_string_buffer(64)
    if C.llama_model_meta_val_str(model_handle, b"general.architecture", buffer, len(buffer)) < 0:
        return 0
    key = buffer.value + b".expert_count"
    if C.llama_model_meta_val_str(model_handle, key, buffer, len(buffer)) < 0 or not buffer.value.isdigit():
        return 0
    return int(buffer.value)
