"""LoRA files for the model of `small_model.write_model`, and that model with one of them merged into it."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

EMBD = 32
RANK, ALPHA = 4, 8.0
PARTS = tuple(f"blk.{layer}.{part}.weight" for layer in (0, 1) for part in ("attn_q", "attn_v", "ffn_down"))
COLUMNS = {"ffn_down": 64}
Pairs = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


def pairs(seed: int, *, size: float = 0.2) -> Pairs:
    """(A, B) of every adapted matrix, of shapes (rank, columns) and (rows, rank)."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return (random.standard_normal((rows, columns)) * size).astype(np.float32)

    return {name: (matrix(RANK, COLUMNS.get(name.split(".")[2], EMBD)), matrix(EMBD, RANK)) for name in PARTS}


def write_adapter(
    path: Path, seed: int = 1, *, arch: str = "llama", content: Pairs | None = None,
    kind: str = "adapter", alpha: Any = ALPHA, invocation: tuple[int, ...] = (),
) -> Path:  # fmt: skip
    """A LoRA of the query, value and feed-forward output matrices of both layers."""
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_type(kind)
    writer.add_string("adapter.type", "lora")
    if isinstance(alpha, float):
        writer.add_float32("adapter.lora.alpha", alpha)
    else:
        writer.add_string("adapter.lora.alpha", alpha)
    if invocation:
        writer.add_key_value(
            "adapter.alora.invocation_tokens", list(invocation), gguf.GGUFValueType.ARRAY,
            sub_type=gguf.GGUFValueType.UINT32,
        )  # fmt: skip
    for name, (a, b) in (pairs(seed) if content is None else content).items():
        writer.add_tensor(name + ".lora_a", a)
        writer.add_tensor(name + ".lora_b", b)
    _finish(writer)
    return path


def write_merged(base: Path, path: Path, *contributions: tuple[int, float]) -> Path:
    """`base` plus scale · ALPHA / RANK · B A for each (seed, scale)."""
    reader = gguf.GGUFReader(str(base))
    writer = gguf.GGUFWriter(str(path), "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, sub_type = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
    for tensor in reader.tensors:
        values = np.array(tensor.data, np.float32)
        for seed, scale in contributions:
            if tensor.name in (content := pairs(seed)):
                a, b = content[tensor.name]
                values += np.float32(scale * ALPHA / RANK) * (b @ a)
        writer.add_tensor(tensor.name, values)
    _finish(writer)
    return path


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
