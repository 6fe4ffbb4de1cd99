"""Models that leave off what nobody waits for while somebody waits for another."""

import asyncio
from contextlib import aclosing

import pytest

from llmatic.core.types import Delta, Finished, Priority
from llmatic.workers.courtesy import EARNED_PER_S, MOST_S, Courtesy
from llmatic.workers.pool import ProcessPool
from tests.workers.conftest import Pools
from tests.workers.support import ENDLESS, Clock, ask, events_of, fake

ENGINE = "tests.workers.holding:Holding"


class Told:
    """A Courtesy, its clock, and how often it said that something may have changed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.n = 0
        self.courtesy = Courtesy(self.clock, self._tell)

    def _tell(self) -> None:
        self.n += 1

    def held(self) -> list[str]:
        return [name for name in "abc" if self.courtesy.hold_s(name)]


def test_the_others_are_held_while_somebody_waits_for_one() -> None:
    told = Told()
    told.courtesy.begin("a")
    assert (told.held(), told.n, told.courtesy.hold_s("b")) == (["b", "c"], 1, MOST_S)
    told.courtesy.begin("a")
    told.courtesy.end("a")
    assert (told.held(), told.n) == (["b", "c"], 1)
    told.courtesy.begin("b")
    assert (told.held(), told.n) == (["a", "b", "c"], 2)
    told.courtesy.end("a")
    assert (told.held(), told.n) == (["a", "c"], 3)
    told.courtesy.end("b")
    assert (told.held(), told.n) == ([], 4)


def test_what_was_not_used_is_there_for_the_next() -> None:
    told = Told()
    told.courtesy.begin("a")
    told.clock.now += 3
    told.courtesy.end("a")
    told.courtesy.begin("a")
    assert told.courtesy.hold_s("b") == pytest.approx(MOST_S - 3)
    told.courtesy.end("a")
    told.clock.now += 100
    told.courtesy.begin("a")
    assert told.courtesy.hold_s("b") == MOST_S


def test_endless_traffic_leaves_the_others_a_share() -> None:
    told = Told()
    told.courtesy.begin("a")
    n_held = 0
    for _ in range(10_000):
        n_held += bool(told.held())
        told.clock.now += 0.01
        told.courtesy.begin("b")
        told.courtesy.end("b")
        told.courtesy.check()
    assert 7000 < n_held < 9000
    assert pytest.approx(0.8) == EARNED_PER_S / (1 + EARNED_PER_S)


async def texts_of(pool: ProcessPool, model_id: str, priority: Priority) -> list[str]:
    events = await events_of(pool, ask(priority=priority), model_id)
    return [event.text for event in events if isinstance(event, Delta)]


@pytest.mark.anyio
async def test_a_worker_with_a_line_of_a_batch_is_told(pools: Pools) -> None:
    pool = await pools.start(fake("live"), fake("other", engine=ENGINE))
    line = asyncio.create_task(texts_of(pool, "other", Priority.BATCH))
    while not pool.state("other")["running"]:
        await asyncio.sleep(0)
    assert not line.done()
    async with aclosing(pool.generate("live", ENDLESS)) as running:
        await anext(running)
        late = asyncio.create_task(texts_of(pool, "other", Priority.BATCH))
        assert await texts_of(pool, "other", Priority.DEFAULT) == ["live"]
        assert not line.done()
    assert [await line, await late] == [["held, let go"], ["held, let go"]]


@pytest.mark.anyio
async def test_the_longest_hold_is_half_of_what_counts_as_hanging(pools: Pools) -> None:
    clock = Clock()
    pool = await pools.start(fake("live"), fake("other", engine=ENGINE), clock=clock, step_timeout_s=8.0)
    line = asyncio.create_task(texts_of(pool, "other", Priority.BATCH))
    while not pool.state("other")["running"]:
        await asyncio.sleep(0)
    async with aclosing(pool.generate("live", ENDLESS)) as running:
        await anext(running)
        clock.now += 4.0
        late = asyncio.create_task(texts_of(pool, "other", Priority.BATCH))
        assert await late == ["held, let go"]
    await line
    assert pool.state("other")["restarts"] == 0


@pytest.mark.anyio
async def test_an_engine_that_cannot_hold_is_left_alone(pools: Pools) -> None:
    pool = await pools.start(fake("live"), fake("other", token_delay_s=0.001))
    async with aclosing(pool.generate("other", ask(priority=Priority.BATCH))) as line:
        await anext(line)
        await events_of(pool, ask(), "live")
        assert isinstance([event async for event in line][-1], Finished)


@pytest.mark.anyio
async def test_a_model_on_a_gpu_takes_nothing_from_the_others(pools: Pools) -> None:
    pool = await pools.start(fake("live", gpu_layers=-1), fake("other", engine=ENGINE))
    line = asyncio.create_task(texts_of(pool, "other", Priority.BATCH))
    while not pool.state("other")["running"]:
        await asyncio.sleep(0)
    await events_of(pool, ask(), "live")
    assert not line.done()
    async with aclosing(pool.generate("other", ask())) as asked:
        [event async for event in asked]
    line.cancel()
