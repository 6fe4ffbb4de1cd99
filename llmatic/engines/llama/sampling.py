"""Drawing a token from a row of logits.

Owns the meaning of SamplingParams and one random stream per choice; the arithmetic is in `logits`. Runs in
the engine's thread. Order: bias and bans → log probabilities are taken → penalties →
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

import numpy as np
from numpy.typing import NDArray

from llmatic.core.types import SamplingParams
from llmatic.engines.llama.logits import BadLogits, Floats, Ids, Row, Workspace, log_sum_exp, top_logprobs

__all__ = ["BadLogits", "Sample", "Sampler", "Workspace", "log_sum_exp", "top_logprobs"]

_SORTED_TOP_K = 4096
_TEMPERATURE_MIN = 1e-4
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Sample:
    """A drawn token; `logprob` and `top` (ids and their log probabilities, likeliest first) if asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Draws the tokens of one choice.

    `banned`: ids that may never be drawn; `end_tokens`: ids that may not be drawn for the first
    `n_tokens_min` tokens; arrays are taken as they are. The stream of random numbers depends on
    (seed, choice) and the number of draws alone.
    """

    def __init__(
        self,
        params: SamplingParams,
        workspace: Workspace,
        *,
        seed: int,
        choice: int,
        prompt: Sequence[int] = (),
        banned: Iterable[int] | Ids = (),
        end_tokens: Iterable[int] | Ids = (),
        n_tokens_min: int = 0,
    ) -> None:
        """Ids in `params.logit_bias` must lie in the vocabulary."""
        self._params = params
        self._space = workspace
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % 2**128, choice])))
        self._bias_ids = _ids(i for i, _ in params.logit_bias)
        self._bias = np.fromiter((b for _, b in params.logit_bias), np.float32)
        self._banned = _ids(banned)
        self._end_tokens = _ids(end_tokens)
        self._n_min = n_tokens_min
        self._n_drawn = 0
        repeats = params.repetition_penalty != 1.0
        penalises = repeats or params.presence_penalty or params.frequency_penalty
        self._seen = _Seen(params, prompt if repeats else ()) if penalises else None
        self.changes_row = bool(len(self._bias_ids) or len(self._banned) or n_tokens_min or penalises)
        is_sorted = 0 < params.top_k <= min(_SORTED_TOP_K, len(workspace.row))
        self._n_sorted = params.top_k if is_sorted else 0
        self._is_greedy = params.temperature < _TEMPERATURE_MIN or params.top_k == 1

    def sample(self, row: Floats, *, is_shared: bool = False) -> Sample:
        """Draw from logits `row` of shape (n_vocab,), which is overwritten unless `is_shared`.

        Raises BadLogits.
        """
        if is_shared and self.changes_row:
            np.copyto(self._space.row, row)
            row = self._space.row
        self._bias_in_place(row)
        seen, n_top = self._seen, self._params.n_logprobs
        if n_top is None:
            if seen is not None:
                seen.penalise(row)
            return Sample(self._count(self._draw(Row(row, self._space))))
        facts = Row(row, self._space)
        if self._n_sorted and seen is None and not self._is_greedy:
            facts.largest(max(self._n_sorted, n_top))  # one search for both
        log_total = facts.log_total()
        top = facts.top_logprobs(n_top, log_total)
        if seen is not None:
            seen.penalise(row)
            facts = Row(row, self._space)
        token = self._draw(facts)
        logit = float(row[token]) if seen is None else seen.unpenalised(row, token)
        return Sample(self._count(token), min(0.0, logit - log_total), top)

    def _bias_in_place(self, row: Floats) -> None:
        if len(self._bias_ids):
            row[self._bias_ids] += self._bias
        if len(self._banned):
            row[self._banned] = -np.inf
        if self._n_drawn < self._n_min:
            row[self._end_tokens] = -np.inf

    def _count(self, token: int) -> int:
        self._n_drawn += 1
        if self._seen is not None:
            self._seen.add(token)
        return token

    def _draw(self, row: Row) -> int:
        params = self._params
        if self._is_greedy:
            return row.best
        if self._n_sorted:
            return self._draw_sorted(row)
        if params.min_p > 0.0 and params.top_p >= 1.0 and not params.top_k:
            ids = row.above(row.peak + params.temperature * (math.log(params.min_p) - _ROUNDING))
            if ids is not None:
                return self._draw_likely(row, ids)
        return self._draw_unsorted(row)

    def _draw_sorted(self, row: Row) -> int:
        params = self._params
        ids = row.largest(self._n_sorted)
        weights = np.exp((row.logits[ids].astype(np.float64) - row.peak) / params.temperature)
        cumulated = weights.cumsum()
        n_kept = len(ids)
        if params.top_p < 1.0:
            before = cumulated - weights
            n_kept = max(1, int(np.searchsorted(before, params.top_p * cumulated[-1])))
            while n_kept < len(ids) and weights[n_kept] == weights[n_kept - 1]:
                n_kept += 1
        if params.min_p > 0.0:
            n_kept = min(n_kept, max(1, int((weights >= params.min_p).sum())))
        return self._pick(ids[:n_kept], cumulated[:n_kept])

    def _draw_likely(self, row: Row, ids: Ids) -> int:
        """min_p alone names its few candidates `ids`, so that only their weights are computed."""
        params = self._params
        weights = np.exp((row.logits[ids].astype(np.float64) - row.peak) / params.temperature)
        weights[weights < params.min_p] = 0.0
        return self._pick(ids, weights.cumsum())

    def _pick(self, ids: Ids, cumulated: NDArray[np.float64]) -> int:
        place = int(np.searchsorted(cumulated, self._random.random() * cumulated[-1], "right"))
        return int(ids[min(place, len(ids) - 1)])

    def _draw_unsorted(self, row: Row) -> int:
        params = self._params
        weights, spare = row.weights(params.temperature), self._space.spare
        if _SORTED_TOP_K < params.top_k < len(row.logits):
            n_less = len(row.logits) - params.top_k
            weights.keep(weights, weights.values >= np.partition(weights.values, n_less)[n_less])
        nucleus = params.top_p * weights.total() if params.top_p < 1.0 else math.inf
        if params.min_p > 0.0:
            weights.keep(weights, weights.values >= np.float32(params.min_p))
        while True:
            token = weights.pick(self._random.random())
            weight = weights.values[token]
            if nucleus == math.inf or weight >= 1.0:
                return token
            spare.keep(weights, weights.values > weight)
            if spare.total() < nucleus:
                return token
            weights, spare = spare, weights


class _Seen:
    """The tokens that penalties are for, with how often each was drawn (0: it stands in the prompt only)."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int]) -> None:
        ids = np.unique(np.array(prompt, np.int64))
        self._place = {token: place for place, token in enumerate(ids.tolist())}
        self._ids = np.concatenate([ids, np.zeros(64, np.int64)])
        self._counts = np.zeros(len(self._ids), np.float32)
        self._before: Floats = np.zeros(0, np.float32)
        self._repetition = np.float32(params.repetition_penalty)
        self._frequency = np.float32(params.frequency_penalty)
        self._presence = np.float32(params.presence_penalty)

    def add(self, token: int) -> None:
        place = self._place.setdefault(token, len(self._place))
        if place == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._ids[place] = token
        self._counts[place] += 1

    def penalise(self, row: Floats) -> None:
        """Change the logits of what was seen."""
        ids, counts = self._ids[: len(self._place)], self._counts[: len(self._place)]
        values = self._before = row[ids]
        if self._repetition != 1.0:
            values = np.where(values > 0, values / self._repetition, values * self._repetition)
        if self._frequency or self._presence:
            values = values - (counts * self._frequency + (counts > 0) * self._presence)
        row[ids] = values

    def unpenalised(self, row: Floats, token: int) -> float:
        """The token's logit as it was before the last `penalise`."""
        place = self._place.get(token)
        return float(row[token] if place is None else self._before[place])


def _ids(tokens: Iterable[int] | Ids) -> Ids:
    return tokens if isinstance(tokens, np.ndarray) else np.fromiter(tokens, np.int64)
