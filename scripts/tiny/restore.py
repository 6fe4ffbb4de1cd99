"""Reads an exported GGUF back: the vocabulary and the network, so that a training can go on from the file.

The matrices come back as Q8_0 has rounded them. Nothing else is lost, except what the optimizers knew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, models

from . import vocabulary
from .model import Shape, Tiny


class Exported:
    """An exported file, opened."""

    def __init__(self, path: Path) -> None:
        self._reader = GGUFReader(path)

    def _field(self, key: str) -> Any:
        return self._reader.fields[key].contents()

    def tokenizer(self) -> Tokenizer:
        """The vocabulary of the file; it has the ids that llama.cpp gives."""
        tokens: list[str] = self._field("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in self._field("tokenizer.ggml.merges")]
        model = models.BPE({token: number for number, token in enumerate(tokens)}, merges)
        tokenizer = vocabulary.cut(Tokenizer(model))
        tokenizer.add_special_tokens(
            [AddedToken(t, special=True, normalized=False) for t in vocabulary.CONTROL]
        )
        tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in vocabulary.VISIBLE])
        return tokenizer

    def model(self) -> Tiny:
        """The network, in single precision."""
        model = Tiny(self._shape())
        weights = {
            tensor.name: torch.from_numpy(
                np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
            )
            for tensor in self._reader.tensors
        }
        model.load_state_dict(weights)
        return model

    def _shape(self) -> Shape:
        return Shape(
            n_vocab=self._field("llama.vocab_size"),
            n_embd=self._field("llama.embedding_length"),
            n_layer=self._field("llama.block_count"),
            n_head=self._field("llama.attention.head_count"),
            n_head_kv=self._field("llama.attention.head_count_kv"),
            n_ff=self._field("llama.feed_forward_length"),
            n_ctx=self._field("llama.context_length"),
            rope_base=self._field("llama.rope.freq_base"),
            norm_eps=self._field("llama.attention.layer_norm_rms_epsilon"),
        )
