"""Which pieces are computed next, and which together."""

import random

import pytest

from llmatic.engines.encoding.backend import Item
from llmatic.engines.encoding.queue import (
    N_ALERT,
    N_PASSED_OVER,
    N_REMEMBERED,
    PADDING_FREE,
    PADDING_SHARE,
    Job,
    Slice,
    SliceQueue,
    pieces_of,
)
from llmatic.engines.encoding.sizing import FixedSizes

BUDGET = 256


def make(name: str, *lengths: int, client: str = "", priority: int = 1, arrival: int = 0) -> Job:
    items = [Item([row, *[7] * (length - 1)]) for row, length in enumerate(lengths)]
    return Job(name, client, priority, arrival, pieces_of(items))


def queue_of(*jobs: Job, budget: int = BUDGET) -> SliceQueue:
    """They came in this order."""
    queue = SliceQueue(FixedSizes(budget))
    for arrival, job in enumerate(jobs):
        job.arrival = arrival
        queue.push(job)
    queue.check_integrity()
    return queue


def take(queue: SliceQueue) -> dict[str, list[int]]:
    """Job → lengths of its pieces in the next slice."""
    taken = queue.take()
    queue.check_integrity()
    return {part.job.id: [piece.length for piece in part.pieces] for part in taken.parts}


def drain(queue: SliceQueue) -> list[dict[str, list[int]]]:
    slices = []
    while len(queue):
        slices.append(take(queue))
    return slices


def warm(queue: SliceQueue) -> None:
    """Compute something long, so that no short query is remembered."""
    queue.push(make("warm", *[200] * (N_ALERT + 1), arrival=10**6))
    drain(queue)


def test_a_jobs_longest_come_first_and_slices_keep_to_the_budget() -> None:
    queue = queue_of(make("a", 60, 128, 64, 120, 64, 60))
    assert drain(queue) == [{"a": [120, 128]}, {"a": [60, 60, 64, 64]}]


def test_one_piece_always_fits() -> None:
    assert drain(queue_of(make("a", 500, 400))) == [{"a": [500]}, {"a": [400]}]


def test_the_short_are_not_padded_to_the_long() -> None:
    assert drain(queue_of(make("a", 40, 1, 2, 3), budget=1000)) == [{"a": [40]}, {"a": [1, 2, 3]}]


def test_a_short_one_is_not_hidden_among_many_long_ones() -> None:
    assert take(queue_of(make("a", *[100] * 30), make("b", 5), budget=10_000)) == {"a": [100] * 30}


def test_little_padding_is_cheaper_than_a_slice_more() -> None:
    assert drain(queue_of(make("a", 12, 5, 4))) == [{"a": [4, 5, 12]}]


def test_many_single_queries_are_one_slice() -> None:
    queue = queue_of(*(make(str(n), 8 + n % 2, client=f"c{n % 7}") for n in range(100)), budget=1024)
    assert len(take(queue)) == 100
    assert len(queue) == 0


@pytest.mark.parametrize("client", ["bulk", "other"])
def test_a_query_behind_many_documents_is_next(client: str) -> None:
    queue = queue_of(make("bulk", *range(10, 200), client="bulk"))
    first = queue.take()
    assert [part.job.id for part in first.parts] == ["bulk"]
    queue.push(make("query", 9, client=client, arrival=1))
    assert take(queue) == {"query": [9]}, "alone, because the rest of a slice of documents would delay it"


def test_short_queries_take_each_other_along() -> None:
    queue = queue_of(make("bulk", *[20] * 100), make("a", 20), make("b", 18, client="b"), make("c", 90))
    queue.take()
    assert take(queue) == {"a": [20], "b": [18]}
    assert take(queue) == {"c": [90]}


def test_the_rest_of_a_long_job_is_filled_up_with_parts_of_others() -> None:
    queue = queue_of(make("a", *[60] * 5), make("b", *[61] * 9), make("c", 200, 62, 58, 55, 20))
    assert take(queue) == {"a": [60, 60, 60, 60]}
    assert take(queue) == {"b": [61, 61, 61, 61]}
    assert take(queue) == {"c": [200]}
    assert take(queue) == {"c": [58, 62], "a": [60], "b": [61]}, "the nearest lengths of all"
    assert drain(queue) == [{"b": [61] * 4}, {"c": [55]}, {"c": [20]}]


def test_an_endless_row_of_queries_does_not_starve_documents() -> None:
    queue = queue_of(make("bulk", *[200] * 4))
    queue.take()
    turns = []
    for n in range(12):
        queue.push(make(f"query {n}", 10, arrival=1 + n))
        turns.append(queue.take().parts[0].job.id.split()[0])
    assert turns == (["query"] * N_PASSED_OVER + ["bulk"]) * 3


def test_the_oldest_has_no_claim_while_it_is_served() -> None:
    queue = queue_of(make("bulk", *[200] * 20))
    for _ in range(10):
        queue.take()
    queue.push(make("query", 10, arrival=1))
    assert take(queue) == {"query": [10]}


def test_the_claim_of_the_oldest_goes_with_it() -> None:
    queue = queue_of(make("bulk", *[200] * 3), make("next", *[100] * 9))
    assert [list(take(queue)) for _ in range(2)] == [["bulk"], ["next"]]
    for n in range(N_PASSED_OVER - 1):
        queue.push(make(f"query {n}", 10, arrival=2 + n))
        assert list(take(queue)) == [f"query {n}"]
    queue.remove("bulk")
    queue.push(make("query", 10, arrival=11))
    assert take(queue) == {"query": [10]}


def test_clients_share_by_tokens() -> None:
    hog = [make(f"hog {n}", *[100] * 10, client="hog") for n in range(10)]
    queue = queue_of(*hog, make("other", *[100] * 20, client="other"))
    n_tokens = {"hog": 0, "other": 0}
    while n_tokens["other"] < 2000:
        for part in queue.take().parts:
            n_tokens[part.job.client] += sum(piece.length for piece in part.pieces)
    assert abs(n_tokens["hog"] - n_tokens["other"]) <= 2 * BUDGET


def test_clients_share_a_slice() -> None:
    queue = queue_of(
        *(make(f"{client} {n}", 20, client=client) for client in "ab" for n in range(50)), budget=200
    )
    clients = [part.job.client for part in queue.take().parts]
    assert clients.count("a") == clients.count("b") == 5


def test_silence_earns_nothing() -> None:
    queue = queue_of(make("early", *[200] * 40, client="early"), make("first", 200, client="late"))
    for _ in range(20):
        queue.take()
    queue.push(make("late", *[200] * 40, client="late", arrival=2))
    clients = [part.job.client for _ in range(20) for part in queue.take().parts]
    assert clients.count("early") == clients.count("late") == 10


def test_jobs_of_one_client_take_turns_by_what_they_had() -> None:
    queue = queue_of(make("a", *[200] * 3), make("b", *[150] * 3))
    assert [list(taken) for taken in drain(queue)] == [["a"], ["b"], ["b"], ["a"], ["b"], ["a"]]


def test_priorities_are_strict_and_kept_apart() -> None:
    queue = queue_of(
        make("batch", 10, priority=3),
        make("flex", 10, priority=2),
        make("default", *[10] * 3),
        make("more", 10),
    )
    assert [list(taken) for taken in drain(queue)] == [["default", "more"], ["flex"], ["batch"]]


def test_a_new_job_of_higher_priority_goes_before_a_begun_one() -> None:
    queue = queue_of(make("batch", *[200] * 5, priority=3))
    queue.take()
    queue.push(make("query", 20, 20, arrival=1))
    assert take(queue) == {"query": [20, 20]}
    assert list(take(queue)) == ["batch"]


def test_slices_of_documents_are_smaller_for_a_while_after_a_query() -> None:
    queue = SliceQueue(FixedSizes(BUDGET))
    warm(queue)
    queue.push(make("bulk", *[30] * 2000))
    assert len(take(queue)["bulk"]) == 8
    queue.push(make("query", 10, arrival=1))
    assert take(queue) == {"query": [10]}
    sizes = [len(take(queue)["bulk"]) for _ in range(N_ALERT + 1)]
    assert sizes == [4] * N_ALERT + [8]


def test_a_removed_job_is_gone() -> None:
    queue = queue_of(make("a", *[200] * 9), make("b", 10))
    queue.take()
    queue.remove("a")
    queue.remove("a")
    queue.remove("nobody")
    queue.check_integrity()
    assert drain(queue) == [{"b": [10]}]


def test_last_parts_are_marked() -> None:
    queue = queue_of(make("a", 200, 200))
    assert [part.is_last for _ in range(2) for part in queue.take().parts] == [False, True]


def test_a_slice_counts_its_tokens() -> None:
    taken = queue_of(make("a", 10, 12)).take()
    assert (taken.n_tokens, taken.n_padded) == (22, 24)
    assert [len(item.ids) for item in taken.items] == [10, 12]


def test_equal_items_are_one_piece() -> None:
    items = [Item([1, 2]), Item((1, 2)), Item([1, 2], [0, 1]), Item([3]), Item([1, 2], [0, 1]), Item([2, 1])]
    pieces = pieces_of(items)
    assert sorted(piece.rows for piece in pieces) == [(0, 1), (2, 4), (3,), (5,)]
    assert [piece.length for piece in pieces] == [1, 2, 2, 2]
    assert pieces[0].item is items[3]


def test_clients_who_are_gone_are_forgotten() -> None:
    queue = queue_of(make("rest", *[200] * 9, client="rest"))
    for n in range(3 * N_REMEMBERED):
        queue.push(make(f"query {n}", 10, client=f"client {n}", arrival=1 + n))
        queue.remove(f"query {n}")
    queue.check_integrity()
    drain(queue)
    queue.check_integrity()


def assert_frugal(taken: Slice, budget: int) -> None:
    lengths = [piece.length for part in taken.parts for piece in part.pieces]
    assert lengths
    assert taken.n_tokens == sum(lengths)
    assert taken.n_padded == len(lengths) * max(lengths)
    assert taken.n_padded <= budget or len(lengths) == 1
    assert taken.n_padded - taken.n_tokens <= max(PADDING_SHARE * taken.n_padded, PADDING_FREE)


@pytest.mark.parametrize("seed", range(12))
def test_random_runs(seed: int) -> None:
    """Whatever comes and goes, every piece is computed once, or none of a removed job any more."""
    rng = random.Random(seed)
    budget = rng.choice([1, 16, 100, 256, 2000])
    queue = SliceQueue(FixedSizes(budget))
    wanted: dict[str, tuple[int, set[int]]] = {}
    for arrival in range(600):
        action = rng.random()
        if action < 0.4 and len(wanted) < 40:
            longest = rng.choice([3, 20, 300])
            lengths = [rng.randint(1, longest) for _ in range(rng.choice([1, 1, 2, 9, 60]))]
            client, priority = f"client {rng.randint(0, 4)}", rng.choice([0, 1, 1, 1, 3])
            job = make(f"job {arrival}", *lengths, client=client, priority=priority, arrival=arrival)
            wanted[job.id] = priority, set(range(len(lengths)))
            queue.push(job)
        elif action < 0.5 and wanted:
            gone = rng.choice(sorted(wanted))
            del wanted[gone]
            queue.remove(gone)
        elif wanted:
            check_slice(queue, budget, wanted)
        queue.check_integrity()
        assert len(queue) == len(wanted)
    while wanted:
        check_slice(queue, budget, wanted)
    queue.check_integrity()
    assert len(queue) == 0


def check_slice(queue: SliceQueue, budget: int, wanted: dict[str, tuple[int, set[int]]]) -> None:
    best = min(priority for priority, _ in wanted.values())
    taken = queue.take()
    assert_frugal(taken, budget)
    for part in taken.parts:
        priority, left = wanted[part.job.id]
        assert part.job.priority == priority == best
        rows = [row for piece in part.pieces for row in piece.rows]
        assert len(set(rows)) == len(rows)
        assert left.issuperset(rows)
        left.difference_update(rows)
        assert part.is_last == (not left)
        if part.is_last:
            del wanted[part.job.id]
