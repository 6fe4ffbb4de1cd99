import random
from dataclasses import replace

import pytest

from llmatic.core.errors import QueueFull
from llmatic.engines.llama.scheduler import Fork, Free, Limits, Plan, Scheduler
from llmatic.engines.llama.sequences import Group, Sequence, make_group

LIMITS = Limits(n_context=256, n_batch=32, n_slots=4, n_chunk=8, n_scored=4)


class Cache:
    """Cells as llama.cpp's unified cache has them: a slot holds references to (position, token) cells."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.slots: list[list[list[int]]] = [[] for _ in range(limits.n_slots)]

    def apply(self, plan: Plan) -> None:
        for effect in plan.effects:
            if isinstance(effect, Free):
                self.slots[effect.slot] = []
            else:
                assert self.slots[effect.target] == []
                assert effect.n_tokens <= len(self.slots[effect.source])
                self.slots[effect.target] = self.slots[effect.source][: effect.n_tokens]
        for token, position, slot in zip(plan.tokens, plan.positions, plan.slots, strict=True):
            assert position == len(self.slots[slot])
            self.slots[slot].append([token])
        if self.limits.is_dense:
            assert plan.slots == sorted(plan.slots)
        assert len(plan.tokens) <= self.limits.n_batch
        assert len(plan.outputs) <= self.limits.n_slots + self.limits.n_scored
        assert self.n_cells <= self.limits.n_context

    @property
    def n_cells(self) -> int:
        return len({id(cell) for cells in self.slots for cell in cells})

    def text(self, slot: int) -> list[int]:
        return [cell[0] for cell in self.slots[slot]]


def next_token(tokens: list[int], index: int) -> int:
    return hash((tuple(tokens), index)) % 50


def step(scheduler: Scheduler, cache: Cache, lengths: dict[int, int]) -> list[Sequence]:
    """One step with a model that computes `next_token`; returns the sequences that ended."""
    plan = scheduler.plan()
    cache.apply(plan)
    ended = []
    for sequence, row in scheduler.commit(plan):
        source = plan.tokens[plan.outputs[row]]
        assert source == sequence.tokens[-1]
        scheduler.append(sequence, next_token(sequence.tokens, sequence.index))
        if len(sequence.tokens) - sequence.group.n_prompt >= lengths[sequence.group.arrival]:
            scheduler.finish(sequence)
            ended.append(sequence)
    for sequence in scheduler.running:
        if sequence.awaits is None and not any(isinstance(e, Fork) for e in scheduler._effects):
            assert sequence.slot is not None
            assert cache.text(sequence.slot) == sequence.tokens[: sequence.n_computed]
    if not scheduler._effects:
        assert scheduler.n_cells == cache.n_cells
    return ended


def finish_all(scheduler: Scheduler, cache: Cache, lengths: dict[int, int]) -> list[Sequence]:
    ended: list[Sequence] = []
    while scheduler.running or scheduler.waiting:
        ended += step(scheduler, cache, lengths)
    cache.apply(scheduler.plan())
    assert cache.n_cells == 0
    return ended


def alone(group: Group, index: int, n_tokens: int) -> list[int]:
    tokens = list(group.prompt)
    for _ in range(n_tokens):
        tokens.append(next_token(tokens, index))
    return tokens


@pytest.mark.parametrize(("can_fork", "is_dense"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("seed", range(40))
def test_random_runs_end_every_sequence_with_its_own_text(seed: int, can_fork: bool, is_dense: bool) -> None:
    rng = random.Random(seed)
    limits = replace(LIMITS, can_fork=can_fork, is_dense=is_dense, n_context=rng.choice([64, 96, 256]))
    scheduler, cache = Scheduler(limits), Cache(limits)
    groups: list[Group] = []
    lengths: dict[int, int] = {}
    cancelled: set[int] = set()
    ended: list[Sequence] = []
    for arrival in range(30):
        lengths[arrival] = rng.randint(1, 24)
        prompt = tuple(rng.randrange(50) for _ in range(rng.randint(1, 30)))
        group = make_group(str(arrival), arrival, prompt, rng.randint(1, 6), wants_scores=rng.random() < 0.3)
        scheduler.submit(group)
        groups.append(group)
        for _ in range(rng.randint(0, 6)):
            ended += step(scheduler, cache, lengths)
            scheduler.check_integrity()
            if rng.random() < 0.05:
                scheduler.shrink()
            if rng.random() < 0.05:
                victim = rng.choice(groups)
                scheduler.cancel(victim)
                cancelled.add(victim.arrival)
            scheduler.check_integrity()
    ended += finish_all(scheduler, cache, lengths)
    scheduler.check_integrity()
    for group in groups:
        if group.arrival in cancelled:
            continue
        assert group.n_to_score == 0
        for sequence in group.sequences:
            assert ended.count(sequence) == 1
            assert sequence.tokens == alone(group, sequence.index, lengths[group.arrival])


def test_choices_share_the_prompt_and_draw_from_one_row() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.submit(make_group("a", 0, range(10), 3))
    plan = scheduler.plan()
    assert plan.tokens == list(range(10))
    samples = scheduler.commit(plan)
    assert [(s.index, row) for s, row in samples] == [(0, 0), (1, 0), (2, 0)]
    assert scheduler.n_cells == 10
    for sequence, _ in samples:
        scheduler.append(sequence, 7)
    plan = scheduler.plan()
    assert plan.effects == [Fork(0, 1, 10), Fork(0, 2, 10)]
    assert plan.slots == [0, 1, 2]


def test_a_late_choice_shares_all_but_the_last_token() -> None:
    scheduler, cache = Scheduler(replace(LIMITS, n_slots=1)), Cache(LIMITS)
    scheduler.submit(make_group("a", 0, range(10), 2))
    ended = finish_all(scheduler, cache, {0: 3})
    assert [s.index for s in ended] == [0, 1]

    scheduler = Scheduler(replace(LIMITS, n_slots=2))
    scheduler.submit(make_group("a", 0, range(10), 3))
    samples = scheduler.commit(scheduler.plan())
    scheduler.append(samples[0][0], 1)
    scheduler.finish(samples[1][0])
    plan = scheduler.plan()
    assert plan.effects == [Fork(0, 1, 10), Free(1), Fork(0, 1, 9)]
    assert plan.tokens == [1, 9]


def test_writing_sequences_go_first_and_prompts_are_cut() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.submit(make_group("a", 0, range(5), 1))
    ((sequence, _),) = scheduler.commit(scheduler.plan())
    scheduler.append(sequence, 42)
    scheduler.submit(make_group("b", 1, range(100), 1))
    plan = scheduler.plan()
    assert plan.tokens == [42, *range(8)]
    assert plan.outputs == [0]


def test_a_prompt_alone_fills_the_batch() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.submit(make_group("a", 0, range(100), 1))
    assert len(scheduler.plan().tokens) == LIMITS.n_batch


def test_the_youngest_is_paused_and_comes_back() -> None:
    limits = replace(LIMITS, n_context=24)
    scheduler, cache = Scheduler(limits), Cache(limits)
    scheduler.submit(make_group("old", 0, range(10), 1))
    scheduler.submit(make_group("young", 1, range(10), 1))
    order = [s.group.id for s in finish_all(scheduler, cache, {0: 12, 1: 12})]
    assert order == ["old", "young"]
    assert scheduler.n_preemptions == 1


def test_a_full_queue_refuses() -> None:
    scheduler = Scheduler(replace(LIMITS, n_slots=1, max_queue=2))
    for arrival in range(3):
        scheduler.submit(make_group(str(arrival), arrival, (1,), 1))
    with pytest.raises(QueueFull):
        scheduler.submit(make_group("x", 3, (1,), 1))
    scheduler.check_integrity()


def test_a_queue_of_many_tokens_refuses() -> None:
    scheduler = Scheduler(replace(LIMITS, max_queue_tokens=100))
    scheduler.submit(make_group("a", 0, range(90), 1))
    with pytest.raises(QueueFull):
        scheduler.submit(make_group("b", 1, range(20), 1))


def test_requests_are_admitted_in_the_order_of_arrival() -> None:
    scheduler, cache = Scheduler(replace(LIMITS, n_slots=1)), Cache(LIMITS)
    for arrival in (2, 0, 1):
        scheduler.submit(make_group(str(arrival), arrival, (1, 2), 1))
    assert [s.group.arrival for s in finish_all(scheduler, cache, dict.fromkeys(range(3), 2))] == [0, 1, 2]


def test_scored_rows_are_limited_and_complete() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.submit(make_group("a", 0, range(11), 1, wants_scores=True))
    positions = []
    while not (plan := scheduler.plan()).samples:
        assert len(plan.scores) <= LIMITS.n_scored
        positions += [position for _, position, _ in plan.scores]
        scheduler.commit(plan)
    positions += [position for _, position, _ in plan.scores]
    assert positions == list(range(10))


def test_cancelling_frees_before_the_next_step() -> None:
    scheduler = Scheduler(LIMITS)
    group = make_group("a", 0, range(20), 2)
    scheduler.submit(group)
    scheduler.commit(scheduler.plan())
    scheduler.cancel(group)
    scheduler.cancel(group)
    scheduler.check_integrity()
    plan = scheduler.plan()
    assert {e.slot for e in plan.effects if isinstance(e, Free)} == {0, 1}
    assert plan.tokens == []


def test_slots_close_up_when_their_cache_is_not_unified() -> None:
    scheduler = Scheduler(replace(LIMITS, is_dense=True))
    cache = Cache(scheduler.limits)
    lengths = {0: 2, 1: 3, 2: 9, 3: 9}
    for arrival in lengths:
        scheduler.submit(make_group(str(arrival), arrival, (arrival, 7), 1))
    while len(scheduler.running) != 2 or scheduler._effects:
        step(scheduler, cache, lengths)
    assert sorted(scheduler.plan().slots) == [0, 1]
