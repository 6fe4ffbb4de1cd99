"""GGUF encoders on llama.cpp: an EncoderBackend.

Owns what a row means: a vector, a score from 0 to 1, or the probabilities of classes. `read` may be called in
one thread while `compute` runs in another: they share only the vocabulary, which is read-only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmatic.core.encoding import EncodeRequest
from llmatic.core.types import EngineInfo
from llmatic.engines.encoding.backend import Item, Matrix
from llmatic.engines.encoding.inputs import InputReader
from llmatic.engines.llama.encoder_context import EncoderContexts
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.rank_template import RankTemplate


@dataclass(frozen=True, slots=True)
class Parts:
    """A loaded model and what reads for it."""

    model: Model
    contexts: EncoderContexts
    reader: InputReader
    template: RankTemplate | None
    info: EngineInfo


class LlamaEncoder:
    """A loaded GGUF encoder."""

    def __init__(self, parts: Parts, *, has_probabilities: bool, normalizes: bool) -> None:
        """`has_probabilities`: the model's own last step has made them of its classes."""
        assert parts.info.encoder is not None
        self._parts = parts
        self._task = parts.info.encoder.task
        self._has_probabilities = has_probabilities
        self._normalizes = normalizes

    @property
    def info(self) -> EngineInfo:
        """What was loaded."""
        return self._parts.info

    def read(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
        """As `EncoderBackend.read`."""
        template = self._parts.template
        if template is not None and request.task == "rank":
            texts = request.texts
            written = [template.text_prefix + text for text in texts[first:last]]
            query = template.query_prefix + (request.query or "") + template.query_suffix
            request = replace(request, query=query, texts=(*texts[:first], *written, *texts[last:]))
        return self._parts.reader.read(request, first, last)

    def compute(self, items: Sequence[Item]) -> Matrix:
        """As `EncoderBackend.compute`."""
        rows = self._parts.contexts.compute([item.ids for item in items])
        if self._task == "embed":
            return _unit(rows) if self._normalizes else rows
        if rows.shape[1] == 1:
            return _logistic(rows)
        shares = rows if self._has_probabilities else _softmax(rows)
        return np.ascontiguousarray(shares[:, :1]) if self._task == "rank" else shares

    def stats(self) -> dict[str, float]:
        """Nothing of its own."""
        return {}

    def close(self) -> None:
        """Free contexts and weights. Idempotent."""
        self._parts.contexts.close()
        self._parts.model.close()


def _unit(rows: Matrix) -> Matrix:
    """Rows of length 1; a row of zeros stays one."""
    lengths: Matrix = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float32))
    lengths[lengths == 0] = 1
    return rows / lengths[:, None]


def _logistic(rows: Matrix) -> Matrix:
    shares: Matrix = np.divide(1, 1 + np.exp(-np.clip(rows, -80, 80)), dtype=np.float32)
    return shares


def _softmax(rows: Matrix) -> Matrix:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares: Matrix = np.divide(powers, powers.sum(axis=1, keepdims=True), dtype=np.float32)
    return shares
