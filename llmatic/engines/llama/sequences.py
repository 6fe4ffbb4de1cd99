"""Requests and their choices, as the scheduler sees them.

Owns what is known of each: tokens, how many of them are in the cache, where it stands. Pure: never calls
llama.cpp, has no clock and no thread; the engine's thread uses it.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

from llmatic.core.types import Adapter, CacheRetention, Priority
from llmatic.engines.llama.media.rows import Span, run_end, span_at, whole

N_EXPECTED_ANSWER = 256


@dataclass(eq=False, slots=True)
class Group:
    """One request: a prompt and the sequences that answer it.

    `arrival` orders groups of one priority. `wants_scores`: the logits of the prompt's rows are wanted (echo
    with logprobs); `n_scored` rows of them have been delivered. Groups of one `namespace` may share what was
    computed; that implies equal `adapters`. `n_cached` tokens of the prompt were not computed for it.
    `is_private`: nobody else may use what it computes. `spans`: where rows of pictures and sounds stand in
    the prompt, whose ids there are negative.
    """

    id: str
    arrival: int
    prompt: Ordered[int]
    wants_scores: bool = False
    namespace: bytes = b""
    adapters: tuple[Adapter, ...] = ()
    client: str = ""
    priority: int = Priority.DEFAULT
    retention: CacheRetention | None = None
    is_keyed: bool = False
    is_private: bool = False
    n_wanted: int = N_EXPECTED_ANSWER
    spans: tuple[Span, ...] = ()
    n_scored: int = 0
    n_cached: int | None = None
    was_admitted: bool = False
    sequences: list["Sequence"] = field(default_factory=list)

    @property
    def n_prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt)

    def cut(self, n_tokens: int) -> int:
        """The most of the first `n_tokens` that the rest of the prompt can be computed behind."""
        return whole(self.spans, n_tokens) if self.spans else n_tokens

    @property
    def n_to_score(self) -> int:
        """Rows of the prompt whose logits are still wanted; the last row rates no token of the prompt."""
        return max(0, self.n_prompt - 1 - self.n_scored) if self.wants_scores else 0


@dataclass(eq=False, slots=True)
class Sequence:
    """One choice.

    `tokens` is the prompt and what has been generated; the first `n_computed` are in the cache, of which the
    tree of cells knows the first `n_indexed`. It runs while it has a `slot`. `awaits` is the running sequence
    whose first `n_awaited` tokens it will share as soon as they are computed. `drafts` are guesses that the
    next step is to check; `n_unproven` of them are in the cache, and it is not known yet which are right.
    `certain` are the tokens that will come next whatever is computed.
    """

    group: Group
    index: int
    tokens: list[int]
    n_computed: int = 0
    n_indexed: int = 0
    slot: int | None = None
    awaits: "Sequence | None" = None
    n_awaited: int = 0
    drafts: list[int] = field(default_factory=list)
    certain: Ordered[int] = ()
    n_unproven: int = 0
    was_paused: bool = False
    is_done: bool = False

    @property
    def order(self) -> tuple[int, int, int]:
        """Smaller is more urgent: admitted first, paused last."""
        return self.group.priority, self.group.arrival, self.index

    @property
    def client(self) -> str:
        """Whose it is."""
        return self.group.client

    @property
    def priority(self) -> int:
        """Its `core.types.Priority`."""
        return self.group.priority

    @property
    def n_cost(self) -> int:
        """Tokens that it will probably take."""
        n_prompt = self.group.n_prompt if self.index == 0 else 0
        return n_prompt + min(self.group.n_wanted, N_EXPECTED_ANSWER)

    @property
    def n_left(self) -> int:
        """Tokens to compute before the next one can be sampled."""
        return len(self.tokens) - self.n_computed

    @property
    def n_written(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.group.n_prompt

    @property
    def n_wanted(self) -> int:
        """Tokens that it may still write."""
        return self.group.n_prompt + self.group.n_wanted - len(self.tokens)

    @property
    def is_writing(self) -> bool:
        """The next row is a token's and gives the next one."""
        return self.awaits is None and len(self.tokens) - self.n_computed == 1 and self.tokens[-1] >= 0

    @property
    def is_reading(self) -> bool:
        """There are rows to compute before it writes."""
        return self.awaits is None and self.n_computed < len(self.tokens) and not self.is_writing

    @property
    def span(self) -> Span | None:
        """The rows of a picture or sound that the next row is one of."""
        spans = self.group.spans
        return span_at(spans, self.n_computed) if spans and self.n_computed < spans[-1].end else None

    @property
    def n_run(self) -> int:
        """Rows that are left to compute of the kind, token or embedding, that comes next."""
        end, spans = len(self.tokens), self.group.spans
        return (run_end(spans, self.n_computed, end) if spans else end) - self.n_computed

    @property
    def is_fresh(self) -> bool:
        """Nothing generated yet."""
        return len(self.tokens) == self.group.n_prompt

    @property
    def is_scored(self) -> bool:
        """Rows of its prompt are still wanted for their logits."""
        return self.index == 0 and self.group.n_to_score > 0


def make_group(
    id: str, arrival: int, prompt: Ordered[int], n_choices: int, *, wants_scores: bool = False
) -> Group:
    """A group with its sequences, none of them started."""
    group = Group(id, arrival, prompt, wants_scores)
    group.sequences = [Sequence(group, index, list(prompt)) for index in range(n_choices)]
    return group


def check(running: Iterable[Sequence], waiting: Iterable[Sequence]) -> None:
    """Raise AssertionError if the sequences' own figures contradict themselves."""
    running, waiting = list(running), list(waiting)
    slots = [s.slot for s in running]
    assert None not in slots, "a running sequence has no slot"
    assert len(set(slots)) == len(slots), "a slot runs two sequences"
    for sequence in running:
        assert not sequence.is_done
        assert 0 <= sequence.n_indexed <= sequence.n_computed <= len(sequence.tokens)
        if (leader := sequence.awaits) is not None:
            assert leader in running, "awaits a sequence that does not run"
            assert leader.awaits is not sequence
            assert leader.n_indexed < sequence.n_awaited <= leader.group.n_prompt
            assert leader.tokens[: sequence.n_awaited] == sequence.tokens[: sequence.n_awaited]
            assert sequence.n_computed == 0
    for sequence in waiting:
        assert not sequence.is_done
        assert sequence.slot is None
        assert sequence.awaits is None
        assert sequence.n_computed == sequence.n_indexed == 0
    assert [s.order for s in running] == sorted(s.order for s in running)
