"""Drawing a token from a row of logits.

Owns the meaning of SamplingParams and one random stream per choice; the arithmetic is in `logits`. Runs in
the engine's thread. Order: bias and bans → log probabilities are taken → penalties →
(temperature 0: argmax) → temperature → top_k → top_p → min_p → draw.

Log probabilities are of the model's own distribution after logit_bias: penalties, temperature and the
truncations do not enter them, as with OpenAI. `top_p` keeps every token whose likelier ones together have
less than top_p of the mass left by top_k; tokens of equal probability at the border stay together. `min_p`
is relative to the likeliest token after temperature.

A token that must fit a grammar is first drawn from all: if it fits, the draw has the same distribution as one
from the fitting tokens alone, and no mask was needed. If it does not fit, it is drawn once more, from those
that do, and the next few are drawn from the fitting tokens at once. (top_p, top_k and min_p see only the
tokens that the draw is from.)

Without top_k nothing is sorted: a token is drawn from the whole distribution and kept if the mass of
likelier tokens is below top_p; otherwise it and all less likely ones are struck out and another is drawn.
That gives exactly the distribution of the nucleus.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmatic.core.types import SamplingParams
from llmatic.engines.llama.logits import (
    BadLogits,
    Floats,
    Ids,
    Row,
    Workspace,
    allowed_ids,
    log_sum_exp,
    strike_out,
    top_logprobs,
)

__all__ = ["BadLogits", "Sample", "Sampler", "Workspace", "log_sum_exp", "top_logprobs"]

_SORTED_TOP_K = 4096
_TEMPERATURE_MIN = 1e-4
_ROUNDING = 1e-3
N_MASKED = 8  # tokens in a row that are drawn from the fitting ones alone, once one did not fit


@dataclass(frozen=True, slots=True)
class Sample:
    """A drawn token; `logprob` and `top` (ids and their log probabilities, likeliest first) if asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Gate(Protocol):
    """What says which tokens may come next; see `constraints.matcher`."""

    def accepts(self, token: int) -> bool:
        """Take the token, if it may come."""
        ...

    def mask(self) -> NDArray[np.uint8]:
        """One bit per id that may come."""
        ...


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
        self._n_to_mask = 0

    def sample(
        self, row: Floats, *, is_shared: bool = False, gate: Gate | None = None, forced: int | None = None
    ) -> Sample:
        """Draw from logits `row` of shape (n_vocab,), which is overwritten unless `is_shared`.

        `gate`: only what it accepts is drawn. `forced`: the token that comes whatever the logits say. Raises
        BadLogits, also if nothing that may come is possible, and what the gate raises.
        """
        if is_shared and (self.changes_row or gate is not None):
            np.copyto(self._space.row, row)
            row = self._space.row
        self._bias_in_place(row)
        seen, n_top = self._seen, self._params.n_logprobs
        if n_top is None:
            if forced is not None:
                return Sample(self._count(forced))
            if seen is not None:
                seen.penalise(row)
            if gate is not None and self._n_to_mask:
                return Sample(self._count(self._draw_allowed(row, gate)))
            return Sample(self._count(self._choose(Row(row, self._space), gate)))
        facts = Row(row, self._space)
        if self._n_sorted and seen is None and not self._is_greedy:
            facts.largest(max(self._n_sorted, n_top))  # one search for both
        log_total = facts.log_total()
        top = facts.top_logprobs(n_top, log_total)
        if seen is not None:
            seen.penalise(row)
            facts = Row(row, self._space)
        token = self._choose(facts, gate) if forced is None else forced
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

    def _choose(self, row: Row, gate: Gate | None) -> int:
        if gate is None:
            return self._draw(row)
        if not self._n_to_mask:
            token = self._draw(row)
            if gate.accepts(token):
                return token
            self._n_to_mask = N_MASKED
        return self._draw_allowed(row.logits, gate)

    def _draw_allowed(self, logits: Floats, gate: Gate) -> int:
        self._n_to_mask -= 1
        mask = gate.mask()
        ids = allowed_ids(mask)
        if ids is None:
            strike_out(logits, mask)
            token = self._draw(Row(logits, self._space))
        else:
            token = self._draw_among(logits, ids)
        if not gate.accepts(token):
            raise BadLogits
        return token

    def _draw_among(self, logits: Floats, ids: Ids) -> int:
        """Draw one of few `ids`."""
        params, values = self._params, logits[ids].astype(np.float64)
        peak = values.max(initial=-math.inf)
        if not math.isfinite(peak):
            raise BadLogits
        if self._is_greedy:
            return int(ids[values.argmax()])
        order = np.argsort(-values, kind="stable")
        if params.top_k:
            order = order[: params.top_k]
        return self._draw_ordered(ids[order], np.exp((values[order] - peak) / params.temperature))

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
        ids = row.largest(self._n_sorted)
        weights = np.exp((row.logits[ids].astype(np.float64) - row.peak) / self._params.temperature)
        return self._draw_ordered(ids, weights)

    def _draw_ordered(self, ids: Ids, weights: NDArray[np.float64]) -> int:
        """Draw by top_p and min_p from `ids`, the likeliest first."""
        params = self._params
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
