"""LoRA files as they lie on disk: which content a path has, and whether llama.cpp would survive it.

Owns the hashes of adapter files. Never calls llama.cpp. Any thread.

llama.cpp compares an adapter's tensors with the model's and refuses most mismatches itself, but a header
entry of another type and some shapes end the process (ggml asserts): those are refused here, before it sees
them.
"""

import hashlib
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from llmatic.core.errors import InvalidRequest, Unavailable
from llmatic.gguf_header import GgufError, read_header

_STRING, _FLOAT32, _ARRAY = 8, 6, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # gguf.h, of scalars
_ALPHA = "adapter.lora.alpha"
# Q8_1, I8, I16, I32, I64, F64, and types that ggml keeps for intermediate results: nothing multiplies them
_NO_WEIGHTS = frozenset([9, 15, 24, 25, 26, 27, 28])
_EXPERTS = "_exps."

Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]  # ggml's order: the row's length first
    kind: int


class AdapterFiles:
    """Contents by path. A file is read whole once, and again when its size, inode or times have changed."""

    def __init__(self, n_experts: int = 0) -> None:
        """`n_experts` of the model: adapters of its expert matrices must have as many."""
        self._n_experts = n_experts
        self._known: dict[str, tuple[Signature, bytes]] = {}
        self._lock = Lock()

    def content(self, path: str) -> bytes:
        """A hash of the whole file, which is then known to be an adapter.

        Raises InvalidRequest (code adapter_unusable): not there, unreadable, no adapter, damaged.
        Raises Unavailable: it is being written.
        """
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise unusable(path, "it is no regular file")
            signature = _signature(status)
            with self._lock:
                known = self._known.get(path)
            if known is not None and known[0] == signature:
                return known[1]
            self._check(Path(path))
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
            is_same = _signature(os.stat(path)) == signature
        except (OSError, ValueError) as error:
            raise unusable(path, getattr(error, "strerror", None) or str(error)) from error
        if not is_same:
            raise Unavailable(f"The adapter '{Path(path).name}' is being replaced; try again.")
        with self._lock:
            self._known[path] = (signature, content)
        return content

    def _check(self, path: Path) -> None:
        try:
            header = read_header(path)  # every length lies within the file from here on
        except GgufError as error:
            raise unusable(str(path), error.message.removeprefix(f"{path}: ")) from error
        if header.kind != "adapter" or header.adapter_type != "lora":
            raise unusable(str(path), "it is no LoRA adapter")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            kinds, tensors = _walk(data)
        if kinds.get(_ALPHA, _FLOAT32) != _FLOAT32:
            raise unusable(str(path), f"its entry {_ALPHA} is no 32-bit float")
        for tensor in tensors:
            if tensor.kind in _NO_WEIGHTS:
                raise unusable(str(path), f"'{tensor.name}' has a number type that no weights have")
        shapes = {tensor.name: tensor.shape for tensor in tensors}
        for name, shape in shapes.items():
            if name.endswith(".lora_a"):
                base = name.removesuffix(".lora_a")
                self._check_pair(path, base, shape, shapes.get(base + ".lora_b", ()))

    def _check_pair(self, path: Path, name: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
        rank = a[0] if name.endswith("token_embd.weight") else a[1] if len(a) > 1 else 0
        wanted: tuple[int, ...] = (self._n_experts,) if _EXPERTS in name else ()
        if len(b) < 2 or b[0] != rank or a[2:] != wanted or b[2:] != wanted:
            raise unusable(str(path), f"the two parts of '{name}' do not fit each other or the model")


def unusable(path: str, why: str) -> InvalidRequest:
    """The error for a file that cannot be used; names the file without its folder, for clients see it."""
    message = f"The adapter '{Path(path).name}' cannot be used: {why}."
    return InvalidRequest(message, param="model", code="adapter_unusable")


def _signature(status: os.stat_result) -> Signature:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _walk(data: mmap.mmap) -> tuple[dict[str, int], list[_Tensor]]:
    """(types of the header's entries, its tensors) of a file that `read_header` has accepted."""
    entries = _Entries(data)
    n_tensors, n_entries = entries.take("QQ")
    kinds: dict[str, int] = {}
    for _ in range(n_entries):
        key = entries.text()
        (kinds[key],) = entries.take("I")
        entries.skip_value(kinds[key])
    return kinds, list(entries.tensors(n_tensors))


class _Entries:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 8

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return values

    def text(self) -> str:
        (n,) = self.take("Q")
        self._at += n
        return self._data[self._at - n : self._at].decode("utf-8", "replace")

    def skip_value(self, kind: int) -> None:
        n = 1
        if kind == _ARRAY:
            kind, n = self.take("IQ")
        if kind == _STRING:
            for _ in range(n):
                self.text()
        else:
            self._at += n * _SIZES[kind]

    def tensors(self, n: int) -> Iterator[_Tensor]:
        for _ in range(n):
            name = self.text()
            (n_dims,) = self.take("I")
            shape = list(self.take(f"{n_dims}Q"))
            while len(shape) > 2 and shape[-1] == 1:
                shape.pop()
            kind, _ = self.take("IQ")
            yield _Tensor(name, tuple(shape), kind)
