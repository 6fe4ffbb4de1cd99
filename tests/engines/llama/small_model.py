"""Models of 150 kB with random weights and a byte-level vocabulary, written anew for each test session."""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

from llmatic.config import ModelSpec

SPECIAL = ("<|end|>", "<|im_start|>", "<|im_end|>", "<|pre|>", "<|suf|>", "<|mid|>", "<|unused|>")
MERGED = ("he", "ll", "th", "Ġt", "in")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_characters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    table = {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}
    return [table[b] for b in range(256)]


def write_model(
    path: Path, *, arch: str = "llama", layers: int = 2, add_bos: bool = False, template: str | None = CHATML,
    infill: bool = True, nan: bool = False, n_context: int = 512, rope_sections: tuple[int, ...] = (),
    control: tuple[str, ...] = (),
) -> Path:  # fmt: skip
    """A llama of embedding length 32. `control`: more control tokens."""
    embd, ff, heads = 32, 64, 2
    more = [text for text in control if text not in SPECIAL]
    tokens = [*byte_characters(), *MERGED, *SPECIAL, *more]
    types = (
        [TokenType.NORMAL] * (256 + len(MERGED))
        + [TokenType.CONTROL] * (len(SPECIAL) - 1)
        + [TokenType.UNUSED]
        + [TokenType.CONTROL] * len(more)
    )
    writer = GGUFWriter(str(path), arch)
    writer.add_context_length(n_context)
    writer.add_embedding_length(embd)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(embd // heads)
    if rope_sections:
        writer.add_rope_dimension_sections(rope_sections)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["h e", "l l", "t h", "Ġ t", "i n"])
    writer.add_bos_token_id(tokens.index("<|end|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(add_bos)
    if infill:
        for key, token in (("prefix", "<|pre|>"), ("suffix", "<|suf|>"), ("middle", "<|mid|>")):
            writer.add_uint32(f"tokenizer.ggml.{key}_token_id", tokens.index(token))
    if template is not None:
        writer.add_chat_template(template)
    _write_weights(writer, len(tokens), embd, ff, layers, np.nan if nan else 1.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_weights(writer: GGUFWriter, n_vocab: int, embd: int, ff: int, layers: int, scale: float) -> None:
    random = np.random.default_rng(7)

    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, (random.standard_normal((rows, columns)) * 0.3).astype(np.float32))

    matrix("token_embd.weight", n_vocab, embd)
    matrix("output.weight", n_vocab, embd)
    for layer in range(layers):
        name = f"blk.{layer}."
        writer.add_tensor(name + "attn_norm.weight", np.ones(embd, np.float32))
        writer.add_tensor(name + "ffn_norm.weight", np.ones(embd, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{name}{part}.weight", embd, embd)
        matrix(name + "ffn_gate.weight", ff, embd)
        matrix(name + "ffn_up.weight", ff, embd)
        matrix(name + "ffn_down.weight", embd, ff)
    writer.add_tensor("output_norm.weight", np.full(embd, scale, np.float32))


def spec_of(path: Path, **changes: object) -> ModelSpec:
    values: dict[str, object] = {"parallel": 2, "context": 512, "threads": 1, **changes}
    return ModelSpec(id="small", source=str(path), **values)  # type: ignore[arg-type]
