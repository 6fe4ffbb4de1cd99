"""Merging the events of several prompts."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from llmatic.core.errors import EngineFailed, InvalidRequest
from llmatic.core.types import Delta, Event, Finished, GenerationRequest, Started, TextPrompt, Usage
from llmatic.services.generation import MAX_CONCURRENT_PROMPTS, Generation, RunningCalls, Tagged, total
from tests.fakes import FakePool, Gate

pytestmark = pytest.mark.anyio


def requests(n: int) -> list[GenerationRequest]:
    return [GenerationRequest(id=str(k), prompt=TextPrompt(str(k))) for k in range(n)]


def generation(pool: FakePool, n: int) -> Generation:
    return Generation(lambda request: pool.generate("m", request), requests(n))


async def all_events(running: Generation) -> list[Tagged]:
    found: list[Tagged] = []
    while (events := await running.batch()) is not None:
        found.extend(events)
    return found


async def test_events_carry_their_prompt(pool: FakePool) -> None:
    async with generation(pool, 3) as running:
        events = await all_events(running)
    for prompt in range(3):
        texts = [event.text for index, event in events if index == prompt and isinstance(event, Delta)]
        assert "".join(texts) == "Hello wörld!"
    assert running.n_prompt_tokens == 21
    assert running.n_completion_tokens == 12
    assert running.n_cached_tokens == 6
    assert pool.n_open == 0


async def test_refusal_is_raised_on_entering(pool: FakePool) -> None:
    pool.script = lambda request: [InvalidRequest("no")] if request.id == "1" else [Started(1), Gate()]
    with pytest.raises(InvalidRequest):
        async with generation(pool, 3):
            pytest.fail("entered")
    assert pool.n_open == 0


async def test_events_before_a_failure_come_first(pool: FakePool) -> None:
    pool.script = lambda request: [Started(1), Delta(0, "x", 1), EngineFailed("died")]
    async with generation(pool, 1) as running:
        assert await running.batch() == [(0, Delta(0, "x", 1))]
        with pytest.raises(EngineFailed):
            await running.batch()


async def test_at_most_so_many_prompts_at_a_time(pool: FakePool) -> None:
    seen: list[int] = []

    def script(request: GenerationRequest) -> list[Event]:
        seen.append(pool.n_open)
        return [Started(1), Delta(0, "x", 1, (), "stop"), Finished(Usage(1, 1))]

    pool.script = script
    async with generation(pool, 3 * MAX_CONCURRENT_PROMPTS) as running:
        events = await all_events(running)
    assert max(seen) <= MAX_CONCURRENT_PROMPTS
    assert sum(isinstance(event, Finished) for _, event in events) == 3 * MAX_CONCURRENT_PROMPTS


async def test_leaving_early_closes_the_generators(pool: FakePool) -> None:
    pool.script = lambda request: [Started(1), Gate()]
    async with generation(pool, 2):
        assert pool.n_open == 2
    assert pool.n_open == 0


async def test_nudge_returns_nothing(pool: FakePool) -> None:
    pool.script = lambda request: [Started(1), Gate()]
    async with generation(pool, 1) as running:
        waiting = asyncio.ensure_future(running.batch())
        await asyncio.sleep(0)
        running.nudge()
        assert await waiting == []


async def test_cancelled_inside_the_pool_is_a_failure() -> None:
    async def stream(request: GenerationRequest) -> AsyncGenerator[Event, None]:
        yield Started(1)
        raise asyncio.CancelledError

    async with Generation(stream, requests(1)) as running:
        with pytest.raises(EngineFailed):
            await running.batch()


async def test_running_calls_can_be_given_up(pool: FakePool) -> None:
    pool.script = lambda request: [Started(1), Delta(0, "x", 1), Gate()]
    calls = RunningCalls()
    running = generation(pool, 1)
    with calls.admit(running):
        async with running:
            assert len(calls) == 1
            calls.give_up(EngineFailed("over"))
            with pytest.raises(EngineFailed, match="over"):
                await running.batch()
    assert len(calls) == 0


async def test_total() -> None:
    ones, tens = Usage(1, 2, 3, 4, 5, 6, 7, 8), Usage(10, 20, 30, 40, 50, 60, 70, 80)
    assert total([ones, tens]) == Usage(11, 22, 33, 44, 55, 66, 77, 88)
