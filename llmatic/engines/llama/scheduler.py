"""What the next step computes.

Owns the queue, the slots and the cache's accounting; decides who is admitted, what a batch holds and who is
paused when the cache is full. Pure: it never calls llama.cpp but writes down what must be done to the cache
(`Fork`, `Free`), in order, for the engine's thread to do.

A step is `plan` → decode → `commit` → one `append` or `finish` for every sequence to sample.
"""

from bisect import insort
from dataclasses import dataclass, field
from heapq import heappop, heappush

from llmatic.core.errors import QueueFull
from llmatic.engines.llama.sequences import Group, Sequence, check, count_cells, share

N_HEADROOM_CELLS = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What there is. `n_chunk`: prompt rows per step while others write; `n_scored`: scored ones.

    `is_dense`: a batch's slots ascend without gaps. llama.cpp computes the sequences of a cache that is
    not unified in runs of neighbouring ids, and every gap costs one more pass over the weights.
    """

    n_context: int
    n_batch: int
    n_slots: int
    can_fork: bool = True
    is_dense: bool = False
    n_chunk: int = 256
    n_scored: int = 32
    max_queue: int = 256
    max_queue_tokens: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Fork:
    """Let slot `target` share the first `n_tokens` of slot `source`."""

    source: int
    target: int
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Free:
    """Forget what `slot` holds."""

    slot: int


Effect = Fork | Free


@dataclass(slots=True)
class Plan:
    """One batch, row by row, and what its output rows are for.

    Do `effects` first. `samples`: (sequence, output row) to draw a token from. `scores`: (sequence, position,
    output row), the row of a prompt's token at `position`, which rates the next one.
    """

    effects: list[Effect] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    samples: list[tuple[Sequence, int]] = field(default_factory=list)
    scores: list[tuple[Sequence, int, int]] = field(default_factory=list)
    parts: list[tuple[Sequence, int]] = field(default_factory=list)


class Scheduler:
    """Continuous batching over `limits.n_slots` sequences in one cache."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.n_queued_groups = 0
        self.n_queued_tokens = 0
        self.n_preemptions = 0
        self._free_slots = list(range(limits.n_slots))
        self._effects: list[Effect] = []
        self._is_tight = False

    @property
    def n_cells(self) -> int:
        """Cells in use."""
        return count_cells(self.running)

    def submit(self, group: Group) -> None:
        """Queue a group. Raises QueueFull; the caller has checked that each sequence fits the cache alone."""
        assert group.n_prompt <= self.limits.n_context
        too_many = self.n_queued_groups >= self.limits.max_queue + len(self._free_slots)
        too_long = self.n_queued_tokens + group.n_prompt > self.limits.max_queue_tokens
        if too_many or (too_long and self.n_queued_groups):
            raise QueueFull("The model is overloaded: its queue is full. Please retry after a moment.")
        self.n_queued_groups += 1
        self.n_queued_tokens += group.n_prompt
        for sequence in group.sequences:
            insort(self.waiting, sequence, key=_order)

    def cancel(self, group: Group) -> None:
        """Forget a group wherever it stands. Idempotent."""
        for sequence in group.sequences:
            sequence.is_done = True
            if sequence.slot is not None:
                self._release(sequence)
                self._is_tight = False
        self.waiting = [s for s in self.waiting if s.group is not group]
        self._unqueue(group)

    def append(self, sequence: Sequence, token: int) -> None:
        """The sequence goes on with `token`."""
        assert sequence.n_left == 0
        sequence.tokens.append(token)

    def finish(self, sequence: Sequence) -> None:
        """The sequence has its last token."""
        sequence.is_done = True
        self._release(sequence)
        self._is_tight = False

    def plan(self) -> Plan:
        """The next batch; without rows if there is nothing to compute. Always makes progress otherwise."""
        self._make_room()
        self._admit()
        if self.limits.is_dense:
            self._close_gaps()
        plan = Plan()
        while not self._fill(plan) and any(s.awaits is None for s in self.running):
            self._preempt_youngest()
        plan.effects, self._effects = self._effects, []
        return plan

    def commit(self, plan: Plan) -> list[tuple[Sequence, int]]:
        """The batch was computed. Returns (sequence, output row) for every sequence to draw a token for."""
        for sequence, n_rows in plan.parts:
            sequence.n_computed += n_rows
        for sequence, position, _row in plan.scores:
            sequence.group.n_scored = position + 1
        samples = []
        row_of = {id(sequence): row for sequence, row in plan.samples}
        for sequence, row in plan.samples:
            samples.append((sequence, row))
        followers = [s for s in self.running if s.awaits is not None]
        for follower in followers:
            leader = follower.awaits
            assert leader is not None
            if leader.n_computed >= leader.group.n_prompt:
                row = row_of.get(id(leader), -1) if leader.is_fresh and follower.is_fresh else -1
                follower.awaits = None
                self._fork(leader, follower, follower.group.n_prompt - (row < 0))
                if row >= 0:
                    samples.append((follower, row))
        return samples

    def shrink(self) -> bool:
        """The cache had no room after all: pause the youngest and admit nobody until somebody has ended.

        False if only one sequence is left.
        """
        if len(self.running) < 2:
            return False
        self._preempt_youngest()
        self._is_tight = True
        return True

    def reset(self) -> list[Group]:
        """Forget everything; returns the groups that ran or waited. The cache must be cleared too."""
        groups = list({id(s.group): s.group for s in [*self.running, *self.waiting]}.values())
        for group in groups:
            self.cancel(group)
        self._effects.clear()
        return groups

    def check_integrity(self) -> None:
        """Raise AssertionError if anything contradicts itself. For tests; between steps."""
        check(self.running, self.waiting, self._free_slots, self.limits.n_slots)
        assert self.n_cells <= self.limits.n_context
        queued = {s.group.arrival: s.group for s in self.waiting if not s.group.was_admitted}
        assert self.n_queued_groups == len(queued)
        assert self.n_queued_tokens == sum(g.n_prompt for g in queued.values())

    def _make_room(self) -> None:
        """Pause the youngest until every writing sequence has a cell for its next token."""
        while len(self.running) > 1:
            n_rows = sum(s.n_left == 1 and s.awaits is None for s in self.running)
            if self.n_cells + n_rows <= self.limits.n_context:
                return
            self._preempt_youngest()

    def _admit(self) -> None:
        while self.waiting and self._free_slots and not (self._is_tight and self.running):
            sequence = self.waiting[0]
            source = self._source(sequence)
            if sequence.index and sequence.group.n_to_score and source is None:
                return  # the first choice scores the prompt, and the echo comes before any answer
            n_needed = len(sequence.tokens) - (0 if source is None else sequence.group.n_prompt - 1)
            n_promised = sum(s.n_to_allocate() for s in self.running)
            n_spare = min(N_HEADROOM_CELLS, self.limits.n_context // 64) * len(self.running)
            if self.running and self.n_cells + n_promised + n_needed + n_spare > self.limits.n_context:
                return
            self.waiting.pop(0)
            self._unqueue(sequence.group)
            sequence.slot = heappop(self._free_slots)
            insort(self.running, sequence, key=_order)
            if source is not None and source.n_computed >= source.group.n_prompt:
                self._fork(source, sequence, source.group.n_prompt - 1)
            elif source is not None:
                sequence.awaits = source

    def _source(self, sequence: Sequence) -> Sequence | None:
        """A running sibling whose prompt `sequence` can share, now or as soon as it is computed."""
        if not self.limits.can_fork or sequence.group.n_prompt < 2:
            return None
        siblings = [s for s in sequence.group.sequences if s.slot is not None and s.awaits is None]
        return max(siblings, key=lambda s: s.n_computed, default=None)

    def _fork(self, source: Sequence, target: Sequence, n_tokens: int) -> None:
        share(source, target, n_tokens)
        self._effects.append(Fork(_slot(source), _slot(target), n_tokens))

    def _close_gaps(self) -> None:
        """Move sequences from the highest slots to free ones until those in use are 0, 1, 2, …"""
        for sequence in sorted(self.running, key=_slot, reverse=True):
            source = _slot(sequence)
            if source < len(self.running):
                return
            sequence.slot = heappop(self._free_slots)
            if sequence.n_computed:
                self._effects.append(Fork(source, sequence.slot, sequence.n_computed))
            self._effects.append(Free(source))
            heappush(self._free_slots, source)

    def _fill(self, plan: Plan) -> bool:
        """Put rows into an empty plan; False if none could be."""
        parts = self._share_out()
        if self.limits.is_dense:
            parts.sort(key=lambda part: _slot(part[0]))
        for sequence, n_part in parts:
            self._put(plan, sequence, n_part)
        return bool(parts)

    def _share_out(self) -> list[tuple[Sequence, int]]:
        """How many rows of the next batch each sequence gets: those that write first, then prompts."""
        limits = self.limits
        parts: list[tuple[Sequence, int]] = []
        n_free = limits.n_context - self.n_cells
        writing = [s for s in self.running if s.n_left == 1 and s.awaits is None]
        for sequence in writing:
            if n_free > 0:
                parts.append((sequence, 1))
                n_free -= 1
        n_rows = limits.n_batch - len(parts)
        if writing:
            n_rows = min(n_rows, limits.n_chunk)
        n_scored = limits.n_scored
        for sequence in self.running:
            if sequence.n_left > 1 and sequence.awaits is None:
                n_part = min(sequence.n_left, n_rows, n_free)
                if self._is_scored(sequence):
                    n_part = min(n_part, n_scored)
                    n_scored -= n_part
                if n_part > 0:
                    parts.append((sequence, n_part))
                    n_rows -= n_part
                    n_free -= n_part
        return parts

    @staticmethod
    def _is_scored(sequence: Sequence) -> bool:
        return sequence.index == 0 and sequence.group.n_to_score > 0

    def _put(self, plan: Plan, sequence: Sequence, n_part: int) -> None:
        """Add the sequence's next `n_part` tokens, with outputs where they are wanted."""
        start, end = sequence.n_computed, sequence.n_computed + n_part
        first_row = len(plan.tokens)
        plan.tokens += sequence.tokens[start:end]
        plan.positions += range(start, end)
        plan.slots += [_slot(sequence)] * n_part
        plan.parts.append((sequence, n_part))
        group = sequence.group
        if self._is_scored(sequence):
            for position in range(max(start, group.n_scored), min(end, group.n_prompt - 1)):
                plan.scores.append((sequence, position, len(plan.outputs)))
                plan.outputs.append(first_row + position - start)
        if end == len(sequence.tokens):
            plan.samples.append((sequence, len(plan.outputs)))
            plan.outputs.append(first_row + n_part - 1)

    def _preempt_youngest(self) -> None:
        """Take the cells of the youngest; it goes back to the queue and is computed again later."""
        youngest = self.running[-1]
        for sequence in [s for s in self.running if s is youngest or s.awaits is youngest]:
            self._release(sequence)
            insort(self.waiting, sequence, key=_order)
        self.n_preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self._effects.append(Free(_slot(sequence)))
        heappush(self._free_slots, _slot(sequence))
        self.running.remove(sequence)
        sequence.slot = None
        sequence.awaits = None
        sequence.n_computed = sequence.n_shared = 0

    def _unqueue(self, group: Group) -> None:
        if not group.was_admitted:
            group.was_admitted = True
            self.n_queued_groups -= 1
            self.n_queued_tokens -= group.n_prompt


def _slot(sequence: Sequence) -> int:
    assert sequence.slot is not None
    return sequence.slot


def _order(sequence: Sequence) -> tuple[int, int]:
    return sequence.order
