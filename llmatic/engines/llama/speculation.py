"""Guesses of what running sequences write next, and what is certain to come.

Owns, for every sequence that writes, the drafter that knows its text and the record of how well it guessed.
Whether a guess was right is found out by the runner; a wrong one costs time and never changes the text. Runs
in the engine's thread.
"""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass

from llmatic.engines.llama.drafting import MODEL_OFFER, NOTHING, Draft, Kind
from llmatic.engines.llama.drafting.controller import Controller, Tracker
from llmatic.engines.llama.drafting.lookup import Lookup, Material
from llmatic.engines.llama.drafting.model import ModelDrafter
from llmatic.engines.llama.sequences import Sequence


@dataclass(slots=True)
class _Writer:
    """What is kept for one sequence: its text as far as the lookup knows it, and the last guess."""

    tracker: Tracker
    lookup: Lookup | None
    n_known: int
    offer: Draft = NOTHING


@dataclass(frozen=True, slots=True)
class Drafter:
    """A model that drafts; `cost(rows)`: seconds of its step for so many sequences."""

    model: ModelDrafter
    cost: Callable[[int], float]


class Speculation:
    """Drafts by prompt lookup, by the request's prediction, or by a draft model where those have nothing.

    `cost(rows)`: seconds of a step of so many rows.
    """

    def __init__(self, cost: Callable[[int], float], drafter: Drafter | None = None) -> None:
        self._controller = Controller(cost, draft_cost=None if drafter is None else drafter.cost)
        self._model = None if drafter is None else drafter.model
        self._writers: dict[Sequence, _Writer] = {}
        self.n_drafted = 0
        self.n_accepted = 0

    def begin(self, sequence: Sequence, material: Material | None) -> None:
        """Take a sequence on, before it has written anything; without `material` only the model can guess."""
        lookup = None if material is None else Lookup(material)
        self._writers[sequence] = _Writer(self._controller.new(), lookup, len(sequence.tokens))

    def propose(self, writing: Ordered[Sequence], n_other_rows: int) -> None:
        """Set `drafts` of the sequences that write."""
        known = [(s, self._writers[s]) for s in writing if s in self._writers]
        for sequence, writer in known:
            writer.offer = self._offer(sequence, writer)
        if all(writer.offer is NOTHING for _, writer in known):
            return
        trackers = [writer.tracker for _, writer in known]
        sizes = self._controller.sizes(trackers, n_other_rows, [writer.offer for _, writer in known])
        for (sequence, writer), size in zip(known, sizes, strict=True):
            sequence.drafts = list(writer.offer.tokens[:size])
        asked = [
            (*entry, size)
            for entry, size in zip(known, sizes, strict=True)
            if entry[1].offer is MODEL_OFFER and size
        ]
        if asked and self._model is not None:
            drafts = self._model.draft([(id(s), s.tokens, size) for s, _, size in asked])
            for (sequence, writer, _), draft in zip(asked, drafts, strict=True):
                writer.offer = draft
                sequence.drafts = list(draft.tokens)

    def observe(self, sequence: Sequence, n_tried: int, n_right: int, drawn: Ordered[int]) -> tuple[int, int]:
        """The sequence went on with `drawn`; of the tried guesses the first `n_right` were among them.

        Returns how many tokens of a prediction were accepted and rejected.
        """
        writer = self._writers.get(sequence)
        if writer is None:
            return 0, 0
        offer, writer.offer = writer.offer, NOTHING
        writer.tracker.observe(offer, drawn)
        self.n_drafted += n_tried
        self.n_accepted += n_right
        return (n_right, n_tried - n_right) if offer.from_prediction else (0, 0)

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended. Idempotent."""
        if self._writers.pop(sequence, None) is not None and self._model is not None:
            self._model.forget(id(sequence))

    def _offer(self, sequence: Sequence, writer: _Writer) -> Draft:
        sequence.drafts = []
        offer = NOTHING
        if writer.lookup is not None:
            for token in sequence.tokens[writer.n_known :]:
                writer.lookup.extend(token)
            writer.n_known = len(sequence.tokens)
            offer = writer.lookup.draft(self._controller.draft_max)
        if sequence.certain:
            return Draft(tuple(sequence.certain), Kind.CERTAIN)
        if self._model is None or sequence.group.spans:  # a drafting model sees no pictures
            return offer
        tracker = writer.tracker
        is_weak = offer.kind is Kind.GUESS and tracker.acceptance(Kind.GUESS) < tracker.acceptance(Kind.MODEL)
        return MODEL_OFFER if is_weak or not offer else offer
