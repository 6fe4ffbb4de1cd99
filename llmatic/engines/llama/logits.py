"""Arithmetic on one row of logits: peak, largest, weights, log probabilities.

Pure numpy, in the engine's thread; never sorts a whole vocabulary. Owns the scratch memory that all rows
share. What two readers of a row need is computed once: log probabilities and the draw at temperature 1 use
the same weights, top_k and the likeliest tokens the same search.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
_BLOCK = 64
_LINES = 64
_FEW = 64
_FEW_BYTES = 512
_BYTES = np.arange(256, dtype=np.uint8)[:, None]
_PENALTIES: Floats = np.where(np.unpackbits(_BYTES, axis=1, bitorder="little") == 0, -np.inf, 0.0).astype(
    np.float32
)  # what each byte of a mask adds to the eight logits that it is about


class BadLogits(Exception):
    """The row has no finite maximum: damaged weights, or everything is banned."""


class Weights:
    """Unnormalised probabilities; `values` of shape (n_vocab,), zero-padded to whole `blocks`.

    The sums of the blocks are kept until the values change, which only methods may do.
    """

    def __init__(self, n_vocab: int) -> None:
        self._padded = np.zeros(-(-n_vocab // _BLOCK) * _BLOCK, np.float32)
        self._blocks: Floats = self._padded.reshape(-1, _BLOCK)
        self._ones = np.ones(_BLOCK, np.float32)
        self._sums: NDArray[np.float64] | None = None
        self.values: Floats = self._padded[:n_vocab]

    def fill(self, row: Floats, peak: float, temperature: float) -> None:
        """exp((row - peak) / temperature): the largest is 1."""
        values = self.values
        np.subtract(row, np.float32(peak), out=values)
        if temperature != 1.0:
            np.multiply(values, np.float32(1.0 / temperature), out=values)
        np.exp(values, out=values)
        self._sums = None

    def keep(self, source: "Weights", mask: NDArray[np.bool_]) -> None:
        """Those of `source` where `mask`, else 0."""
        if source is self:
            np.multiply(self.values, mask, out=self.values)
        else:
            np.copyto(self.values, mask)  # the mask as numbers: half the time of multiplying by it
            np.multiply(self.values, source.values, out=self.values)
        self._sums = None

    def _block_sums(self) -> NDArray[np.float64]:
        if self._sums is None:  # a product with ones is far quicker than a sum along an axis
            self._sums = np.dot(self._blocks, self._ones).astype(np.float64)
        return self._sums

    def total(self) -> float:
        """The sum of all."""
        return float(self._block_sums().sum())

    def pick(self, uniform: float) -> int:
        """The index at which the cumulated weights pass `uniform` of their total."""
        sums = self._block_sums().cumsum()
        target = uniform * sums[-1]
        block = min(int(np.searchsorted(sums, target, "right")), len(sums) - 1)
        inside = self._blocks[block].cumsum(dtype=np.float64)
        rest = target - (sums[block - 1] if block else 0.0)
        place = int(np.searchsorted(inside, min(rest, inside[-1] * (1 - 1e-12)), "right"))
        token = block * _BLOCK + min(place, _BLOCK - 1)
        if token < len(self.values) and self.values[token] > 0.0:
            return token
        return int(self.values.argmax())  # rounding led past the last weight


class Workspace:
    """Scratch rows that all samplers of an engine share: sampling is one row at a time."""

    def __init__(self, n_vocab: int) -> None:
        self.weights = Weights(n_vocab)
        self.spare = Weights(n_vocab)
        self.row: Floats = np.zeros(n_vocab, np.float32)


class Row:
    """Logits of shape (n_vocab,) that do not change while this lives, and of which no other Row is in use.

    `best` is the id of the largest (of equal ones the lowest), `peak` its logit.
    """

    __slots__ = ("_largest", "_space", "_temperature", "best", "logits", "peak")

    def __init__(self, logits: Floats, space: Workspace) -> None:
        """Raises BadLogits."""
        self.logits = logits
        self.best = int(logits.argmax())
        self.peak = float(logits[self.best])
        if not math.isfinite(self.peak):
            raise BadLogits
        self._space = space
        self._temperature = 0.0
        self._largest: Ids | None = None

    def weights(self, temperature: float) -> Weights:
        """The workspace's weights, filled from this row unless they are; the caller may spend them."""
        weights = self._space.weights
        if temperature != self._temperature:
            weights.fill(self.logits, self.peak, temperature)
            self._temperature = temperature
        return weights

    def log_total(self) -> float:
        """log Σ exp; within 1e-6 of double precision."""
        return self.peak + math.log(self.weights(1.0).total())

    def largest(self, k: int) -> Ids:
        """As `largest`; asking for fewer later costs nothing."""
        k = min(k, len(self.logits))
        if self._largest is None or len(self._largest) < k:
            self._largest = largest(self.logits, k)
        return self._largest[:k]

    def above(self, logit: float) -> Ids | None:
        """Ids of all that are at least `logit`, ascending; None if they are too many to be worth naming."""
        mask = self.logits >= np.float32(logit)
        is_few = np.count_nonzero(mask) * _FEW <= len(mask)
        return np.flatnonzero(mask) if is_few else None

    def top_logprobs(self, n: int, log_total: float) -> tuple[tuple[int, float], ...]:
        """As `top_logprobs`."""
        return _logprobs(self.logits, self.largest(n), log_total) if n > 0 else ()


def largest(row: Floats, k: int) -> Ids:
    """Ids of the `k` largest logits, largest first, of equal ones the lower id first.

    The row is laid out as lines under each other. The k-th largest of the columns' maxima bounds the k-th
    largest logit from below: only what passes it is sorted.
    """
    n_columns = len(row) // _LINES
    candidates: Ids
    if n_columns > k:
        n_body = n_columns * _LINES
        body = row[:n_body].reshape(_LINES, n_columns)
        peaks = body.max(axis=0)
        border = np.partition(peaks, n_columns - k)[n_columns - k]
        columns = np.flatnonzero(peaks >= border)
        line, place = np.divmod(np.flatnonzero(body.take(columns, axis=1) >= border), len(columns))
        candidates = line * n_columns + columns[place]
        if n_body < len(row):
            candidates = np.concatenate([candidates, np.flatnonzero(row[n_body:] >= border) + n_body])
    else:
        k = min(k, len(row))
        border = np.partition(row, len(row) - k)[len(row) - k]
        candidates = np.flatnonzero(row >= border)
    order = np.argsort(-row[candidates], kind="stable")[:k]
    return candidates[order]


def allowed_ids(mask: NDArray[np.uint8]) -> Ids | None:
    """The ids whose bits are set, ascending; None if they are too many to be worth naming.

    `mask` has one bit per id, the lowest of a byte first.
    """
    if np.count_nonzero(mask) > _FEW_BYTES:
        return None
    places = np.flatnonzero(mask)
    bits = np.unpackbits(mask[places], bitorder="little").reshape(-1, 8)
    line, bit = bits.nonzero()
    return places[line] * 8 + bit


def strike_out(row: Floats, mask: NDArray[np.uint8]) -> None:
    """Make every token impossible whose bit in `mask` is not set."""
    row += _PENALTIES.take(mask, axis=0).reshape(-1)[: len(row)]


def log_sum_exp(row: Floats, space: Workspace) -> float:
    """log Σ exp of the row; within 1e-6 of double precision. Raises BadLogits."""
    return Row(row, space).log_total()


def top_logprobs(row: Floats, n: int, log_total: float) -> tuple[tuple[int, float], ...]:
    """The `n` likeliest ids with their log probabilities; impossible tokens are left out."""
    return _logprobs(row, largest(row, n), log_total) if n > 0 else ()


def _logprobs(row: Floats, ids: Ids, log_total: float) -> tuple[tuple[int, float], ...]:
    values: Any = row[ids].tolist()
    pairs = zip(ids.tolist(), values, strict=True)
    return tuple((token, min(0.0, value - log_total)) for token, value in pairs if value > -math.inf)
