"""Real states of the small model for the tests of the tiers, and a made-up one."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmatic.engines.llama.backend import Backend, DecodeResult
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from tests.engines.llama.small_model import write_model

EMBEDDED = Path(__file__).parents[4] / "models" / "llmatic-tiny.gguf"
Open = Callable[..., Backend]


def open_backend(
    directory: Path,
    *,
    layers: int = 3,
    is_unified: bool = True,
    has_flash_attention: bool = True,
    **types: str,
) -> Backend:
    """Three slots of a model with random weights; of the embedded one if the cache's `types` are given."""
    path = EMBEDDED if types else write_model(directory / f"{layers}.gguf", layers=layers)
    options = replace(Options(batch=64, ubatch=64), **types)  # type: ignore[arg-type]
    return Backend(
        Model(path, options, n_gpu_layers=0),
        options,
        n_context=768,
        n_sequences=3,
        n_threads=1,
        is_unified=is_unified,
        has_flash_attention=has_flash_attention,
    )


def feed(backend: Backend, slot: int, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Decode more tokens of the slot; the logits of the last."""
    n, start = len(tokens), backend.length(slot)
    result = backend.decode(tokens, range(start, start + n), [slot] * n, [n - 1])
    assert result is DecodeResult.DONE
    return backend.logits(0).copy()


ROW_BYTES = (6, 10)


def made_up(tokens: Sequence[int], salt: int = 0) -> NDArray[np.uint8]:
    """A blob of one layer in llama.cpp's format whose rows tell token, position and salt: no model needed."""
    n = len(tokens)
    cells = np.stack([np.arange(n), np.ones(n), np.zeros(n)], 1).astype(np.int32)
    parts = [struct.pack("<IiII", 0xAF143CD8, 0, 1, n), cells.tobytes(), struct.pack("<II", 0, 1)]
    prefix = 0
    values = []
    for position, token in enumerate(tokens):
        prefix = (prefix * 1000003 + token + salt + 1) % (1 << 31)
        values.append(struct.pack("<iiiI", token, position, salt, prefix))
    rows = np.frombuffer(b"".join(values), np.uint8).reshape(n, 16)
    parts += [struct.pack("<iQ", 1, 6), np.ascontiguousarray(rows[:, :6]).tobytes()]
    parts += [struct.pack("<iQ", 1, 10), np.ascontiguousarray(rows[:, 6:]).tobytes()]
    return np.frombuffer(b"".join(parts), np.uint8)
