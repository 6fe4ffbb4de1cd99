"""A cache, a store and a runner with llama.cpp's rules, for tests of the scheduler.

A cell knows by a hash all that was computed before it in its slot, so that the token drawn at a row is a
function of the slot's real content. The driver computes the same from the tokens alone, and compares.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmatic.engines.llama.batching import Plan
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.scheduler import Scheduler
from llmatic.engines.llama.sequences import Group, make_group
from llmatic.engines.llama.sequences import Sequence as Choice
from llmatic.engines.llama.slots import Effect, Fork, Free, Restore, Save, Trim, slot_of

N_VOCAB = 50
N_EXACT = 16


class Cell:
    """One token in the cache; `chain` stands for it and all before it."""

    __slots__ = ("chain", "token")

    def __init__(self, before: int, token: int, kernel: object) -> None:
        self.token = token
        self.chain = hash((before, token, kernel))


def chain_of(cells: Sequence[Cell]) -> int:
    """The hash of a slot's content."""
    return cells[-1].chain if cells else 0


def draw(chain: int, index: int) -> int:
    """The model: the next token of choice `index` after the text that `chain` stands for."""
    return hash((chain, index, "draw")) % N_VOCAB


class Cache:
    """`n_slots` slots. Pooled: `n_context` cells for all, shared by reference; else an equal part for each.

    Where they are not pooled a fork is a copy that the next decode makes: until then its target cannot be
    saved, and neither end can be restored into.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.slots: list[list[Cell]] = [[] for _ in range(limits.n_slots)]
        self._uses: dict[int, int] = {}
        self._copies: list[tuple[int, int]] = []

    @property
    def n_cells(self) -> int:
        """Cells in use."""
        return len(self._uses) if self.limits.is_pooled else sum(map(len, self.slots))

    def fork(self, source: int, target: int, n_tokens: int) -> None:
        """As Backend.fork."""
        assert self.limits.can_fork, "this model's state cannot be shared"
        assert source != target
        assert not self.slots[target], f"slot {target} is not empty"
        assert 0 <= n_tokens <= len(self.slots[source])
        self._set(target, self.slots[source][:n_tokens])
        if not self.limits.is_pooled:
            self._copies.append((source, target))

    def can_save(self, slot: int) -> bool:
        """Whether Backend.save would give the slot's real content."""
        return all(slot != target for _, target in self._copies)

    def can_restore(self, slot: int) -> bool:
        """Whether nothing would overwrite, or copy, what is restored."""
        return all(slot not in ends for ends in self._copies)

    def trim(self, slot: int, n_tokens: int) -> None:
        """As Backend.trim."""
        assert 0 <= n_tokens <= len(self.slots[slot])
        if n_tokens < len(self.slots[slot]):
            assert self.limits.can_fork, "this model's state cannot be cut"
            self._set(slot, self.slots[slot][:n_tokens])

    def free(self, slot: int) -> None:
        """As Backend.free."""
        self._set(slot, [])

    def restore(self, slot: int, cells: Sequence[Cell]) -> None:
        """As Backend.restore: cells of its own, behind what the slot holds."""
        assert not self.slots[slot] or self.limits.n_block
        copies = list(self.slots[slot])
        for cell in cells:
            copy = Cell(0, cell.token, None)
            copy.chain = cell.chain
            copies.append(copy)
        self._set(slot, copies)
        self._check_room()

    def decode(self, plan: Plan, kernels: Sequence[object]) -> list[int]:
        """As Backend.decode; the chains of the output rows. `kernels`: what else each row depends on."""
        limits = self.limits
        self._copies.clear()
        assert 1 <= len(plan.tokens) <= limits.n_batch
        assert len(plan.positions) == len(plan.slots) == len(plan.tokens)
        assert len(plan.outputs) <= limits.n_outputs
        assert plan.outputs == sorted(set(plan.outputs))
        if limits.is_dense:
            assert plan.slots == sorted(plan.slots)
        chains = []
        for token, position, slot, kernel in zip(
            plan.tokens, plan.positions, plan.slots, kernels, strict=True
        ):
            cells = self.slots[slot]
            assert position == len(cells), f"slot {slot} goes on at {len(cells)}, not {position}"
            cell = Cell(chain_of(cells), token, kernel)
            cells.append(cell)
            self._uses[id(cell)] = 1
            chains.append(cell.chain)
        self._check_room()
        return [chains[row] for row in plan.outputs]

    def _check_room(self) -> None:
        if self.limits.is_pooled:
            assert self.n_cells <= self.limits.n_context, "no room"
        else:
            n_each = self.limits.n_context // self.limits.n_slots
            assert max(map(len, self.slots)) <= n_each, "no room in a slot"

    def _set(self, slot: int, cells: list[Cell]) -> None:
        old, self.slots[slot] = self.slots[slot], cells
        for cell in cells:
            self._uses[id(cell)] = self._uses.get(id(cell), 0) + 1
        for cell in old:
            self._uses[id(cell)] -= 1
            if not self._uses[id(cell)]:
                del self._uses[id(cell)]


class Store:
    """Saved states, of which some get lost. A recurrent model's state is taken as a whole or not at all."""

    def __init__(self, rng: random.Random, *, is_whole: bool, n_max: int = 12, loss: float = 0.2) -> None:
        self._rng = rng
        self._is_whole = is_whole
        self._n_max = n_max
        self._loss = loss
        self._saved: dict[bytes, dict[tuple[int, ...], list[Cell]]] = {}
        self.n_saved = 0
        self.n_restored = 0

    def put(self, effect: Save, cells: list[Cell]) -> None:
        """Keep the slot's content, which must be what the effect says."""
        assert [cell.token for cell in cells] == list(effect.tokens)
        (texts := self._saved.setdefault(effect.namespace, {}))[tuple(effect.tokens)] = list(cells)
        self.n_saved += 1
        if len(texts) > self._n_max:
            del texts[next(iter(texts))]

    def match(self, namespace: bytes, tokens: Sequence[int]) -> int:
        """How many leading tokens could be restored."""
        return max((self._common(text, tokens) for text in self._saved.get(namespace, ())), default=0)

    def get(self, namespace: bytes, tokens: Sequence[int], n_tokens: int) -> list[Cell] | None:
        """The cells of exactly the first `n_tokens`; None if they are lost."""
        for text, cells in self._saved.get(namespace, {}).items():
            if self._common(text, tokens[:n_tokens]) >= n_tokens and self._rng.random() >= self._loss:
                self.n_restored += 1
                return cells[:n_tokens]
        return None

    def _common(self, text: Sequence[int], tokens: Sequence[int]) -> int:
        n = 0
        for ours, theirs in zip(text, tokens, strict=False):
            if ours != theirs:
                break
            n += 1
        return 0 if self._is_whole and n < len(text) else n


@dataclass(slots=True)
class Request:
    """A group, how long its answers get, and what has become of it."""

    group: Group
    lengths: list[int]
    ended: list[int] = field(default_factory=list)
    is_cancelled: bool = False
    scored: list[int] = field(default_factory=list)


class Driver:
    """What the runner does with a scheduler, over the fake cache; every answer is checked as it ends."""

    def __init__(
        self,
        limits: Limits,
        store: Store | None = None,
        *,
        prompt_rows: Callable[[int, int], int] = lambda *_: 1 << 30,
        guess: Callable[[Choice, list[int]], list[int]] | None = None,
        fails: Callable[[], bool] = lambda: False,
        beside: Callable[[int, int], tuple[int, int]] | None = None,
    ) -> None:
        """`guess` of a sequence and what it will write next: what to draft. `fails`: a row gives nonsense."""
        self.limits = limits
        self.scheduler = Scheduler(limits, None if store is None else store.match)
        self.cache = Cache(limits)
        self.store = store
        self.requests: dict[int, Request] = {}
        self.plan = Plan()
        self.n_steps = self.n_rows = self.n_refused = 0
        self.n_prompt_rows: dict[Choice, int] = {}
        self._prompt_rows = prompt_rows
        self._beside = beside
        self._guess = guess
        self._fails = fails
        self._chains: dict[Choice, int] = {}

    def submit(self, group: Group, lengths: list[int] | int) -> Request:
        """Queue a group whose choices write so many tokens. Raises QueueFull."""
        if isinstance(lengths, int):
            lengths = [lengths] * len(group.sequences)
        group.n_wanted = max(lengths)
        self.scheduler.submit(group)
        request = self.requests[group.arrival] = Request(group, lengths)
        chain = 0
        for token in group.prompt:
            chain = hash((chain, token, self._kernel(group, group.n_prompt)))
        for sequence in group.sequences:
            self._chains[sequence] = chain
        return request

    def cancel(self, request: Request) -> None:
        """Forget it; no more may come of it."""
        self.scheduler.cancel(request.group)
        request.is_cancelled = True
        self._forget(request)

    def settle(self) -> None:
        """Do what is left to be done to the cache."""
        self._do(self.scheduler.take_effects())

    def step(self, *, no_room: bool = False) -> list[Choice]:
        """One step, in which llama.cpp may say that it has `no_room`; the sequences that ended."""
        self.settle()
        while Restore in [type(effect) for effect in self._do(self.scheduler.prepare())]:
            pass
        self.check()
        if self._guess is not None:
            for sequence in self.scheduler.running:
                foreseen = self._foresee(sequence)
                sequence.drafts = self._guess(sequence, foreseen) if sequence.is_writing else []
        self.plan = plan = self.scheduler.plan(self._prompt_rows, self._beside)
        self._do(plan.effects)
        self.n_steps += 1
        if not plan.tokens:
            assert not self.scheduler.running, "nothing is computed though somebody runs"
            assert not len(self.scheduler.waiting), "nothing is computed though somebody waits"
            return []
        if no_room:
            if self.scheduler.shrink():
                self.settle()
                self.check()
                return []
            assert len(self.scheduler.running) == 1
        ended = self._compute(plan)
        self.check()
        return ended

    def run(self, n_steps_max: int = 20_000) -> list[Choice]:
        """Steps until nothing is left; the sequences in the order in which they ended."""
        ended = []
        while self.scheduler.running or len(self.scheduler.waiting):
            ended += self.step()
            assert self.n_steps < n_steps_max, "it does not end"
        self.settle()
        self.check()
        return ended

    def check(self) -> None:
        """Everything agrees: the scheduler with itself, and with the cache once all effects are done."""
        scheduler = self.scheduler
        scheduler.check_integrity()
        if not scheduler.slots.effects:
            if self.limits.is_pooled:
                assert scheduler.n_cells + scheduler.slots.n_kept_cells == self.cache.n_cells
            for sequence in scheduler.running:
                assert len(self.cache.slots[slot_of(sequence)]) == sequence.n_computed

    def _compute(self, plan: Plan) -> list[Choice]:
        kernels: list[object] = []
        for part in sorted(plan.parts, key=lambda p: plan.slots.index(slot_of(p.sequence))):
            assert part.sequence.group.adapters == plan.adapters
            if part.is_prompt or part.sequence.is_fresh:
                known = self.n_prompt_rows.get(part.sequence, 0)
                self.n_prompt_rows[part.sequence] = known + (part.n_rows if part.is_prompt else 1)
            kernels += [self._kernel(part.sequence.group, part.n_rows)] * part.n_rows
        chains = self.cache.decode(plan, kernels)
        self.n_rows += len(plan.tokens)
        assert len(plan.scores) <= self.limits.n_scored
        for sequence, position, row in plan.scores:
            assert plan.tokens[plan.outputs[row]] == sequence.tokens[position]
            self.requests[sequence.group.arrival].scored.append(position)
        ended = []
        for sequence, row in self.scheduler.commit(plan):
            request = self.requests[sequence.group.arrival]
            if request.is_cancelled:
                sequence.drafts = []
            elif self._fails():
                self.cancel(request)
            elif self._write(sequence, chains, row):
                ended.append(sequence)
        return ended

    def _write(self, sequence: Choice, chains: list[int], row: int) -> bool:
        """Draw and verify drafts as the runner does; whether the sequence ended."""
        drafts, sequence.drafts = sequence.drafts, []
        assert not sequence.is_done
        request = self.requests[sequence.group.arrival]
        n_left = request.lengths[sequence.index] - (len(sequence.tokens) - sequence.group.n_prompt)
        drawn: list[int] = []
        while len(drawn) < n_left:
            assert chains[row + len(drawn)] == self._chains[sequence], "the slot holds another text"
            token = draw(chains[row + len(drawn)], sequence.index)
            drawn.append(token)
            self._chains[sequence] = hash((self._chains[sequence], token, self._kernel(sequence.group, 1)))
            if len(drawn) > len(drafts) or token != drafts[len(drawn) - 1]:
                break
        is_last = len(drawn) == n_left
        for token in drawn[:-1] if is_last else drawn:
            self.scheduler.append(sequence, token)
        if drafts:
            self.scheduler.accept(sequence, len(drafts), len(drawn) - 1)
        if is_last:
            self.scheduler.finish(sequence)
            assert sequence.index not in request.ended
            request.ended.append(sequence.index)
            if len(request.ended) == len(request.lengths):
                self._forget(request)
        return is_last

    def _forget(self, request: Request) -> None:
        for sequence in request.group.sequences:
            self._chains.pop(sequence, None)

    def _foresee(self, sequence: Choice) -> list[int]:
        """What the sequence will write next."""
        chain, tokens = self._chains[sequence], []
        for _ in range(4):
            tokens.append(draw(chain, sequence.index))
            chain = hash((chain, tokens[-1], self._kernel(sequence.group, 1)))
        return tokens

    def _kernel(self, group: Group, n_rows: int) -> object:
        """What a row's result depends on besides the tokens: in exact mode also on how many are computed."""
        is_small = self.limits.is_exact and n_rows < N_EXACT
        return hash((group.namespace, is_small))

    def _do(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Free):
                self.cache.free(effect.slot)
            elif isinstance(effect, Fork):
                self.cache.fork(effect.source, effect.target, effect.n_tokens)
            elif isinstance(effect, Trim):
                self.cache.trim(effect.slot, effect.n_tokens)
            elif isinstance(effect, Save):
                assert self.store is not None
                if self.cache.can_save(effect.slot):
                    self.store.put(effect, self.cache.slots[effect.slot])
                else:
                    self.n_refused += 1
            else:
                self._restore(effect)
        if self.scheduler.slots.effects:
            self.settle()  # what came of restoring
        return effects

    def _restore(self, effect: Restore) -> None:
        assert self.store is not None
        sequence, slot = effect.sequence, slot_of(effect.sequence)
        cells = self.store.get(sequence.group.namespace, sequence.tokens, effect.n_tokens)
        assert len(self.cache.slots[slot]) == effect.n_held
        if cells is None or not self.cache.can_restore(slot):
            self.n_refused += cells is not None
            self.scheduler.restored(sequence, effect.n_held)
            return
        self.cache.restore(slot, cells[effect.n_held :])
        self.scheduler.restored(sequence, len(cells))


def ask(
    arrival: int, prompt: Sequence[int], n_choices: int = 1, *, wants_scores: bool = False, **more: object
) -> Group:
    """A group with further attributes set."""
    group = make_group(str(arrival), arrival, list(prompt), n_choices, wants_scores=wants_scores)
    for name, value in more.items():
        setattr(group, name, value)
    return group
