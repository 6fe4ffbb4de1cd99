"""Small encoders of kinds that nobody installs: random weights, a byte-level vocabulary."""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, PoolingType, TokenType

from tests.engines.llama.small_model import MERGED, byte_characters

CONTROL = ("<|end|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "<|im_start|>user\nfits?\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
)


def write_reranker(path: Path, *, template: str | None = TEMPLATE) -> Path:
    """A Qwen3 of embedding length 32 that answers yes or no, as Qwen3-Reranker is converted."""
    embd, ff, heads, layers = 32, 64, 2, 2
    tokens = [*byte_characters(), *MERGED, *CONTROL]
    writer = GGUFWriter(str(path), "qwen3")
    writer.add_context_length(2048)
    writer.add_embedding_length(embd)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_key_length(embd // heads)
    writer.add_value_length(embd // heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_pooling_type(PoolingType.RANK)
    writer.add_classifier_output_labels(["yes", "no"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * 261 + [TokenType.CONTROL] * len(CONTROL))
    writer.add_token_merges(["h e", "l l", "t h", "Ġ t", "i n"])
    writer.add_eos_token_id(tokens.index("<|end|>"))
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template([{"name": "rerank", "template": template}])
    random = np.random.default_rng(5)

    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, (random.standard_normal((rows, columns)) * 0.3).astype(np.float32))

    matrix("token_embd.weight", len(tokens), embd)
    matrix("cls.output.weight", 2, embd)
    writer.add_tensor("output_norm.weight", np.ones(embd, np.float32))
    for layer in range(layers):
        name = f"blk.{layer}."
        for part, size in (("attn_norm", embd), ("ffn_norm", embd), ("attn_q_norm", 16), ("attn_k_norm", 16)):
            writer.add_tensor(f"{name}{part}.weight", np.ones(size, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{name}{part}.weight", embd, embd)
        matrix(name + "ffn_gate.weight", ff, embd)
        matrix(name + "ffn_up.weight", ff, embd)
        matrix(name + "ffn_down.weight", embd, ff)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
