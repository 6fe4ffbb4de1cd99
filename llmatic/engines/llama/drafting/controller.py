"""How many tokens to draft for each writing sequence, so that all of them together write fastest.

A drafted token is one more row in the step. It pays if the step grows by less than the text does. Owns the
record of how often each sequence's drafts were right (`Tracker`) and the choice (`Controller`). Pure: what
a step costs and what was drawn come in as arguments. Runs on the engine's thread.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace

from llmatic.engines.llama.drafting import MODEL_OFFER, Draft, Kind

# Hits and misses that a sequence is credited with before it has drafted anything.
_PRIORS = {
    Kind.PREDICTION: (5.4, 0.6),
    Kind.COPY: (3.2, 0.8),
    Kind.GUESS: (2.0, 2.0),
    Kind.MODEL: (2.8, 1.2),
    Kind.CERTAIN: (99.0, 0.01),
}
_N_REMEMBERED = 24.0
_GAIN_MIN = 1.02
_PROBABILITY_MIN = 0.02
_N_STEPS_PER_CURVE = 256
_PAUSE_FIRST, _PAUSE_LAST = 16, 256
_N_PROBED = 2
_UNCONFIDENT = 0.5


class Tracker:
    """How often one sequence's drafts were right: for each kind, the share of tokens that were drawn.

    Recent tokens count more. Drafts that were not tried count as well, as far as the text shows whether they
    would have been right; only the draft model, which is not asked for drafts that will not be tried, is
    given a small one now and then, after ever longer pauses, and at last none.
    """

    __slots__ = ("_hits", "_misses", "_n_skipped", "_pause")

    def __init__(self) -> None:
        self._hits = [_PRIORS[kind][0] for kind in Kind]
        self._misses = [_PRIORS[kind][1] for kind in Kind]
        self._n_skipped = 0
        self._pause = _PAUSE_FIRST

    def acceptance(self, kind: Kind) -> float:
        """The probability that a token of such a draft is drawn, given that those before it were."""
        hits = self._hits[kind]
        return hits / (hits + self._misses[kind])

    def observe(self, draft: Draft, drawn: Sequence[int]) -> None:
        """After a step: `drawn` are the tokens that the sequence went on with, tried or not.

        A draft of the model that came out empty says that the model was not sure, which counts a little
        against it; that a lookup found nothing says nothing.
        """
        n_comparable = min(len(draft.tokens), len(drawn))
        n_right = 0
        while n_right < n_comparable and draft.tokens[n_right] == drawn[n_right]:
            n_right += 1
        n_wrong = float(n_right < n_comparable)
        if draft.kind is Kind.MODEL and not draft.tokens and draft is not MODEL_OFFER:
            n_wrong = _UNCONFIDENT
        if not n_right and not n_wrong:
            return
        hits = self._hits[draft.kind] + n_right
        misses = self._misses[draft.kind] + n_wrong
        scale = min(1.0, _N_REMEMBERED / (hits + misses))
        self._hits[draft.kind] = hits * scale
        self._misses[draft.kind] = misses * scale

    def chosen(self) -> None:
        """The draft model is asked because it pays."""
        self._n_skipped = 0
        self._pause = _PAUSE_FIRST

    def is_probe_due(self) -> bool:
        """Once per step in which the draft model does not pay: whether to ask it nevertheless."""
        if self._pause > _PAUSE_LAST:
            return False
        self._n_skipped += 1
        return self._n_skipped >= self._pause

    def probe(self) -> None:
        """It is asked nevertheless; old evidence fades, so that what it shows now counts."""
        self._n_skipped = 0
        self._pause *= 2
        self._hits[Kind.MODEL] /= 2
        self._misses[Kind.MODEL] /= 2


class Controller:
    """Sizes of drafts from what a step costs.

    `cost(rows)`: seconds of a step with so many rows, not falling; asked again from time to time.
    `draft_cost(rows)`: seconds of the draft model's step with so many sequences; None if there is no model.
    `draft_max`: tokens per draft at most; `n_draft_rows_max`: drafted rows per step at most.
    """

    def __init__(
        self,
        cost: Callable[[int], float],
        *,
        draft_cost: Callable[[int], float] | None = None,
        draft_max: int = 16,
        n_draft_rows_max: int = 32,
    ) -> None:
        self.draft_max = draft_max
        self._n_rows_max = n_draft_rows_max
        self._cost = _Curve(cost)
        self._draft_cost = _Curve(draft_cost or (lambda _rows: 0.0))

    def new(self) -> Tracker:
        """The record of a sequence that starts."""
        return Tracker()

    def sizes(self, trackers: Sequence[Tracker], n_other_rows: int, offers: Sequence[Draft]) -> list[int]:
        """How many tokens of each offer to try, 0 for none.

        Takes every sequence that writes in this step, also those that are offered NOTHING: they wait for the
        drafts of the others too. `n_other_rows`: rows besides theirs, which are prompts. A MODEL_OFFER may
        be as long as any; ask the model for as many tokens as its size says.
        """
        self._cost.refresh()
        self._draft_cost.refresh()
        plan = _Plan(self._cost, self._draft_cost, trackers, n_other_rows, offers, self.draft_max)
        plan.grow(self._n_rows_max)
        for i, offer in enumerate(offers):
            if offer.kind is not Kind.MODEL:
                continue
            if plan.sizes[i]:
                trackers[i].chosen()
            elif plan.could_pay(_N_PROBED) and trackers[i].is_probe_due():
                trackers[i].probe()
                plan.sizes[i] = min(_N_PROBED, self.draft_max)
        return plan.sizes


class _Plan:
    """One step: rows go to the likeliest tokens first, and the best number of rows wins."""

    def __init__(
        self,
        cost: "_Curve",
        draft_cost: "_Curve",
        trackers: Sequence[Tracker],
        n_other_rows: int,
        offers: Sequence[Draft],
        draft_max: int,
    ) -> None:
        self.sizes = [0] * len(trackers)
        self._cost, self._draft_cost = cost, draft_cost
        self._n_rows = n_other_rows + len(trackers)
        self._n_tokens = float(len(trackers))
        self._writing_s = cost.at(len(trackers))
        self._offers = offers
        self._limits = [draft_max if o.kind is Kind.MODEL else min(len(o), draft_max) for o in offers]
        self._chances = [t.acceptance(o.kind) for t, o in zip(trackers, offers, strict=True)]

    def grow(self, n_rows_max: int) -> None:
        """Choose `sizes`."""
        heap = [(-p, i) for i, p in enumerate(self._chances) if self._limits[i]]
        if not heap:
            return
        heapify(heap)
        order: list[int] = []
        sizes = [0] * len(self.sizes)
        n_tokens, drafting_s, depths = self._n_tokens, 0.0, [0] * (max(self._limits) + 1)
        best, n_best = _GAIN_MIN * n_tokens / self._writing_s, 0
        while heap and -heap[0][0] > _PROBABILITY_MIN and len(order) < n_rows_max:
            chance, i = -heap[0][0], heap[0][1]
            if self._offers[i].kind is Kind.MODEL:
                n_asked = depths[sizes[i]] = depths[sizes[i]] + 1
                drafting_s += self._draft_cost.at(n_asked) - self._draft_cost.at(n_asked - 1)
            order.append(i)
            sizes[i] += 1
            n_tokens += chance
            rate = n_tokens / (self._time_s(len(order)) + drafting_s)
            if rate > best:
                best, n_best = rate, len(order)
            heapreplace(heap, (-chance * self._chances[i] if sizes[i] < self._limits[i] else 0.0, i))
        for i in order[:n_best]:
            self.sizes[i] += 1

    def could_pay(self, n: int) -> bool:
        """Whether one sequence's draft of `n` tokens by the model would pay if all were right."""
        time_s = self._time_s(n) + n * self._draft_cost.at(1)
        return (self._n_tokens + n) / time_s > _GAIN_MIN * self._n_tokens / self._writing_s

    def _time_s(self, n_drafted: int) -> float:
        """What the step takes for writing; the time of prompts is their own and cannot be saved by drafts."""
        more_s = self._cost.at(self._n_rows + n_drafted) - self._cost.at(self._n_rows)
        return self._writing_s + max(0.0, more_s)


class _Curve:
    """A cost by rows, remembered for some hundred steps; never 0, so that it can be divided by."""

    def __init__(self, cost: Callable[[int], float]) -> None:
        self._ask = cost
        self._known: dict[int, float] = {}
        self._n_asked = 0

    def at(self, rows: int) -> float:
        known = self._known.get(rows)
        if known is None:
            known = self._known[rows] = max(self._ask(rows), 1e-9) if rows else 0.0
        return known

    def refresh(self) -> None:
        """Called once per step."""
        self._n_asked += 1
        if self._n_asked >= _N_STEPS_PER_CURVE:
            self._n_asked = 0
            self._known.clear()
