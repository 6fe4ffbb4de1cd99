"""Whole models as one torch module: token ids in, rows out.

Owns the arithmetic around the libraries' modules (activation, softmax) so that torch and OpenVINO compute the
same graph. Imports torch; `library.py` imports this file when a model is loaded. Pure.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class _Chain(nn.Module):  # type: ignore[misc]
    """sentence-transformers' modules, one after another; each takes and returns a dict of tensors."""

    def __init__(self, modules: Sequence[nn.Module], result: str, activation: Activation | None) -> None:
        super().__init__()
        self.links = nn.ModuleList(modules)
        self.result = result
        self.activation = activation

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        for link in self.links:
            if isinstance(link, Normalize):  # in half precision the length would not be 1
                features[self.result] = features[self.result].float()
            features = link(features)
        rows: Tensor = features[self.result].float()
        if self.activation is not None:
            rows = self.activation(rows)
        return rows.reshape(rows.shape[0], -1)


class _Classifier(nn.Module):  # type: ignore[misc]
    """A transformers classifier with its probabilities: independent of each other, or summing to 1."""

    def __init__(self, model: nn.Module, is_multi_label: bool) -> None:
        super().__init__()
        self.model = model
        self.is_multi_label = is_multi_label

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        columns = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            columns["token_type_ids"] = token_type_ids
        logits: Tensor = self.model(**columns).logits.float()
        return torch.sigmoid(logits) if self.is_multi_label else torch.softmax(logits, dim=-1)


def chain(modules: Sequence[nn.Module], result: str, activation: Activation | None = None) -> nn.Module:
    """`modules` one after another; they end with the feature `result`, and `activation` comes last."""
    return _Chain(modules, result, activation)


def score_activation(own: Activation) -> Activation:
    """The ranker's own; one that gives bare logits gets a sigmoid, so that scores go from 0 to 1."""
    return nn.Sigmoid() if isinstance(own, nn.Identity) else own


def classifier(model: nn.Module, *, is_multi_label: bool) -> nn.Module:
    """`model` with a sigmoid for each label, or one softmax over all."""
    return _Classifier(model, is_multi_label)
