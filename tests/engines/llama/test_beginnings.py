from collections.abc import Sequence as Ordered

from llmatic.engines.llama.beginnings import Beginning, find_beginning
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.sequences import Group, Sequence
from llmatic.engines.llama.slots import Slots
from tests.engines.llama.fake_cache import ask

PREFIX = list(range(100))


class Cache:
    """Slots with some running sequences."""

    def __init__(self) -> None:
        self.slots = Slots(16, is_pooled=True, n_kept_max=1000)
        self.running: list[Sequence] = []

    def run(self, group: Group, n_computed: int) -> Sequence:
        sequence = group.sequences[0]
        self.slots.take(sequence)
        sequence.n_computed = n_computed
        self.slots.index(sequence)
        self.running.append(sequence)
        return sequence

    def find(
        self,
        sequence: Sequence,
        n_saved: int = 0,
        *,
        can_fork: bool = True,
        n_rest: int = 1,
        n_block: int = 0,
    ) -> Beginning | None:
        def stored(_namespace: bytes, tokens: Ordered[int]) -> int:
            return min(n_saved, len(tokens))

        limits = Limits(1000, 100, 10, can_fork=can_fork, is_exact=n_rest > 1, n_block=n_block)
        assert limits.n_whole == n_rest
        return find_beginning(sequence, self.running, self.slots, stored, limits)


def test_what_a_slot_holds_is_shared_up_to_the_last_token() -> None:
    cache = Cache()
    first = cache.run(ask(0, PREFIX), 100)
    (same,) = ask(1, PREFIX).sequences
    assert cache.find(same) == Beginning(99, slot=first.slot, n_held=99)
    assert cache.find(same, n_rest=16) == Beginning(84, slot=first.slot, n_held=84)


def test_who_is_about_to_compute_more_is_waited_for() -> None:
    cache = Cache()
    first = cache.run(ask(0, PREFIX), 60)
    (same,) = ask(1, PREFIX).sequences
    assert cache.find(same) == Beginning(99, leader=first)
    (other,) = ask(2, [*PREFIX[:80], 7]).sequences
    assert cache.find(other) == Beginning(60, slot=first.slot, n_held=60), "20 tokens are not worth waiting"


def test_another_namespace_is_not_looked_at() -> None:
    cache = Cache()
    cache.run(ask(0, PREFIX, namespace=b"a"), 60)
    (same,) = ask(1, PREFIX, namespace=b"b").sequences
    assert cache.find(same) == Beginning()


def test_less_urgent_work_is_not_waited_for_but_used() -> None:
    cache = Cache()
    first = cache.run(ask(0, PREFIX, priority=3), 60)
    (same,) = ask(1, PREFIX, priority=1).sequences
    assert cache.find(same) == Beginning(60, slot=first.slot, n_held=60)


def test_restoring_must_gain_something() -> None:
    cache = Cache()
    first = cache.run(ask(0, PREFIX[:50]), 50)
    (same,) = ask(1, PREFIX).sequences
    assert cache.find(same, 60) == Beginning(50, slot=first.slot, n_held=50)
    assert cache.find(same, 90) == Beginning(90)
    assert cache.find(same, 1000) == Beginning(99)


def test_a_state_that_cannot_be_shared_is_only_restored() -> None:
    cache = Cache()
    cache.run(ask(0, PREFIX), 100)
    (same,) = ask(1, PREFIX).sequences
    assert cache.find(same, can_fork=False) == Beginning()
    assert cache.find(same, 70, can_fork=False) == Beginning(70)


def test_choices_wait_for_the_first_or_share_with_it() -> None:
    cache = Cache()
    group = ask(0, PREFIX, 3)
    first = cache.run(group, 40)
    assert cache.find(group.sequences[1]) == Beginning(100, leader=first)
    first.n_computed = 100
    assert cache.find(group.sequences[1]) == Beginning(100, leader=first), "being restored"
    cache.slots.index(first)
    assert cache.find(group.sequences[1]) == Beginning(99, slot=first.slot, n_held=99)


def test_a_scored_prompt_is_computed_in_full_and_its_other_choices_wait() -> None:
    cache = Cache()
    cache.run(ask(0, PREFIX), 100)
    group = ask(1, PREFIX, 2, wants_scores=True)
    assert cache.find(group.sequences[0], 90) == Beginning()
    assert cache.find(group.sequences[1], can_fork=False) is None


def test_a_few_cells_are_not_shared_in_exact_mode() -> None:
    cache = Cache()
    cache.run(ask(0, PREFIX[:10]), 10)
    (longer,) = ask(1, PREFIX).sequences
    assert cache.find(longer, n_rest=16) == Beginning()


def test_what_is_restored_goes_on_behind_what_is_held() -> None:
    cache = Cache()
    first = cache.run(ask(0, PREFIX[:60]), 60)
    (longer,) = ask(1, PREFIX).sequences
    assert cache.find(longer, 99) == Beginning(99)
    assert cache.find(longer, 99, n_block=16) == Beginning(99, slot=first.slot, n_held=48)
    assert cache.find(longer, 99, n_block=64) == Beginning(99)
    assert cache.find(longer, 70, n_block=16) == Beginning(60, slot=first.slot, n_held=60)
