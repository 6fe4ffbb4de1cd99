"""What the next step computes.

Owns the queue and the running sequences; decides who is admitted, from where the beginning of its prompt
comes, and who is paused when slots or cells are short. Pure: it never calls llama.cpp but writes down what
must be done to the cache, in order, for the engine's thread to do.

A step is `prepare` → its effects → `plan` → its effects → decode → `commit` → for every sequence to sample:
`append` each drawn token, `accept` the drafts that were right, or `finish`.
"""

from bisect import insort

from llmatic.core.errors import QueueFull
from llmatic.engines.llama.batching import Plan, Turns, fill
from llmatic.engines.llama.beginnings import Beginning, Stored, find_beginning
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.precedence import Beside, crowds, is_background, taking_part
from llmatic.engines.llama.sequences import N_EXPECTED_ANSWER, Group, Sequence, check
from llmatic.engines.llama.sharing import PromptRows, Sharing
from llmatic.engines.llama.slots import Effect, Restore, Slots, slot_of
from llmatic.engines.llama.waiting import WaitingQueue

N_HEADROOM_CELLS = 16


class Scheduler:
    """Continuous batching over the slots of one cache.

    `stored` tells how much of a text, in a namespace, could be restored from elsewhere. While it `is_held`,
    nothing is computed that nobody waits for; while it `is_visited`, that leaves room for others.
    """

    def __init__(self, limits: Limits, stored: Stored | None = None) -> None:
        self.limits = limits
        self.n_running_max = limits.n_running or limits.n_slots
        self.running: list[Sequence] = []
        self.waiting: WaitingQueue[Sequence] = WaitingQueue()
        self.slots = Slots(
            limits.n_slots,
            is_pooled=limits.is_pooled,
            n_kept_max=limits.n_kept_max if limits.can_fork else 0,
            can_save=stored is not None,
            can_cut=limits.can_fork,
        )
        self.n_queued_groups = 0
        self.n_queued_tokens = 0
        self.n_preemptions = 0
        self.n_looked_up = 0
        self.n_found = 0
        self.is_held = False
        self.is_visited = False
        self._stored = stored
        self._turns = Turns()
        self._is_tight = False
        self._unfit: Sequence | None = None
        self._sharing = Sharing(limits)

    @property
    def n_cells(self) -> int:
        """Cells that running sequences hold."""
        tree = self.slots.tree
        return tree.n_cells - tree.n_idle_cells + sum(s.n_computed - s.n_indexed for s in self.running)

    def submit(self, group: Group) -> None:
        """Queue a group. Raises QueueFull; the caller has checked that each sequence fits the cache alone."""
        assert group.n_prompt <= self.limits.n_context
        n_free = self.n_running_max - len(self.running)
        too_many = self.n_queued_groups >= self.limits.max_queue + n_free
        too_long = self.n_queued_tokens + group.n_prompt > self.limits.max_queue_tokens
        if too_many or (too_long and self.n_queued_groups):
            raise QueueFull(
                f"The model is overloaded: its queue is full, {self.n_queued_groups} requests wait. "
                "Please retry after a moment."
            )
        self.n_queued_groups += 1
        self.n_queued_tokens += group.n_prompt
        for sequence in group.sequences:
            self.waiting.push(sequence)

    def cancel(self, group: Group, *, is_damaged: bool = False) -> None:
        """Forget a group wherever it stands. Idempotent.

        What it computed may still serve others, unless it `is_damaged`.
        """
        for sequence in reversed(group.sequences):  # those that share before those they share with
            if not sequence.is_done:
                sequence.is_done = True
                if sequence.slot is None:
                    self.waiting.remove(sequence)
                else:
                    self._release(sequence, 0 if is_damaged else self._n_worth(sequence))
        self._unqueue(group)

    def append(self, sequence: Sequence, token: int) -> None:
        """The sequence goes on with `token`."""
        sequence.tokens.append(token)

    def accept(self, sequence: Sequence, n_tried: int, n_accepted: int) -> None:
        """Of the drafts computed with the last step the first ones were right, the others are forgotten."""
        sequence.n_computed += n_accepted
        sequence.n_unproven = 0
        if n_accepted < n_tried:
            self.slots.trim(sequence)

    def finish(self, sequence: Sequence) -> None:
        """The sequence has its last token."""
        sequence.is_done = True
        self._release(sequence, self._n_worth(sequence))

    def prepare(self) -> list[Effect]:
        """Pause and admit; returns what must be done to the cache.

        A Restore comes last: report it by `restored`, and prepare again.
        """
        self._make_room()
        self._admit()
        return self.take_effects()

    def restored(self, sequence: Sequence, n_tokens: int) -> None:
        """The first `n_tokens` of the sequence are in its slot now; no more than before if it was lost."""
        if sequence.slot is None or sequence.is_done:
            return
        sequence.n_computed = n_tokens
        self.slots.index(sequence)
        self._note_cached(sequence, n_tokens)
        self._serve_followers(sequence)

    @property
    def is_awaited(self) -> bool:
        """Somebody waits for something of it."""
        first = self.waiting.first()
        return not all(is_background(s) for s in (*self.running[:1], *([first] if first else [])))

    @property
    def taking_part(self) -> list[Sequence]:
        """Who may have rows in the next batch."""
        return taking_part(self.running, is_held=self.is_held)

    def plan(self, prompt_rows: PromptRows, beside: Beside | None = None) -> Plan:
        """The next batch; without rows if there is nothing to compute. Always makes progress otherwise.

        `prompt_rows` of the number of writing sequences, and of rows that several prompts want together: rows
        of prompts that may join. It is asked for 0 while all that write have only just begun: a burst is read
        as one. `beside` says the same of what is computed in the background.
        """
        if self.limits.is_dense:
            self.slots.close_gaps(self.running)
        plan = Plan()
        while True:
            sequences = self._turns.choose(self.taking_part)
            parts = self._sharing.share(sequences, self.n_cells, prompt_rows, beside)
            if parts or not sequences:
                break
            self._pause(self.running[-1])
        plan.adapters = self._turns.adapters
        if self.limits.is_pooled:
            n_rows = sum(part.n_rows for part in parts)
            self.slots.make_room(max(0, self.limits.n_context - self.n_cells - n_rows))
        fill(plan, parts, is_dense=self.limits.is_dense)
        plan.effects = self.take_effects()
        return plan

    def commit(self, plan: Plan) -> list[tuple[Sequence, int]]:
        """The batch was computed. Returns (sequence, output row) for every sequence to draw a token for."""
        for part in plan.parts:
            part.sequence.n_computed += part.n_rows if part.is_prompt else 1
            part.sequence.n_unproven = 0 if part.is_prompt else part.n_rows - 1
        for sequence, position, _row in plan.scores:
            sequence.group.n_scored = position + 1
        samples = list(plan.samples)
        row_of = {id(sequence): row for sequence, row in plan.samples}
        for part in plan.parts:
            if part.is_prompt or part.sequence.is_fresh:
                self.slots.index(part.sequence)
                samples += self._serve_followers(part.sequence, row_of.get(id(part.sequence)))
        return samples

    def shrink(self) -> bool:
        """The cache had no room after all: forget kept texts, or pause the last and admit nobody for now.

        False if only one sequence is left.
        """
        if self.slots.n_kept_cells:
            self.slots.make_room(0)
            return True
        if len(self.running) < 2:
            return False
        self._pause(self.running[-1])
        self._is_tight = True
        return True

    def take_effects(self) -> list[Effect]:
        """What must be done to the cache now."""
        effects, self.slots.effects = self.slots.effects, []
        return effects

    def reset(self) -> list[Group]:
        """Forget everything; returns the groups that ran or waited. The cache must be cleared too."""
        groups = list({id(s.group): s.group for s in [*self.running, *self.waiting]}.values())
        for group in groups:
            self.cancel(group)
        self.slots.clear()
        return groups

    def check_integrity(self) -> None:
        """Raise AssertionError if anything contradicts itself. For tests; between steps."""
        waiting = list(self.waiting)
        check(self.running, waiting)
        self.waiting.check_integrity()
        self.slots.check_integrity(self.running)
        assert len(self.running) <= self.n_running_max
        if self.limits.is_pooled:
            assert self.n_cells + self.slots.n_kept_cells <= self.limits.n_context
        queued = {s.group.arrival: s.group for s in waiting if not s.group.was_admitted}
        assert self.n_queued_groups == len(queued)
        assert self.n_queued_tokens == sum(g.n_prompt for g in queued.values())

    # who runs

    def _make_room(self) -> None:
        """Pause the last until every writing sequence has a cell for its next token."""
        while self.limits.is_pooled and len(self.running) > 1:
            n_rows = sum(s.is_writing for s in self.running)
            if self.n_cells + n_rows <= self.limits.n_context:
                return
            self._pause(self.running[-1])

    def _admit(self) -> None:
        while (sequence := self.waiting.first()) is not None and not (self._is_tight and self.running):
            if len(self.running) >= self.n_running_max:
                if not self._yield_to(sequence):
                    return
                continue
            if self.is_visited and crowds(sequence, self.running, self.limits):
                return
            if sequence is self._unfit or (beginning := self._begin(sequence)) is None:
                return
            if not self._fits(sequence, beginning):
                if not self._yield_to(sequence):
                    self._unfit = sequence  # until somebody leaves: finding beginnings takes long
                    return
                continue
            self.waiting.pop()
            self._unqueue(sequence.group)
            self._start(sequence, beginning)
            if sequence.n_computed > sequence.n_indexed:
                return  # others may share what is restored, once it is

    def _begin(self, sequence: Sequence) -> Beginning | None:
        return find_beginning(sequence, self.running, self.slots, self._stored, self.limits)

    def _yield_to(self, sequence: Sequence) -> bool:
        """Pause the last running sequence if the waiting one is more urgent; False if it is not."""
        if self.limits.is_exact or not self.running or self.running[-1].priority <= sequence.priority:
            return False
        self._pause(self.running[-1])
        return True

    def _fits(self, sequence: Sequence, beginning: Beginning) -> bool:
        """Whether the cells suffice, with what the running ones are going to need next."""
        limits = self.limits
        if not self.running or not limits.is_pooled:
            return True
        n_shared = beginning.n_held if beginning.leader is None else beginning.n_tokens
        if beginning.slot is not None:
            n_shared -= self.slots.tree.n_idle_in(beginning.slot, n_shared)
        n_promised = sum(len(s.tokens) - max(s.n_computed, s.n_awaited) for s in self.running)
        n_spare = min(N_HEADROOM_CELLS, limits.n_context // 64) * len(self.running)
        n_needed = len(sequence.tokens) - n_shared
        return self.n_cells + n_promised + n_needed + n_spare <= limits.n_context

    def _start(self, sequence: Sequence, beginning: Beginning) -> None:
        if beginning.slot is None:
            self.slots.take(sequence)
        else:
            self.slots.take_from(beginning.slot, sequence, beginning.n_held)
        insort(self.running, sequence, key=lambda s: s.order)
        if beginning.leader is not None:
            sequence.awaits, sequence.n_awaited = beginning.leader, beginning.n_tokens
            return
        n_new = beginning.n_tokens - beginning.n_held
        if not n_new:
            self._note_cached(sequence, beginning.n_held)
            return
        if self.limits.is_pooled:
            self.slots.make_room(max(0, self.limits.n_context - self.n_cells - n_new))
        self.slots.effects.append(Restore(sequence, beginning.n_held, beginning.n_tokens))
        sequence.n_computed = beginning.n_tokens  # the cells are taken from now on

    def _note_cached(self, sequence: Sequence, n_tokens: int) -> None:
        """The first of a group's choices to begin tells how much of the prompt was there already."""
        group = sequence.group
        if group.n_cached is None:
            group.n_cached = min(n_tokens, group.n_prompt - 1)
            self.n_looked_up += group.n_prompt
            self.n_found += group.n_cached
            self.waiting.charge(group.client, -group.n_cached)

    def _pause(self, sequence: Sequence) -> None:
        """Back to the queue, with all that await it; what is computed is kept where there is room."""
        for follower in self._followers(sequence):
            self._pause(follower)
        self._release(sequence, sequence.n_computed)
        sequence.was_paused = True
        sequence.drafts = []
        self.waiting.push_back(sequence)
        self.n_preemptions += 1

    def _release(self, sequence: Sequence, n_kept: int) -> None:
        """Give up the slot; whoever awaits the sequence gets what there is."""
        for follower in self._followers(sequence):
            n_usable = len(follower.tokens) - self.limits.n_whole
            n_tokens = follower.group.cut(max(0, min(follower.n_awaited, n_kept, n_usable)))
            self._let_share(sequence, follower, n_tokens)
        self.slots.release(sequence, n_kept)
        if sequence.is_done:
            n_written = len(sequence.tokens) - sequence.group.n_prompt
            self.waiting.charge(sequence.client, n_written - min(sequence.group.n_wanted, N_EXPECTED_ANSWER))
        self.running.remove(sequence)
        sequence.awaits = None
        sequence.n_awaited = 0
        self._is_tight = False
        self._unfit = None

    def _n_worth(self, sequence: Sequence) -> int:
        """How many of its tokens may serve others."""
        if self.limits.is_exact:
            return min(sequence.n_computed, sequence.group.n_prompt)
        return sequence.n_computed

    def _unqueue(self, group: Group) -> None:
        if not group.was_admitted:
            group.was_admitted = True
            self.n_queued_groups -= 1
            self.n_queued_tokens -= group.n_prompt

    # who shares

    def _followers(self, leader: Sequence) -> list[Sequence]:
        return [s for s in self.running if s.awaits is leader]

    def _serve_followers(self, leader: Sequence, row: int | None = None) -> list[tuple[Sequence, int]]:
        """Share with those whose beginning is computed; (follower, `row`) for those that may draw from it."""
        samples = []
        for follower in self._followers(leader):
            if leader.n_computed < follower.n_awaited:
                continue
            n_usable = max(0, len(follower.tokens) - self.limits.n_whole)
            n_tokens = follower.group.cut(min(follower.n_awaited, n_usable))
            if row is not None and follower.n_awaited == len(follower.tokens) and leader.is_fresh:
                n_tokens = follower.n_awaited
                samples.append((follower, row))
            self._let_share(leader, follower, n_tokens)
        return samples

    def _let_share(self, leader: Sequence, follower: Sequence, n_tokens: int) -> None:
        follower.awaits = None
        follower.n_awaited = 0
        if n_tokens:
            self.slots.index(leader)
            self.slots.share(slot_of(leader), follower, n_tokens)
        is_stranger = follower.group is not leader.group
        self._note_cached(follower, n_tokens if is_stranger else 0)
        self._serve_followers(follower)
