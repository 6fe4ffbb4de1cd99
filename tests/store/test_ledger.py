import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from llmatic.core.errors import RateLimited, TokensLimited, Unavailable
from llmatic.core.limits import UNLIMITED, Limits
from llmatic.core.principal import Principal
from llmatic.services.ledger import DAY_S, KEPT_S, MICROSECONDS, Clocks, Ledger, merged
from llmatic.services.limiter import Account, Limiter
from llmatic.services.usage import UsageCounter
from llmatic.store.database import Database, open_database
from llmatic.store.limits import LimitState, load_states
from llmatic.store.usage import UsageFilter, sum_usage

pytestmark = pytest.mark.anyio

START = 20_000 * DAY_S + 3600.0
KEY = Principal("key_a", "ann", limits=Limits(60, 6000, tokens_per_day=10_000))
ALWAYS = UsageFilter(0, 2**60)


class Time:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.now, self.wall = 500.0, START

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now, lambda: self.wall)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def server(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Time], Ledger]]:
    """Makes servers of one database, which are closed without a word at the end: killed."""
    databases: list[Database] = []
    monkeypatch.setattr("llmatic.services.ledger.SAVE_EVERY_S", 3600.0)  # when a test says so

    def make(time: Time) -> Ledger:
        databases.append(open_database(url))
        limiter = Limiter({"key": UNLIMITED, "token": UNLIMITED, "anonymous": UNLIMITED})
        return Ledger(databases[-1], limiter, UsageCounter(), clocks=time.clocks)

    yield make
    for database in databases:
        await database.close()


async def started(ledger: Ledger) -> Ledger:
    await ledger.open()
    return ledger


def account(ledger: Ledger, principal: Principal = KEY) -> Account:
    found = ledger.limiter.account(principal)
    assert found is not None
    return found


def use(ledger: Ledger, n_tokens: int, principal: Principal = KEY) -> None:
    limiter, clocks = ledger.limiter, ledger.clocks
    admission = limiter.admit(account(ledger, principal), "m", 1, None, clocks.now(), clocks.day)
    limiter.settle(admission, n_tokens, clocks.now(), clocks.day)
    ledger.usage.count(principal, "m", "completions", clocks.wall(), prompt=n_tokens, cached=0, completion=0)


def level(ledger: Ledger) -> Any:
    now, found = ledger.clocks.now(), account(ledger)
    return found.requests.level(now), found.tokens.level(now), found.today(ledger.clocks.day)


async def test_a_restart_renews_nothing(server: Callable[[Time], Ledger], time: Time) -> None:
    first = await started(server(time))
    for _ in range(50):
        use(first, 100)
    time.pass_(3.0)
    before = level(first)
    assert before == (pytest.approx(47.0), pytest.approx(4700.0), 5000)
    await first.close()
    time.now = 7.0  # another process, another clock
    time.wall += 10.0
    second = await started(server(time))
    assert level(second) == (pytest.approx(37.0), pytest.approx(3700.0), 5000)
    with pytest.raises(TokensLimited):
        second.limiter.admit(account(second), "m", 2400, None, time.now, time.clocks.day)
    second.limiter.admit(account(second), "m", 2300, None, time.now, time.clocks.day)


async def test_a_killed_server_loses_what_was_not_written(
    server: Callable[[Time], Ledger], time: Time
) -> None:
    first = await started(server(time))
    use(first, 1000)
    await first.save()
    use(first, 500)
    second = await started(server(time))
    assert level(second) == (pytest.approx(1.0), pytest.approx(1000.0), 1000)


async def test_a_clock_that_is_set_back_renews_nothing(server: Callable[[Time], Ledger], time: Time) -> None:
    first = await started(server(time))
    use(first, 3000)
    await first.close()
    time.wall -= 2 * 3600.0  # to the day before
    second = await started(server(time))
    assert level(second) == (pytest.approx(1.0), pytest.approx(3000.0), 3000)


async def test_another_day_is_another_quota(server: Callable[[Time], Ledger], time: Time) -> None:
    first = await started(server(time))
    use(first, 3000)
    await first.close()
    time.wall += DAY_S
    second = await started(server(time))
    assert level(second) == (0.0, 0.0, 0)
    use(second, 5)
    await second.save()
    third = await started(server(time))
    assert level(third)[2] == 5


async def test_two_servers_see_what_the_other_lets_in(server: Callable[[Time], Ledger], time: Time) -> None:
    one, two = await started(server(time)), await started(server(time))
    for _ in range(20):
        use(one, 100)
        use(two, 50)
    await one.save()
    await two.save()
    assert level(two) == (pytest.approx(40.0), pytest.approx(3000.0), 3000)
    use(one, 0)
    await one.save()
    assert level(one) == (pytest.approx(41.0), pytest.approx(3000.0), 3000)
    time.pass_(10.0)
    use(two, 0)
    await two.save()
    use(one, 0)
    await one.save()
    assert level(one) == (pytest.approx(33.0), pytest.approx(2000.0), 3000)
    for _ in range(27):
        use(one, 0)
    with pytest.raises(RateLimited):
        use(one, 0)


async def test_what_two_servers_saved_is_there_for_a_third(
    server: Callable[[Time], Ledger], time: Time
) -> None:
    one, two = await started(server(time)), await started(server(time))
    use(one, 10)
    use(two, 20)
    await asyncio.gather(one.save(), two.save())
    assert level(await started(server(time))) == (pytest.approx(2.0), pytest.approx(30.0), 30)


async def test_saving_without_a_change_changes_nothing(server: Callable[[Time], Ledger], time: Time) -> None:
    ledger = await started(server(time))
    use(ledger, 100)
    for _ in range(5):
        await ledger.save()
        time.pass_(1.0)
        use(ledger, 0)
    assert level(ledger) == (pytest.approx(1.0), 0.0, 100)  # 1/s and 100/s are forgotten


async def test_ten_thousand_keys(server: Callable[[Time], Ledger], time: Time) -> None:
    ledger = await started(server(time))
    keys = [Principal(f"key_{n}", "ann", limits=Limits(60, tokens_per_day=100)) for n in range(10_000)]
    for n, key in enumerate(keys):
        use(ledger, n % 7, key)
    await ledger.save()
    again = await started(server(time))
    for n, key in enumerate(keys):
        found = account(again, key)
        assert (found.requests.level(time.now), found.today(time.clocks.day)) == (1.0, n % 7)
    (row,) = await again._database.read(sum_usage(ALWAYS, width_us=DAY_S * MICROSECONDS))
    n_tokens = sum(n % 7 for n in range(10_000))
    assert (row.n_requests, row.input_tokens) == (10_000, n_tokens)


async def test_old_rows_are_dropped_at_the_start(server: Callable[[Time], Ledger], time: Time) -> None:
    first = await started(server(time))
    use(first, 5)
    await first.close()
    time.wall += KEPT_S + 1
    second = await started(server(time))
    assert await second._database.read(load_states(0)) == []


class Undecided:
    """A database that writes and does not say so, as if the connection broke at that moment."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.is_silent = True

    async def write(self, work: Any) -> Any:
        done = await self.database.write(work)
        if self.is_silent:
            raise Unavailable("the connection broke")
        return done


async def test_what_was_written_unnoticed_is_not_written_twice(
    server: Callable[[Time], Ledger], time: Time
) -> None:
    ledger, other = await started(server(time)), await started(server(time))
    database = ledger._database
    undecided = ledger._database = Undecided(database)  # type: ignore[assignment]
    use(ledger, 100)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await ledger.save()
        use(ledger, 10)
    use(other, 1000)
    await other.save()
    undecided.is_silent = False
    await ledger.save()
    await ledger.save()
    (row,) = await database.read(sum_usage(ALWAYS, width_us=DAY_S * MICROSECONDS))
    assert (row.n_requests, row.input_tokens) == (5, 1130)
    assert level(ledger) == (pytest.approx(5.0), pytest.approx(1130.0), 1130)
    assert level(await started(server(time))) == (pytest.approx(5.0), pytest.approx(1130.0), 1130)


class Broken:
    """A database that cannot be written."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.is_broken = True
        self.n_tries = 0

    async def write(self, work: Any) -> Any:
        self.n_tries += 1
        if self.is_broken:
            raise Unavailable("gone")
        return await self.database.write(work)


async def test_what_cannot_be_written_waits(server: Callable[[Time], Ledger], time: Time) -> None:
    ledger = await started(server(time))
    broken = ledger._database = Broken(ledger._database)  # type: ignore[assignment]
    for _ in range(3):
        use(ledger, 100)
        with pytest.raises(Unavailable):
            await ledger.save()
    assert broken.n_tries == 6  # the limits' turn comes whatever becomes of the usage
    use(ledger, 7)
    broken.is_broken = False
    await ledger.save()
    assert level(await started(server(time))) == (pytest.approx(4.0), pytest.approx(307.0), 307)


async def test_usage_that_cannot_be_written_waits(server: Callable[[Time], Ledger], time: Time) -> None:
    ledger = await started(server(time))
    database = ledger._database
    broken = ledger._database = Broken(database)  # type: ignore[assignment]
    use(ledger, 100)
    with pytest.raises(Unavailable):
        await ledger.save()
    use(ledger, 50)
    broken.is_broken = False
    await ledger.save()
    await ledger.save()
    (row,) = await database.read(sum_usage(ALWAYS, width_us=DAY_S * MICROSECONDS))
    assert (row.n_requests, row.input_tokens) == (2, 150)


async def test_closing_writes_and_is_done_once(server: Callable[[Time], Ledger], time: Time) -> None:
    ledger = await started(server(time))
    use(ledger, 100)
    await ledger.close()
    await ledger.close()
    assert len(ledger.usage) == 0
    assert level(await started(server(time)))[1] == pytest.approx(100.0)


def state(requests: float, at_s: float, *, day: int = 1, day_tokens: int = 0) -> LimitState:
    return LimitState("a", requests, 0.0, day, day_tokens, int(at_s * MICROSECONDS))


@pytest.mark.parametrize(
    ("found", "written", "expected"),
    [
        (None, None, 10.0),
        (state(0, 0), state(7, 50), 10.0),  # the row was dropped
        (state(7, 50), state(7, 50), 10.0),  # nobody else was there
        (state(7, 90), None, 10.0),  # what was left of it is forgotten by now
        (state(17, 90), None, 17.0),
        (state(12, 60), state(20, 50), 12.0),  # of ours 10 would have been left: 2 are another's
        (state(5, 60), state(20, 50), 5.0),  # another gave an estimate back
        (state(9, 40), state(20, 50), 10.0),  # by a clock that is behind
        (state(25, 40), state(20, 50), 15.0),
    ],
)
def test_merging(found: LimitState | None, written: LimitState | None, expected: float) -> None:
    mine = state(10, 100)
    assert merged(mine, found, written, (1.0, 1.0), 0).requests == pytest.approx(expected)


def test_merging_days() -> None:
    mine = state(0, 100, day=5, day_tokens=30)
    assert merged(mine, state(0, 90, day=5, day_tokens=100), None, (0.0, 0.0), 10).day_tokens == 110
    assert merged(mine, state(0, 90, day=4, day_tokens=100), None, (0.0, 0.0), 10).day_tokens == 30
    ahead = merged(mine, state(0, 90, day=6, day_tokens=100), None, (0.0, 0.0), 10)
    assert (ahead.day, ahead.day_tokens) == (6, 100)


async def test_a_server_whose_clock_is_behind_renews_no_day(
    server: Callable[[Time], Ledger], time: Time
) -> None:
    behind = Time()
    time.wall = START - 3600.0 + DAY_S  # midnight
    behind.wall = time.wall - 5.0
    one, two = await started(server(time)), await started(server(behind))
    use(one, 3000)
    use(two, 40)
    await one.save()
    await two.save()
    use(one, 1)
    await one.save()
    assert level(one)[2] == 3001
    behind.wall += 10.0
    use(two, 2)
    await two.save()
    use(two, 3)
    await two.save()
    assert level(two)[2] == 3006
