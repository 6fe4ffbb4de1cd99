"""Whose turn it is, and how long the others wait."""

import math
import random
from dataclasses import dataclass

import pytest

from llmatic.engines.llama.waiting import N_REMEMBERED, N_TOGETHER, WaitEstimate, WaitingQueue


@dataclass(eq=False)
class Waiter:
    """The least that can wait."""

    client: str
    arrival: int
    index: int = 0
    priority: int = 1
    n_cost: int = 100

    @property
    def order(self) -> tuple[int, int, int]:
        return self.priority, self.arrival, self.index


Queue = WaitingQueue[Waiter]


def queue_of(*waiters: Waiter) -> Queue:
    queue = Queue()
    for waiter in waiters:
        queue.push(waiter)
    queue.check_integrity()
    return queue


def drain(queue: Queue) -> list[Waiter]:
    popped = []
    while len(queue):
        popped.append(queue.pop())
        queue.check_integrity()
    return popped


def test_one_client_is_served_by_arrival_and_index() -> None:
    waiters = [Waiter("a", arrival, index) for arrival in range(4) for index in range(3)]
    shuffled = waiters.copy()
    random.Random(1).shuffle(shuffled)
    assert drain(queue_of(*shuffled)) == waiters


def test_a_higher_priority_always_comes_first() -> None:
    batch, flex, default, first = (Waiter("a", n, priority=p) for n, p in enumerate((3, 2, 1, 0)))
    others = [Waiter("b", 10 + n, n_cost=1, priority=3) for n in range(5)]
    assert drain(queue_of(batch, *others, flex, default, first))[:3] == [first, default, flex]


def test_a_thousand_requests_do_not_delay_one_of_another() -> None:
    queue = queue_of(*(Waiter("hog", n) for n in range(1000)))
    for _ in range(10):
        queue.pop()
    single = Waiter("single", 2000, n_cost=10_000)
    queue.push(single)
    assert queue.first() is single
    assert queue.position(single) == 0


def test_a_client_who_asks_one_by_one_gets_its_share() -> None:
    queue = queue_of(*(Waiter("hog", n) for n in range(100)))
    served = {"hog": 0, "polite": 0}
    for n in range(60):
        if not any(w.client == "polite" for w in queue):
            queue.push(Waiter("polite", 1000 + n))
        served[queue.pop().client] += 1
    assert abs(served["hog"] - served["polite"]) <= 2


def test_clients_share_by_tokens_not_by_requests() -> None:
    queue = queue_of(
        *(Waiter("long", n, n_cost=1000) for n in range(100)),
        *(Waiter("short", 100 + n, n_cost=100) for n in range(1000)),
    )
    popped = [queue.pop().client for _ in range(220)]
    assert popped.count("short") == pytest.approx(10 * popped.count("long"), rel=0.1)


def test_idleness_earns_no_credit() -> None:
    queue = queue_of(Waiter("late", 0))
    queue.pop()
    for n in range(100):
        queue.push(Waiter("busy", 1 + n))
        queue.pop()
    for n in range(20):
        queue.push(Waiter("late", 200 + 2 * n))
        queue.push(Waiter("busy", 201 + 2 * n))
    first = [w.client for w in drain(queue)[:20]]
    assert 8 <= first.count("late") <= 12


def test_waiting_in_a_low_class_earns_no_credit_in_a_higher_one() -> None:
    queue = queue_of(Waiter("sly", 0, priority=2))
    for n in range(100):
        queue.push(Waiter("busy", 1 + n))
        queue.pop()
    for n in range(20):
        queue.push(Waiter("sly", 200 + 2 * n))
        queue.push(Waiter("busy", 201 + 2 * n))
    first = [w.client for w in drain(queue)[:20]]
    assert first.count("sly") <= 12


def test_an_endless_row_of_newcomers_does_not_starve_an_old_client() -> None:
    queue = queue_of(*(Waiter("old", n) for n in range(2)))
    queue.pop()
    last = queue.first()
    queue.push(Waiter("new 0", 10))
    for n in range(1, 50):
        queue.push(Waiter(f"new {n}", 10 + n))
        if queue.pop() is last:
            return
    pytest.fail("starved")


def test_choices_of_a_request_follow_each_other() -> None:
    a = [Waiter("a", 0, index) for index in range(4)]
    b = [Waiter("b", 1, index) for index in range(4)]
    assert drain(queue_of(*a, *b)) == [*a, *b]


def test_a_request_of_very_many_choices_lets_others_in_between() -> None:
    many = [Waiter("a", 0, index) for index in range(128)]
    other = Waiter("b", 1)
    assert drain(queue_of(*many, other)).index(other) == N_TOGETHER


def test_paused_ones_come_first_in_their_class_and_are_not_charged_again() -> None:
    queue, same = (queue_of(*(Waiter("ab"[n % 2], n) for n in range(6))) for _ in range(2))
    first, second = queue.pop(), queue.pop()
    same.pop()
    same.pop()
    queue.push_back(second)
    queue.push_back(first)
    urgent = Waiter("c", 9, priority=0)
    queue.push(urgent)
    queue.check_integrity()
    assert [queue.pop() for _ in range(3)] == [urgent, first, second]
    assert [w.order for w in drain(queue)] == [w.order for w in drain(same)]


def test_work_beyond_the_estimate_is_charged_and_refunds_are_given() -> None:
    def clients(n_charged: int) -> list[str]:
        queue = queue_of(Waiter("a", 0, n_cost=300), *(Waiter("ba"[n % 2], 1 + n) for n in range(20)))
        queue.pop()
        queue.charge("a", n_charged)
        queue.check_integrity()
        return [w.client for w in drain(queue)]

    assert clients(0)[:5] == ["b", "b", "b", "a", "b"]
    assert clients(200)[:6] == ["b", "b", "b", "b", "b", "a"]
    assert clients(-200)[:4] == ["b", "a", "b", "a"]


def test_refunds_never_put_a_client_before_the_clock() -> None:
    queue = queue_of(*(Waiter("a", n) for n in range(50)))
    for _ in range(10):
        queue.pop()
    queue.charge("a", -1_000_000)
    queue.charge("a", -1_000_000)
    queue.push(Waiter("b", 100))
    queue.check_integrity()
    assert [w.client for w in drain(queue)[:4]].count("b") == 1


def test_remove_is_idempotent_wherever_it_waits() -> None:
    a, b, c = Waiter("a", 0), Waiter("a", 1), Waiter("b", 2)
    queue = queue_of(a, b, c)
    paused = queue.pop()
    queue.push_back(paused)
    for waiter in (paused, b, b, paused, Waiter("nobody", 7), Waiter("a", 1, priority=3)):
        queue.remove(waiter)
        queue.check_integrity()
    assert list(queue) == [c]
    queue.remove(c)
    assert queue.first() is None
    assert len(queue) == 0


def test_the_turn_is_stable_until_something_changes() -> None:
    queue = queue_of(*(Waiter("abc"[n % 3], n) for n in range(9)))
    assert queue.first() is queue.first()
    assert queue.pop() is not queue.first()


def test_positions_and_tokens_ahead_are_those_of_the_order_of_service() -> None:
    waiters = [Waiter("ab"[n % 2], n, n_cost=10 * (n + 1)) for n in range(4)]
    queue = queue_of(*waiters)
    assert queue.n_tokens == 100
    order = list(queue)
    assert [queue.position(w) for w in order] == [0, 1, 2, 3]
    assert [queue.n_tokens_ahead(w) for w in order] == [sum(o.n_cost for o in order[:n]) for n in range(4)]
    with pytest.raises(ValueError, match="wait"):
        queue.position(Waiter("a", 99))


def test_iteration_foretells_the_pops_whatever_happens() -> None:
    rng = random.Random(7)
    queue, running = Queue(), list[Waiter]()
    arrival = 0
    for _ in range(600):
        action = rng.random()
        if action < 0.4:
            arrival += 1
            client, priority, n_cost = rng.choice("abcde"), rng.randrange(4), rng.randrange(0, 500)
            for index in range(rng.choice((1, 1, 2, 9))):
                queue.push(Waiter(client, arrival, index, priority, n_cost))
        elif action < 0.8 and len(queue):
            foretold = next(iter(queue))
            running.append(queue.pop())
            assert running[-1] is foretold
        elif action < 0.85 and running:
            queue.push_back(running.pop(rng.randrange(len(running))))
        elif action < 0.9 and len(queue):
            queue.remove(rng.choice(list(queue)))
        else:
            queue.charge(rng.choice("abcdef"), rng.randrange(-500, 1000))
        queue.check_integrity()
    expected = list(queue)
    assert len(expected) == len(queue) > 20
    assert drain(queue) == expected


def test_clients_are_forgotten() -> None:
    queue = Queue()
    for n in range(20 * N_REMEMBERED):
        queue.push(Waiter(f"client {n}", n))
        queue.pop()
        queue.charge(f"client {n}", 10**6)
    assert len(queue._served) <= 4 * N_REMEMBERED
    assert not queue._classes


def test_the_wait_is_sane_before_anything_is_known() -> None:
    estimate = WaitEstimate()
    assert estimate.seconds(0) == 1.0
    assert 1.0 < estimate.seconds(1000) < 100.0
    assert estimate.seconds(10**9) == 600.0


def test_the_wait_follows_the_pace_and_ignores_idleness() -> None:
    estimate = WaitEstimate()
    now = 1e6
    for step in range(2000):
        now += 0.1
        estimate.observe(now, 50, 0)
        if step % 100 == 0:
            now += 3600
            estimate.observe(now, 0, 0)
    assert estimate.seconds(5000) == pytest.approx(10.0, rel=0.1)


def test_a_wait_lasts_until_a_request_ends() -> None:
    estimate = WaitEstimate()
    for step in range(1, 1000):
        estimate.observe(step * 0.1, 50, 1 if step % 200 == 0 else 0)
    assert estimate.seconds(0) > 10.0


def test_odd_clocks_do_not_spoil_the_estimate() -> None:
    estimate = WaitEstimate()
    for now in (5.0, 4.0, 4.0, math.nan, 6.0, 6.1, 1e12):
        estimate.observe(now, 10, 1)
    assert 1.0 <= estimate.seconds(1000) <= 600.0
