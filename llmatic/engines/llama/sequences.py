"""Sequences and the cache cells they hold.

Owns the bookkeeping of one engine's running and waiting answers: what is computed, what is shared, which
slot holds it. Pure: never calls llama.cpp, has no clock and no thread; the engine's thread uses it.

Every choice of a request is a Sequence of the request's Group. Choices may share the cells of their common
prompt; shared cells are counted once.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Group:
    """One request: a prompt and the sequences that answer it.

    `arrival` orders groups. `wants_scores`: the logits of the prompt's rows are wanted (echo with logprobs);
    `n_scored` rows of them have been delivered.
    """

    id: str
    arrival: int
    prompt: Ordered[int]
    wants_scores: bool = False
    n_scored: int = 0
    was_admitted: bool = False
    sequences: list["Sequence"] = field(default_factory=list)

    @property
    def n_prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt)

    @property
    def n_to_score(self) -> int:
        """Rows of the prompt whose logits are still wanted; the last row rates no token of the prompt."""
        return max(0, self.n_prompt - 1 - self.n_scored) if self.wants_scores else 0


@dataclass(eq=False, slots=True)
class Sequence:
    """One choice.

    `tokens` is the prompt and what has been generated; the first `n_computed` are in the cache, of which the
    first `n_shared` may lie in cells that siblings hold too. It runs while it has a `slot`. `awaits` is the
    sibling whose prompt it will share as soon as that is computed.
    """

    group: Group
    index: int
    tokens: list[int]
    n_computed: int = 0
    n_shared: int = 0
    slot: int | None = None
    awaits: "Sequence | None" = None
    is_done: bool = False

    @property
    def order(self) -> tuple[int, int]:
        """Smaller is older: admitted first, preempted last."""
        return self.group.arrival, self.index

    @property
    def n_left(self) -> int:
        """Tokens to compute before the next one can be sampled."""
        return len(self.tokens) - self.n_computed

    @property
    def is_fresh(self) -> bool:
        """Nothing generated yet."""
        return len(self.tokens) == self.group.n_prompt

    def n_to_allocate(self) -> int:
        """Cells it still needs before its next token, the ones it is going to share not counted."""
        known = self.group.n_prompt - 1 if self.awaits is not None else self.n_computed
        return len(self.tokens) - known


def make_group(
    id: str, arrival: int, prompt: Ordered[int], n_choices: int, *, wants_scores: bool = False
) -> Group:
    """A group with its sequences, none of them started."""
    group = Group(id, arrival, prompt, wants_scores)
    group.sequences = [Sequence(group, index, list(prompt)) for index in range(n_choices)]
    return group


def count_cells(running: Iterable[Sequence]) -> int:
    """Cells that these sequences hold together."""
    total = 0
    shared: dict[int, int] = {}
    for sequence in running:
        total += sequence.n_computed
        if sequence.n_shared:
            total -= sequence.n_shared
            key = sequence.group.arrival
            shared[key] = max(shared.get(key, 0), sequence.n_shared)
    return total + sum(shared.values())


def share(source: Sequence, target: Sequence, n_tokens: int) -> None:
    """Record that `target` now shares the first `n_tokens` of `source`."""
    assert source.group is target.group
    assert target.n_computed == 0
    assert n_tokens <= source.n_computed
    target.n_computed = target.n_shared = n_tokens
    source.n_shared = max(source.n_shared, n_tokens)


def check(
    running: Iterable[Sequence], waiting: Iterable[Sequence], free_slots: Iterable[int], n_slots: int
) -> None:
    """Raise AssertionError if the bookkeeping contradicts itself."""
    running, waiting = list(running), list(waiting)
    slots = [s.slot for s in running if s.slot is not None]
    assert len(slots) == len(running), "a running sequence has no slot"
    assert sorted([*slots, *free_slots]) == list(range(n_slots)), "slots lost or doubled"
    for sequence in running:
        assert not sequence.is_done
        assert 0 <= sequence.n_shared <= sequence.n_computed <= len(sequence.tokens)
        assert sequence.n_shared <= sequence.group.n_prompt
        if (leader := sequence.awaits) is not None:
            assert leader in running, "awaits a sequence that does not run"
            assert leader.awaits is None
            assert sequence.n_computed == 0
    for sequence in waiting:
        assert not sequence.is_done
        assert sequence.slot is None
        assert sequence.awaits is None
        assert sequence.n_computed == sequence.n_shared == 0
    assert [s.order for s in waiting] == sorted(s.order for s in waiting), "the queue is out of order"
    assert [s.order for s in running] == sorted(s.order for s in running)
