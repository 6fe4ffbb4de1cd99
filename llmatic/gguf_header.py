"""What a GGUF file says about itself, read without loading it.

Owns the file's header: magic, metadata, the table of tensors. Never reads a tensor, never imports a model
library. Every length is checked against the file's size before it is used, so that a broken file gives
one GgufError and costs neither memory nor time. Any thread.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from llmatic.core.errors import ConfigError
from llmatic.core.types import EncodeTask

MAX_ENTRIES = 100_000
MAX_TEXT_BYTES = 8_000_000
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LABELS = ".classifier.output_labels"
# ggml type → (name, weights in a block, bytes of a block)
_TYPES = {
    **{0: ("F32", 1, 4), 1: ("F16", 1, 2), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4)},
    **{27: ("I64", 1, 8), 28: ("F64", 1, 8), 30: ("BF16", 1, 2)},
    **{2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24)},
    **{8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 20: ("IQ4_NL", 32, 18), 39: ("MXFP4", 32, 17)},
    **{10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176)},
    **{14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74)},
    **{18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82)},
    **{23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66)},
    **{40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18)},
}
# general.file_type, where it says more than the commonest tensor type
_MIXES = {
    **{10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S"},
    **{17: "Q5_K_M", 18: "Q6_K", 21: "Q2_K_S", 22: "IQ3_XS", 27: "IQ3_M", 29: "IQ2_M", 38: "MXFP4_MOE"},
}

# <architecture>.pooling_type
POOLINGS = ("none", "mean", "cls", "last", "rank")

# what llama.cpp computes without a cache: these read texts and write none
ENCODERS = frozenset(
    [
        *("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert"),
        *("eurobert", "gemma-embedding", "llama-embed", "t5encoder"),
    ]
)

# the keys that name the tokens of filling in the middle, and their older names
_INFILL = (("fim_pre", "fim_suf", "fim_mid"), ("prefix", "suffix", "middle"))


class GgufError(ConfigError):
    """The file is no GGUF file that can be used; the message says why."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The facts of one file. `n_weights` counts this file's; a split model has several files.

    `kind` is what the file is, "model" or "adapter" as a rule; `adapter_type` is "lora" for LoRA adapters and
    None for all but adapters; `projector_type` is how a projector's pictures come about, and `has_vision`
    and `has_audio` say what it encodes. `has_infill`: the tokens of filling in the middle are named; where
    they are not, llama.cpp may still find them by their texts. `pooling` is how the rows of a text's tokens
    become one, if the file says; `labels` are the outputs of a classifier, `has_classifier` says that one's
    weights are here; `n_embd` is the size of a token's row.
    """

    version: int
    size_bytes: int
    architecture: str
    name: str
    quantization: str
    n_weights: int
    n_context_train: int | None
    n_vocab: int | None
    chat_template: str | None
    kind: str = "model"
    adapter_type: str | None = None
    projector_type: str | None = None
    has_infill: bool = False
    has_vision: bool = False
    has_audio: bool = False
    pooling: str | None = None
    labels: tuple[str, ...] = ()
    has_classifier: bool = False
    n_embd: int | None = None


def encoder_task(header: GgufHeader) -> EncodeTask | None:
    """What an encoder's file is for; None if it writes text, or is no model of texts at all.

    llama.cpp's own converter writes the pooling "rank" for some rerankers only; the others are encoders with
    a classifier and no pooling. Two outputs "yes" and "no" are one score.
    """
    if header.kind != "model":
        return None
    is_encoder = header.architecture in ENCODERS
    is_head = is_encoder and header.has_classifier and header.pooling in (None, "none")
    if header.pooling == "rank" or is_head:
        return "rank" if len(header.labels) < 2 or header.labels == ("yes", "no") else "classify"
    return "embed" if is_encoder or header.pooling in ("mean", "cls", "last") else None


def read_header(path: Path) -> GgufHeader:
    """The header of `path`. Raises GgufError, one sentence that names the file."""
    try:
        with _mapped(path) as data:
            return _header(_Reader(data))
    except OSError as error:
        raise GgufError(f"{path}: cannot be read: {error.strerror}") from error
    except GgufError as error:
        raise GgufError(f"{path}: {error.message}") from error


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file:
        if path.stat().st_size < 24:
            raise GgufError("too short to be a GGUF file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


class _Reader:
    """A position in the file that cannot leave it."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def skip(self, n: int) -> int:
        start = self.at
        if n < 0 or start + n > len(self.data):
            raise GgufError("the header is cut off; the file is damaged or its download did not finish")
        self.at = start + n
        return start

    def number(self, form: str) -> Any:
        start = self.skip(struct.calcsize("<" + form))
        return struct.unpack_from("<" + form, self.data, start)[0]

    def count(self, limit: int, what: str) -> int:
        n: int = self.number("Q")
        if n > limit:
            raise GgufError(f"claims to have {n} {what}; the file is damaged")
        return n

    def text(self) -> str:
        n = self.count(MAX_TEXT_BYTES, "bytes in one text")
        start = self.skip(n)
        return self.data[start : start + n].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A scalar or text; of an array only its length, as ("array", n)."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return ("array", self._array())
        raise GgufError(
            f"holds a value of the unknown type {kind}; the file is damaged or newer than this reader"
        )

    def _array(self) -> int:
        kind: int = self.number("I")
        n = self.count(len(self.data), "values in one list")
        if kind in _SCALARS:
            self.skip(n * struct.calcsize("<" + _SCALARS[kind]))
        elif kind == _STRING:
            self._skip_texts(n)
        else:
            raise GgufError(f"holds a list of the unknown type {kind}; the file is damaged")
        return n

    def _skip_texts(self, n: int) -> None:
        """Written out, because vocabularies have hundreds of thousands of them."""
        unpack, data, at = struct.Struct("<Q").unpack_from, self.data, self.at
        try:
            for _ in range(n):
                at += 8 + unpack(data, at)[0]
        except (struct.error, OverflowError):
            at = len(data) + 1
        self.skip(at - self.at)

    def texts(self, kind: int) -> tuple[str, ...]:
        """A list of texts; empty if the value is anything else."""
        start = self.at
        self.value(kind)
        end, self.at = self.at, start
        if kind != _ARRAY or self.number("I") != _STRING:
            self.at = end
            return ()
        return tuple(self.text() for _ in range(self.count(MAX_ENTRIES, "labels")))


def _header(reader: _Reader) -> GgufHeader:
    magic = reader.data[reader.skip(4) : 4]
    if magic != b"GGUF":
        raise GgufError(f"is no GGUF file (it begins with {magic!r}, not b'GGUF')")
    version = reader.number("I")
    if version not in (2, 3):
        words = "big-endian" if version in (2 << 24, 3 << 24) else f"of version {version}"
        raise GgufError(f"is a GGUF file {words}, which cannot be used; versions 2 and 3 can")
    n_tensors = reader.count(MAX_ENTRIES, "tensors")
    meta: dict[str, Any] = {}
    for _ in range(reader.count(MAX_ENTRIES, "metadata entries")):
        key = reader.text()
        kind: int = reader.number("I")
        meta[key] = reader.texts(kind) if key.endswith(_LABELS) else reader.value(kind)
    n_weights, quantization, has_classifier = _tensors(reader, n_tensors, meta)
    architecture = _text(meta, "general.architecture")
    if not architecture:
        raise GgufError("names no architecture (general.architecture is missing)")
    vocabulary = meta.get("tokenizer.ggml.tokens")
    return GgufHeader(
        version=version,
        size_bytes=len(reader.data),
        architecture=architecture,
        name=_text(meta, "general.name") or "",
        quantization=_MIXES.get(_number(meta, "general.file_type") or 0, quantization),
        n_weights=n_weights,
        n_context_train=_number(meta, f"{architecture}.context_length"),
        n_vocab=vocabulary[1] if isinstance(vocabulary, tuple) else None,
        chat_template=_text(meta, "tokenizer.chat_template"),
        kind=_text(meta, "general.type") or "model",
        adapter_type=_text(meta, "adapter.type"),
        projector_type=_text(meta, "clip.projector_type") or _text(meta, "clip.vision.projector_type"),
        has_infill=any(all(f"tokenizer.ggml.{name}_token_id" in meta for name in names) for names in _INFILL),
        has_vision=meta.get("clip.has_vision_encoder") is True,
        has_audio=meta.get("clip.has_audio_encoder") is True,
        pooling=_pooling(meta.get(f"{architecture}.pooling_type")),
        labels=meta.get(architecture + _LABELS, ()),
        has_classifier=has_classifier,
        n_embd=_number(meta, f"{architecture}.embedding_length"),
    )


def _tensors(reader: _Reader, n_tensors: int, meta: dict[str, Any]) -> tuple[int, str, bool]:
    """(weights of all tensors, the type of most of them, whether a classifier is among them).

    Checks that the file holds them all.
    """
    weights: dict[int, int] = {}
    end = 0
    has_classifier = False
    for _ in range(n_tensors):
        name = reader.text()
        n_dims: int = reader.number("I")
        if not 0 < n_dims <= 8:
            raise GgufError(f"holds a tensor of {n_dims} dimensions; the file is damaged")
        sizes = [reader.number("Q") for _ in range(n_dims)]
        n = prod(sizes)
        has_classifier |= name == "cls.output.weight" or (name == "cls.weight" and n == sizes[0])
        kind, offset = reader.number("I"), reader.number("Q")
        weights[kind] = weights.get(kind, 0) + n
        _, per_block, block_bytes = _TYPES.get(kind, ("", 1, 0))
        end = max(end, offset + n // per_block * block_bytes)
    alignment = _number(meta, "general.alignment") or 32
    needed = -(-reader.at // alignment) * alignment + end
    there = len(reader.data)
    if end and needed > there:
        raise GgufError(f"is cut off: needs {needed} bytes and has {there}; its download did not finish")
    commonest = max(weights, key=lambda kind: weights[kind], default=0)
    return sum(weights.values()), _TYPES.get(commonest, (f"type {commonest}", 1, 0))[0], has_classifier


def _pooling(number: Any) -> str | None:
    return POOLINGS[number] if isinstance(number, int) and 0 <= number < len(POOLINGS) else None


def _text(meta: dict[str, Any], key: str) -> str | None:
    value = meta.get(key)
    return value if isinstance(value, str) else None


def _number(meta: dict[str, Any], key: str) -> int | None:
    value = meta.get(key)
    return value if isinstance(value, int) and value > 0 else None
