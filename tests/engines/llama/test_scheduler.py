import random
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest

from llmatic.core.errors import QueueFull
from llmatic.core.types import Adapter, Priority
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.scheduler import Scheduler
from llmatic.engines.llama.sequences import Sequence
from llmatic.engines.llama.slots import Free
from tests.engines.llama.fake_cache import Driver, Store, ask

LIMITS = Limits(n_context=1024, n_batch=64, n_slots=20, n_running=16, n_outputs=100, n_scored=8)
KEPT = replace(LIMITS, n_kept_max=512)
PREFIX = list(range(100))


def test_a_cold_burst_computes_the_common_beginning_once() -> None:
    driver = Driver(LIMITS)
    requests = [driver.submit(ask(i, [*PREFIX, 200 + i, 300]), 1) for i in range(16)]
    driver.run()
    assert driver.n_rows == 100 + 16 * 2
    assert [r.group.n_cached for r in requests] == [0] + [100] * 15


def test_many_choices_compute_the_prompt_once_and_draw_from_one_row() -> None:
    driver = Driver(LIMITS)
    request = driver.submit(ask(0, PREFIX, 8), 4)
    driver.step()
    driver.step()
    assert driver.plan.parts[0].n_rows == 36
    assert len(driver.plan.outputs) == 1
    assert [len(s.tokens) for s in request.group.sequences] == [101] * 8
    driver.run()
    assert driver.n_rows == 100 + 3 * 8
    assert request.group.n_cached == 0


def test_a_late_choice_shares_all_but_the_last_token() -> None:
    driver = Driver(replace(LIMITS, n_running=2))
    driver.submit(ask(0, PREFIX, 3), [9, 1, 1])
    driver.run()
    assert driver.n_rows == 100 + 8 + 1


def test_choices_of_an_exact_model_draw_from_one_row() -> None:
    driver = Driver(replace(LIMITS, n_slots=4, n_running=4, is_exact=True, is_pooled=False, is_dense=True))
    driver.submit(ask(0, PREFIX, 4), 3)
    driver.run()
    assert driver.n_rows == 100 + 4 * 2


def test_who_waits_for_a_cancelled_request_gets_what_it_has_computed() -> None:
    driver = Driver(LIMITS)
    first = driver.submit(ask(0, [*PREFIX, 1]), 5)
    second = driver.submit(ask(1, [*PREFIX, 2]), 5)
    driver.step()
    assert second.group.sequences[0].awaits is first.group.sequences[0]
    driver.cancel(first)
    driver.run()
    assert second.group.n_cached == 64
    assert driver.n_rows == 101 + 4


def test_a_conversation_goes_on_where_it_ended() -> None:
    driver = Driver(KEPT)
    (turn,) = [driver.submit(ask(0, PREFIX), 10)]
    driver.run()
    text = turn.group.sequences[0].tokens
    assert len(text) == 109
    driver.n_rows = 0
    other = driver.submit(ask(1, [*text, 7, 8]), 1)
    driver.run()
    assert other.group.n_cached == 109
    assert driver.n_rows == 2


def test_a_text_that_another_goes_on_with_is_not_kept_twice() -> None:
    driver = Driver(KEPT)
    text = PREFIX
    for turn in range(5):
        request = driver.submit(ask(turn, text), 3)
        driver.run()
        text = [*request.group.sequences[0].tokens, 5, 6, 7]
    slots = driver.scheduler.slots
    assert slots.n_kept_cells == len(text) - 3 == driver.cache.n_cells
    assert len([cells for cells in driver.cache.slots if cells]) == 1


def test_the_same_prompt_again_costs_one_row() -> None:
    driver = Driver(KEPT)
    for arrival in range(2):
        driver.n_rows = 0
        request = driver.submit(ask(arrival, PREFIX), 1)
        driver.run()
    assert request.group.n_cached == 99
    assert driver.n_rows == 1


def test_namespaces_share_nothing() -> None:
    driver = Driver(KEPT)
    driver.submit(ask(0, PREFIX, namespace=b"a"), 1)
    driver.run()
    for arrival in (1, 2):
        driver.submit(ask(arrival, PREFIX, namespace=bytes([arrival])), 1)
    driver.run()
    assert driver.n_rows == 300
    assert [r.group.n_cached for r in driver.requests.values()] == [0, 0, 0]


def test_kept_texts_give_way_to_running_ones() -> None:
    driver = Driver(replace(KEPT, n_context=256, n_kept_max=256))
    driver.submit(ask(0, PREFIX), 1)
    driver.run()
    assert driver.scheduler.slots.n_kept_cells == 100
    driver.submit(ask(1, [9] * 200), 40)
    driver.run()
    assert driver.scheduler.n_preemptions == 0
    assert driver.scheduler.slots.n_evictions > 0


def test_a_prompt_that_is_held_and_saved_is_taken_from_the_cache() -> None:
    store = Store(random.Random(0), is_whole=False, loss=0)
    driver = Driver(KEPT, store)
    for arrival in range(2):
        driver.submit(ask(arrival, PREFIX, is_keyed=True), 1)
        driver.run()
    assert store.n_saved
    assert store.n_restored == 0


class Lossy(Store):
    """A store that promises `n` tokens and has none."""

    n = 90

    def match(self, namespace: bytes, tokens: object) -> int:
        return self.n

    def get(self, namespace: bytes, tokens: object, n_tokens: int) -> None:
        return None


def test_what_was_lost_is_computed() -> None:
    driver = Driver(LIMITS, Lossy(random.Random(0), is_whole=False))
    first = driver.submit(ask(0, PREFIX), 2)
    second = driver.submit(ask(1, PREFIX), 2)
    driver.run()
    assert first.group.n_cached == 0
    assert second.group.n_cached == 99
    assert driver.n_rows == 100 + 1 + 2


def test_paused_work_is_restored_from_the_store() -> None:
    store = Store(random.Random(0), is_whole=False, loss=0)
    driver = Driver(replace(LIMITS, n_running=1), store)
    low = driver.submit(ask(0, PREFIX, priority=Priority.BATCH), 20)
    driver.step()
    driver.step()
    driver.submit(ask(1, [5, 5]), 2)
    driver.run()
    assert driver.scheduler.n_preemptions == 1
    assert store.n_restored == 1
    assert low.group.n_cached == 0
    assert driver.n_rows == 100 + 19 + 3


def test_batch_work_makes_way_and_goes_on_later() -> None:
    driver = Driver(replace(KEPT, n_running=2))
    low = [driver.submit(ask(i, [i] * 50, priority=Priority.BATCH), 30) for i in range(2)]
    for _ in range(10):
        driver.step()
    high = [driver.submit(ask(i, [i] * 20), 5) for i in range(2, 6)]
    order = [s.group.arrival for s in driver.run()]
    assert order[:4] == [2, 3, 4, 5]
    assert all(r.ended == [0] for r in low + high)
    assert driver.scheduler.n_preemptions == 2
    assert driver.n_rows == 2 * (50 + 29) + 4 * (20 + 4)


def test_nobody_waits_for_less_urgent_work() -> None:
    driver = Driver(LIMITS)
    driver.submit(ask(0, PREFIX, priority=Priority.BATCH), 1)
    high = driver.submit(ask(1, PREFIX), 1)
    driver.step()
    assert high.group.sequences[0].awaits is None


def test_sets_of_adapters_take_turns() -> None:
    driver = Driver(LIMITS)
    one, two = (Adapter("one"),), (Adapter("two"),)
    for arrival, adapters in enumerate([one, two, (), one]):
        driver.submit(ask(arrival, [1, 2, 3], namespace=repr(adapters).encode(), adapters=adapters), 40)
    sets: list[tuple[Adapter, ...]] = []
    while driver.scheduler.running or not sets:
        driver.step()
        sets.append(driver.plan.adapters)
    for start in range(len(sets) - 50):
        assert {one, two, ()} <= set(sets[start : start + 12])
    assert sum(a != b for a, b in pairwise(sets)) < len(sets) / 3


def test_the_youngest_is_paused_and_comes_back() -> None:
    driver = Driver(replace(LIMITS, n_context=24))
    driver.submit(ask(0, range(10)), 12)
    driver.submit(ask(1, range(10, 20)), 12)
    assert [s.group.arrival for s in driver.run()] == [0, 1]
    assert driver.scheduler.n_preemptions == 1


def test_a_cache_without_room_pauses_the_last_and_admits_nobody_until_one_leaves() -> None:
    driver = Driver(LIMITS)
    for arrival in range(3):
        driver.submit(ask(arrival, [arrival] * 5), 4)
    driver.step()
    driver.step(no_room=True)
    driver.step()
    assert [s.group.arrival for s in driver.scheduler.running] == [0, 1]
    assert len(driver.run()) == 3


def test_the_last_sequence_cannot_make_room() -> None:
    driver = Driver(LIMITS)
    driver.submit(ask(0, [1, 2]), 4)
    driver.step()
    assert not driver.scheduler.shrink()


def test_writing_sequences_go_first_and_prompts_are_cut() -> None:
    driver = Driver(LIMITS, prompt_rows=lambda n, _: 8 if n else 64)
    driver.submit(ask(0, range(5)), 20)
    for _ in range(6):
        driver.step()
    driver.submit(ask(1, range(10, 110)), 1)
    driver.step()
    assert driver.plan.tokens[1:] == list(range(10, 18))
    assert driver.plan.outputs == [0]


def test_a_prompt_alone_fills_the_batch() -> None:
    driver = Driver(LIMITS)
    driver.submit(ask(0, range(100)), 1)
    driver.step()
    assert len(driver.plan.tokens) == LIMITS.n_batch


def first_of(n: int, _sequence: Sequence, right: list[int]) -> list[int]:
    return right[:n]


def test_right_guesses_save_steps_and_wrong_ones_change_nothing() -> None:
    n_steps = {}
    for name, cut in (("none", 0), ("right", 4)):
        driver = Driver(LIMITS, guess=partial(first_of, cut))
        driver.submit(ask(0, PREFIX), 41)
        driver.run()
        n_steps[name] = driver.n_steps
    assert n_steps == {"none": 2 + 40, "right": 2 + 8}
    wrong = Driver(LIMITS, guess=lambda _s, right: [(t + 1) % 50 for t in right])
    wrong.submit(ask(0, PREFIX), 41)
    wrong.run()
    assert wrong.n_steps == n_steps["none"]


def test_guesses_leave_outputs_for_prompts_that_end() -> None:
    driver = Driver(
        replace(LIMITS, n_outputs=20, n_running=12, n_scored=4), guess=lambda _s, right: right[:4]
    )
    for arrival in range(12):
        driver.submit(ask(arrival, [arrival] * (arrival + 1), wants_scores=arrival % 2 == 0), 15)
        driver.step()
    driver.run()
    assert all(r.ended == [0] for r in driver.requests.values())


def test_exact_prompts_are_never_computed_in_small_pieces() -> None:
    limits = replace(
        LIMITS, is_exact=True, is_pooled=False, is_dense=True, n_slots=4, n_running=4, n_scored=32
    )
    driver = Driver(limits, prompt_rows=lambda n, _: 8 if n else 64)
    for arrival in range(40):
        driver.submit(ask(arrival, [*PREFIX[: arrival * 2], *[arrival] * (arrival + 1)]), 3)
        driver.step()
    driver.run()
    assert driver.scheduler.n_preemptions == 0


def test_exact_answers_are_not_what_later_prompts_begin_with() -> None:
    limits = replace(LIMITS, is_exact=True, is_pooled=False, n_slots=2, n_running=2, n_scored=32)
    store = Store(random.Random(0), is_whole=False, loss=0)
    driver = Driver(limits, store)
    first = driver.submit(ask(0, PREFIX), 60)
    driver.run()
    driver.submit(ask(1, [*first.group.sequences[0].tokens, *[3] * 20]), 1)
    driver.run()
    assert driver.requests[1].group.n_cached == 100


def test_a_full_queue_refuses() -> None:
    scheduler = Scheduler(replace(LIMITS, n_running=1, max_queue=2))
    for arrival in range(3):
        scheduler.submit(ask(arrival, (1,)))
    with pytest.raises(QueueFull):
        scheduler.submit(ask(3, (1,)))
    scheduler.check_integrity()


def test_a_queue_of_many_tokens_refuses() -> None:
    scheduler = Scheduler(replace(LIMITS, max_queue_tokens=100))
    scheduler.submit(ask(0, range(90)))
    with pytest.raises(QueueFull):
        scheduler.submit(ask(1, range(20)))


def test_requests_are_admitted_in_the_order_of_arrival() -> None:
    driver = Driver(replace(LIMITS, n_running=1))
    for arrival in (2, 0, 1):
        driver.submit(ask(arrival, (1, 2)), 2)
    assert [s.group.arrival for s in driver.run()] == [0, 1, 2]


def test_scored_rows_are_limited_and_complete() -> None:
    driver = Driver(KEPT)
    driver.submit(ask(0, range(30)), 1)
    driver.run()
    request = driver.submit(ask(1, range(30), 3, wants_scores=True), 2)
    driver.run()
    assert request.scored == list(range(29))
    assert request.group.n_cached == 0


def test_cancelling_frees_before_the_next_step() -> None:
    driver = Driver(LIMITS)
    request = driver.submit(ask(0, range(20), 2), 9)
    driver.step()
    driver.cancel(request)
    driver.cancel(request)
    effects = driver.scheduler.slots.effects
    assert {e.slot for e in effects if isinstance(e, Free)} == {0, 1}
    driver.step()
    assert driver.plan.tokens == []
    assert driver.cache.n_cells == 0


def test_reset_forgets_everything() -> None:
    driver = Driver(replace(KEPT, n_running=2))
    for arrival in range(4):
        driver.submit(ask(arrival, [arrival] * 30, 2), 9)
        driver.step()
    groups = driver.scheduler.reset()
    assert [g.arrival for g in groups] == [0, 1, 2, 3]
    assert driver.scheduler.take_effects() == []
    assert driver.scheduler.n_cells == driver.scheduler.slots.n_kept_cells == 0
    driver.scheduler.check_integrity()


def test_slots_close_up_when_their_cache_is_not_unified() -> None:
    driver = Driver(replace(LIMITS, is_dense=True, is_pooled=False, n_slots=4, n_running=4))
    for arrival, length in enumerate([2, 3, 9, 9]):
        driver.submit(ask(arrival, (arrival, 7)), length)
    while len(driver.scheduler.running) != 2 or driver.n_steps < 2:
        driver.step()
    driver.step()
    assert sorted(driver.plan.slots) == [0, 1]
