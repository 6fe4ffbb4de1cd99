"""Drawing a token from a row of logits.

Owns the arithmetic of SamplingParams and one random stream per choice. Pure numpy; never sorts a whole
vocabulary. Runs in the engine's thread. Order: bias and bans → log probabilities are taken → penalties →
(temperature 0: argmax) → temperature → top_k → top_p → min_p → draw.

Log probabilities are of the model's own distribution after logit_bias: penalties, temperature and the
truncations do not enter them, as with OpenAI. `top_p` keeps every token whose likelier ones together have
less than top_p of the mass left by top_k; tokens of equal probability at the border stay together. `min_p`
is relative to the likeliest token after temperature.

Without top_k nothing is sorted: a token is drawn from the whole distribution and kept if the mass of
likelier tokens is below top_p; otherwise it and all less likely ones are struck out and another is drawn.
That gives exactly the distribution of the nucleus.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmatic.core.types import SamplingParams

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
_BLOCK = 64
_PEAK_BLOCK = 256
_SORTED_TOP_K = 4096
_TEMPERATURE_MIN = 1e-4


class BadLogits(Exception):
    """The row has no finite maximum: damaged weights, or everything is banned."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A drawn token; `logprob` and `top` (ids and their log probabilities, likeliest first) if asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Weights:
    """Unnormalised probabilities; `values` of shape (n_vocab,), zero-padded to whole `blocks`."""

    def __init__(self, n_vocab: int) -> None:
        self._padded = np.zeros(-(-n_vocab // _BLOCK) * _BLOCK, np.float32)
        self._ones = np.ones(_BLOCK, np.float32)
        self.values: Floats = self._padded[:n_vocab]
        self.blocks: Floats = self._padded.reshape(-1, _BLOCK)

    def block_sums(self) -> Floats:
        """The sum of each block; a product with ones is far quicker than a sum along an axis."""
        return np.asarray(np.dot(self.blocks, self._ones), np.float32)

    def total(self) -> float:
        """The sum of all."""
        return float(self.block_sums().sum(dtype=np.float64))


class Workspace:
    """Scratch rows that all samplers of an engine share: sampling is one row at a time."""

    def __init__(self, n_vocab: int) -> None:
        self.weights = Weights(n_vocab)
        self.spare = Weights(n_vocab)
        self.row: Floats = np.zeros(n_vocab, np.float32)


class Sampler:
    """Draws the tokens of one choice.

    `banned`: ids that may never be drawn; `end_tokens`: ids that may not be drawn for the first
    `n_tokens_min` tokens. The stream of random numbers depends on (seed, choice) alone.
    """

    def __init__(
        self,
        params: SamplingParams,
        workspace: Workspace,
        *,
        seed: int,
        choice: int,
        prompt: Sequence[int] = (),
        banned: Iterable[int] = (),
        end_tokens: Iterable[int] = (),
        n_tokens_min: int = 0,
    ) -> None:
        """Ids in `params.logit_bias` must lie in the vocabulary."""
        self._params = params
        self._space = workspace
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % 2**128, choice])))
        self._bias_ids = np.fromiter((i for i, _ in params.logit_bias), np.int64)
        self._bias = np.fromiter((b for _, b in params.logit_bias), np.float32)
        self._banned = np.fromiter(banned, np.int64)
        self._end_tokens = np.fromiter(end_tokens, np.int64)
        self._n_min = n_tokens_min
        self._n_drawn = 0
        wants_seen = params.presence_penalty or params.frequency_penalty
        self._counts = _Counts() if wants_seen else None
        self._repeated = _Counts(prompt) if params.repetition_penalty != 1.0 else None
        self.changes_row = bool(
            len(self._bias_ids) or len(self._banned) or n_tokens_min or self._counts or self._repeated
        )

    def sample(self, row: Floats, *, is_shared: bool = False) -> Sample:
        """Draw from logits `row` of shape (n_vocab,), which is overwritten unless `is_shared`.

        Raises BadLogits.
        """
        if is_shared and self.changes_row:
            np.copyto(self._space.row, row)
            row = self._space.row
        self._bias_in_place(row)
        top: tuple[tuple[int, float], ...] = ()
        log_total = 0.0
        n_top = self._params.n_logprobs
        if n_top is not None:
            log_total = log_sum_exp(row, self._space)
            top = top_logprobs(row, n_top, log_total)
            unpenalised = row.copy() if self._counts or self._repeated else row
        self._penalise_in_place(row)
        token = self._draw(row)
        self._n_drawn += 1
        for counts in (self._counts, self._repeated):
            if counts is not None:
                counts.add(token)
        if n_top is None:
            return Sample(token)
        return Sample(token, min(0.0, float(unpenalised[token]) - log_total), top)

    def _bias_in_place(self, row: Floats) -> None:
        if len(self._bias_ids):
            row[self._bias_ids] += self._bias
        if len(self._banned):
            row[self._banned] = -np.inf
        if self._n_drawn < self._n_min:
            row[self._end_tokens] = -np.inf

    def _penalise_in_place(self, row: Floats) -> None:
        params = self._params
        if self._repeated is not None:
            ids, _ = self._repeated.seen()
            values = row[ids]
            factor = np.float32(params.repetition_penalty)
            row[ids] = np.where(values > 0, values / factor, values * factor)
        if self._counts is not None:
            ids, counts = self._counts.seen()
            row[ids] -= counts * np.float32(params.frequency_penalty) + np.float32(params.presence_penalty)

    def _draw(self, row: Floats) -> int:
        best = int(row.argmax())
        peak = float(row[best])
        if not math.isfinite(peak):
            raise BadLogits
        params = self._params
        if params.temperature < _TEMPERATURE_MIN or params.top_k == 1:
            return best
        if 0 < params.top_k <= min(_SORTED_TOP_K, len(row)):
            return self._draw_sorted(row, peak)
        return self._draw_unsorted(row, peak)

    def _draw_sorted(self, row: Floats, peak: float) -> int:
        params = self._params
        ids = largest(row, params.top_k)
        weights = np.exp((row[ids].astype(np.float64) - peak) / params.temperature)
        cumulated = weights.cumsum()
        n_kept = len(ids)
        if params.top_p < 1.0:
            before = cumulated - weights
            n_kept = max(1, int(np.searchsorted(before, params.top_p * cumulated[-1])))
            while n_kept < len(ids) and weights[n_kept] == weights[n_kept - 1]:
                n_kept += 1
        if params.min_p > 0.0:
            n_kept = min(n_kept, max(1, int((weights >= params.min_p).sum())))
        chosen = np.searchsorted(cumulated[:n_kept], self._random.random() * cumulated[n_kept - 1], "right")
        return int(ids[min(int(chosen), n_kept - 1)])

    def _draw_unsorted(self, row: Floats, peak: float) -> int:
        params = self._params
        weights, spare = self._space.weights, self._space.spare
        values = weights.values
        np.subtract(row, np.float32(peak), out=values)
        if params.temperature != 1.0:
            np.multiply(values, np.float32(1.0 / params.temperature), out=values)
        np.exp(values, out=values)
        if _SORTED_TOP_K < params.top_k < len(row):
            border = np.partition(values, len(row) - params.top_k)[len(row) - params.top_k]
            values[values < border] = 0.0
        nucleus = params.top_p * weights.total() if params.top_p < 1.0 else math.inf
        if params.min_p > 0.0:
            np.multiply(values, values >= np.float32(params.min_p), out=values)
        while True:
            token = _pick(weights, self._random.random())
            weight = weights.values[token]
            if nucleus == math.inf or weight >= 1.0:
                return token
            np.multiply(weights.values, weights.values > weight, out=spare.values)
            if spare.total() < nucleus:
                return token
            weights, spare = spare, weights


class _Counts:
    """How often each id occurred, as arrays that grow."""

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self._place: dict[int, int] = {}
        self._ids = np.zeros(64, np.int64)
        self._counts = np.zeros(64, np.float32)
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        place = self._place.setdefault(token, len(self._place))
        if place == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._ids[place] = token
        self._counts[place] += 1

    def seen(self) -> tuple[Ids, Floats]:
        n = len(self._place)
        return self._ids[:n], self._counts[:n]


def _pick(weights: Weights, uniform: float) -> int:
    """The index at which the cumulated weights pass `uniform` of their total."""
    sums = weights.block_sums().cumsum(dtype=np.float64)
    target = uniform * sums[-1]
    block = min(int(np.searchsorted(sums, target, "right")), len(sums) - 1)
    inside = weights.blocks[block].cumsum(dtype=np.float64)
    rest = target - (sums[block - 1] if block else 0.0)
    place = int(np.searchsorted(inside, min(rest, inside[-1] * (1 - 1e-12)), "right"))
    token = block * _BLOCK + min(place, _BLOCK - 1)
    if token < len(weights.values) and weights.values[token] > 0.0:
        return token
    return int(weights.values.argmax())  # rounding led past the last weight


def largest(row: Floats, k: int) -> Ids:
    """Ids of the `k` largest logits, largest first, of equal ones the lower id first.

    The k-th largest block maximum bounds the k-th largest logit from below: only what passes it is sorted.
    """
    n_blocks = len(row) // _PEAK_BLOCK
    candidates: Ids
    if n_blocks > k:
        body = row[: n_blocks * _PEAK_BLOCK].reshape(n_blocks, _PEAK_BLOCK)
        peaks = body.max(axis=1)
        border = np.partition(peaks, n_blocks - k)[n_blocks - k]
        blocks = np.flatnonzero(peaks >= border)
        inside = np.flatnonzero(body[blocks] >= border)
        tail = np.flatnonzero(row[n_blocks * _PEAK_BLOCK :] >= border) + n_blocks * _PEAK_BLOCK
        candidates = np.concatenate(
            [blocks[inside // _PEAK_BLOCK] * _PEAK_BLOCK + inside % _PEAK_BLOCK, tail]
        )
    else:
        k = min(k, len(row))
        border = np.partition(row, len(row) - k)[len(row) - k]
        candidates = np.flatnonzero(row >= border)
    order = np.argsort(-row[candidates], kind="stable")[:k]
    return candidates[order]


def log_sum_exp(row: Floats, space: Workspace) -> float:
    """log Σ exp of the row; within 1e-6 of double precision. Raises BadLogits."""
    peak = float(row.max())
    if not math.isfinite(peak):
        raise BadLogits
    weights = space.weights
    np.subtract(row, np.float32(peak), out=weights.values)
    np.exp(weights.values, out=weights.values)
    return peak + math.log(weights.total())


def top_logprobs(row: Floats, n: int, log_total: float) -> tuple[tuple[int, float], ...]:
    """The `n` likeliest ids with their log probabilities; impossible tokens are left out."""
    if n <= 0:
        return ()
    ids = largest(row, n)
    values: Any = row[ids].tolist()
    pairs = zip(ids.tolist(), values, strict=True)
    return tuple((token, min(0.0, value - log_total)) for token, value in pairs if value > -math.inf)
