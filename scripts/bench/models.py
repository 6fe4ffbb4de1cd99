"""Makes models of any size with random weights and a real vocabulary, for measurements of speed only.

They write noise, at the cost of a trained model of that shape; "copycat" writes what `copycat` says, at the
cost of "half". Each is made once, into the cache.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.archive import llama_cpp_source
from scripts.bench.copycat import successors
from scripts.bench.problem import Problem
from scripts.bench.report import Report
from scripts.bench.vocabulary import words_of

N_CONTEXT = 32768
SPREAD = 0.02
END, PAD = "<|im_end|>", "<|endoftext|>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Qwen2 model: width, layers, heads of queries and of keys, width of the feed-forward part.

    `copies`: the weights are those of a model that repeats its prompt.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int
    ff: int
    copies: bool = False


SHAPES = {
    "small": Shape(width=256, layers=4, heads=4, kv_heads=2, ff=1024),
    "half": Shape(width=896, layers=24, heads=14, kv_heads=2, ff=4864),
    "copycat": Shape(width=896, layers=24, heads=14, kv_heads=2, ff=4864, copies=True),
    "copycat-small": Shape(width=256, layers=4, heads=4, kv_heads=2, ff=1024, copies=True),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, help="unpacked source archive of llama-cpp-python")
    parser.add_argument("shapes", nargs="*", help=f"any of {', '.join(SHAPES)}; default: all")


def run(arguments: argparse.Namespace) -> Report:
    names = arguments.shapes or list(SHAPES)
    if unknown := set(names) - set(SHAPES):
        raise Problem(f"no such shape: {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
    paths = [make(name, arguments.cache, arguments.source) for name in names]
    return Report("models", ("model", "MB"), [(str(p), round(p.stat().st_size / 1e6, 1)) for p in paths])


def find(name: str, cache: Path) -> Path:
    """The model of that shape, made before; a path to a GGUF file is taken as it is."""
    path = Path(name) if name.endswith(".gguf") else cache / f"{name}.gguf"
    if not path.is_file():
        raise Problem(f"{path} is not there: run scripts/bench/run models {path.stem}")
    return path.resolve()


def make(name: str, cache: Path, source: Path | None) -> Path:
    """Write `name`.gguf, quantised to Q8_0, unless it is there."""
    path = cache / f"{name}.gguf"
    if path.exists():
        return path
    vocabulary = llama_cpp_source(cache, source) / "models" / "ggml-vocab-qwen2.gguf"
    half_precision, partial = cache / f"{name}.f16.{os.getpid()}", cache / f"{name}.q8.{os.getpid()}"
    print(f"bench: making {path.name}", file=sys.stderr)
    try:
        _write(SHAPES[name], name, vocabulary, half_precision)
        _quantise(half_precision, partial)
        partial.rename(path)
    finally:
        half_precision.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)
    return path


def _write(shape: Shape, name: str, vocabulary: Path, out: Path) -> None:
    import gguf

    fields = gguf.GGUFReader(vocabulary).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    writer = gguf.GGUFWriter(out, "qwen2")
    writer.add_name(f"random {name}")
    writer.add_context_length(N_CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ff)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model(fields["tokenizer.ggml.model"].contents())
    writer.add_tokenizer_pre(fields["tokenizer.ggml.pre"].contents())
    writer.add_token_list(tokens)
    writer.add_token_types(fields["tokenizer.ggml.token_type"].contents())
    writer.add_token_merges(fields["tokenizer.ggml.merges"].contents())
    writer.add_eos_token_id(tokens.index(END))
    writer.add_pad_token_id(tokens.index(PAD))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    following = successors(words_of(vocabulary).ids, len(tokens)) if shape.copies else None
    _add_weights(writer, shape, len(tokens), following)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_weights(writer: Any, shape: Shape, n_vocab: int, following: Sequence[int] | None) -> None:
    """`following`: what comes after each token in a model that copies."""
    import numpy as np

    rng = np.random.default_rng(20)
    width, kv_width = shape.width, shape.width // shape.heads * shape.kv_heads

    silent = 0.0 if following else SPREAD

    def matrix(name: str, rows: int, columns: int, spread: float = SPREAD) -> Any:
        values = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(spread)
        values = values.astype(np.float16)
        writer.add_tensor(f"{name}.weight", values)
        return values

    def constant(name: str, size: int, value: float) -> None:
        writer.add_tensor(name, np.full(size, value, np.float32))

    embeddings = matrix("token_embd", n_vocab, width)
    if following is not None:
        output = np.empty_like(embeddings)
        output[following] = embeddings
        writer.add_tensor("output.weight", output)
    constant("output_norm.weight", width, 1)
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        for part, rows in (("q", width), ("k", kv_width), ("v", kv_width)):
            matrix(f"{block}attn_{part}", rows, width)
            constant(f"{block}attn_{part}.bias", rows, 0)
        matrix(f"{block}attn_output", width, width, silent)
        matrix(f"{block}ffn_gate", shape.ff, width)
        matrix(f"{block}ffn_up", shape.ff, width)
        matrix(f"{block}ffn_down", width, shape.ff, silent)
        constant(f"{block}attn_norm.weight", width, 1)
        constant(f"{block}ffn_norm.weight", width, 1)


def _quantise(source: Path, out: Path) -> None:
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    parameters.nthread = os.cpu_count() or 1
    if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(out), parameters):
        raise Problem(f"llama.cpp could not quantise {source}")
