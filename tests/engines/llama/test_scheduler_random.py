"""Random runs of the scheduler: whatever is shared, paused, forked, drafted and restored, texts are right."""

import random
from dataclasses import dataclass, replace
from unittest.mock import patch

import pytest

from llmatic.core.errors import QueueFull
from llmatic.core.types import Adapter
from llmatic.engines.llama import beginnings, slots
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.sequences import Sequence, make_group
from tests.engines.llama.fake_cache import N_VOCAB, Driver, Request, Store

LIMITS = Limits(n_context=320, n_batch=48, n_slots=9, n_running=5, n_outputs=41, n_scored=32, max_queue=12)


@dataclass(frozen=True)
class Setting:
    """What kind of cache, and what comes in."""

    limits: Limits
    has_store: bool = False
    drafts: bool = True


SPLIT = replace(LIMITS, is_pooled=False, is_dense=True, n_slots=5, n_context=5 * 160)
SETTINGS = {
    "pooled": Setting(LIMITS),
    "kept": Setting(replace(LIMITS, n_kept_max=200)),
    "kept and saved": Setting(replace(LIMITS, n_kept_max=120), has_store=True),
    "no spare slots": Setting(replace(LIMITS, n_slots=5, n_kept_max=320), has_store=True),
    "saved": Setting(LIMITS, has_store=True),
    "kept and restored behind": Setting(replace(LIMITS, n_kept_max=120, n_block=8), has_store=True),
    "restored behind": Setting(replace(LIMITS, n_block=16), has_store=True),
    "split": Setting(SPLIT),
    "split and saved": Setting(SPLIT, has_store=True),
    "recurrent": Setting(replace(LIMITS, can_fork=False, n_slots=5, n_kept_max=100), drafts=False),
    "recurrent, saved": Setting(replace(LIMITS, can_fork=False, n_slots=5), has_store=True, drafts=False),
    "exact": Setting(replace(SPLIT, is_exact=True), drafts=False),
    "exact, alone, saved": Setting(
        replace(SPLIT, is_exact=True, is_alone=True), has_store=True, drafts=False
    ),
    "exact, recurrent": Setting(
        replace(SPLIT, is_exact=True, can_fork=False, is_dense=False), has_store=True, drafts=False
    ),
}


class Traffic:
    """Random requests: few beginnings, growing conversations, several clients and namespaces."""

    def __init__(self, rng: random.Random, limits: Limits) -> None:
        self._rng = rng
        self._limits = limits
        self._n_each = limits.n_context if limits.is_pooled else limits.n_context // limits.n_slots
        self._systems = [self._tokens(rng.choice([3, 20, 40, 70])) for _ in range(3)]
        self._talks: list[list[int]] = []
        self._n = 0

    def request(self, driver: Driver) -> Request | None:
        """Submit one; None if the queue is full."""
        rng = self._rng
        prompt = self._prompt()
        n_choices = rng.choice([1, 1, 1, 2, 4])
        lengths = [rng.choice([1, 2, 5, rng.randint(1, 40)]) for _ in range(n_choices)]
        if rng.random() < 0.05:
            prompt += self._tokens(max(0, self._n_each - len(prompt) - rng.randint(0, 9)))
        prompt = prompt[: self._n_each - 1]
        lengths = [min(n, self._n_each - len(prompt)) for n in lengths]
        group = make_group(str(self._n), self._n, prompt, n_choices, wants_scores=rng.random() < 0.1)
        self._n += 1
        group.namespace, group.adapters = rng.choice(
            [(b"", ()), (b"", ()), (b"", ()), (b"salt", ()), (b"a", (Adapter("a"),)), (b"b", (Adapter("b"),))]
        )
        group.client = rng.choice("abc")
        group.priority = rng.choice([0, 1, 1, 1, 2, 3])
        group.is_keyed = rng.random() < 0.2
        try:
            return driver.submit(group, lengths)
        except QueueFull:
            return None

    def remember(self, sequence: Sequence) -> None:
        """The conversation goes on some day."""
        self._talks = [*self._talks[-8:], list(sequence.tokens)]

    def _prompt(self) -> list[int]:
        rng = self._rng
        if self._talks and rng.random() < 0.4:
            return rng.choice(self._talks) + self._tokens(rng.randint(1, 12))
        return list(rng.choice(self._systems)) + self._tokens(rng.choice([1, 5, 20, 60]))

    def _tokens(self, n: int) -> list[int]:
        return [self._rng.randrange(N_VOCAB) for _ in range(n)]


def run(setting: Setting, seed: int, n_steps: int) -> Driver:
    """So many steps, then to the end; everything is checked after every step."""
    rng = random.Random(seed)
    with (
        patch.object(slots, "N_EVICTED", rng.choice([1, 7, 256])),
        patch.object(beginnings, "N_WORTH", rng.choice([1, 8, 32])),
    ):
        return _run(setting, rng, n_steps)


def _run(setting: Setting, rng: random.Random, n_steps: int) -> Driver:
    limits = setting.limits
    store = Store(rng, is_whole=not limits.can_fork) if setting.has_store else None

    def guess(_sequence: Sequence, right: list[int]) -> list[int]:
        if not setting.drafts or rng.random() < 0.5:
            return []
        guess = right[: rng.randint(1, 4)]
        if rng.random() < 0.5:
            guess[rng.randrange(len(guess))] = rng.randrange(N_VOCAB)
        return guess

    driver = Driver(
        limits,
        store,
        guess=guess,
        prompt_rows=lambda n, _: rng.choice([8, 16, 48]) if n else limits.n_batch,
        fails=lambda: rng.random() < 0.003,
        beside=lambda n, more: (rng.randint(0, more) if n else more, rng.choice([8, 16, 48])),
    )
    traffic = Traffic(rng, limits)
    open_requests: list[Request] = []
    pressure = 0.3
    while driver.n_steps < n_steps:
        if rng.random() < 0.01:
            pressure = rng.choice([0.02, 0.1, 0.3, 0.9])
        if rng.random() < 0.02:
            driver.scheduler.is_visited = not driver.scheduler.is_visited
        if rng.random() < pressure and (request := traffic.request(driver)):
            open_requests.append(request)
        if open_requests and rng.random() < 0.02:
            driver.cancel(open_requests.pop(rng.randrange(len(open_requests))))
            driver.check()
        for sequence in driver.step(no_room=limits.is_pooled and rng.random() < 0.01):
            traffic.remember(sequence)
        open_requests = [r for r in open_requests if len(r.ended) < len(r.lengths) and not r.is_cancelled]
    driver.run(n_steps + 20_000)
    finish_checks(driver)
    return driver


def finish_checks(driver: Driver) -> None:
    """Every request ended once, nothing is left behind."""
    scheduler = driver.scheduler
    assert not scheduler.running
    assert not len(scheduler.waiting)
    assert scheduler.n_cells == 0
    assert scheduler.n_queued_groups == scheduler.n_queued_tokens == 0
    for request in driver.requests.values():
        if request.is_cancelled:
            continue
        assert sorted(request.ended) == list(range(len(request.lengths)))
        assert request.group.n_to_score == 0
        if request.group.wants_scores:
            assert request.scored == list(range(request.group.n_prompt - 1))
        (first, *others), n_cached = request.group.sequences, request.group.n_cached
        assert n_cached is not None
        if not others and not first.was_paused:
            assert driver.n_prompt_rows[first] == request.group.n_prompt - n_cached


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_random_runs_end_every_request_with_its_own_text(name: str, seed: int) -> None:
    driver = run(SETTINGS[name], seed, 600)
    assert len(driver.requests) > 20
