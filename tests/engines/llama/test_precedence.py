"""Requests that somebody waits for beside lines of batches: who gets rows, and what a broken step leaves."""

import asyncio
from collections.abc import Sequence as Ordered
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmatic.core.types import Adapter, Priority
from llmatic.engines.llama.backend import Backend, DecodeResult
from llmatic.engines.llama.engine import LlamaEngine
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.pace import BACKGROUND_S, N_ROUND, Pace
from tests.engines.llama.asking import ask as ask_engine
from tests.engines.llama.asking import opened
from tests.engines.llama.fake_cache import Driver, Request, ask

LIMITS = Limits(n_context=2048, n_batch=64, n_slots=20, n_running=8, n_outputs=100, n_scored=8)
BATCH = Priority.BATCH


def beside(n_writing: int, n_more: int) -> tuple[int, int]:
    """Two may join those who write, with eight rows of prompts; alone they may do as they like."""
    return (min(2, n_more), 8) if n_writing else (n_more, 64)


def submit(driver: Driver, arrival: int, n_prompt: int = 40, n_wanted: int = 30, **fields: Any) -> Request:
    prompt = [arrival * 100 + k for k in range(n_prompt)]
    return driver.submit(ask(arrival, prompt, **fields), n_wanted)


def rows(driver: Driver) -> dict[int, int]:
    """Of each request in the step, how many rows it got."""
    return {part.sequence.group.arrival: part.n_rows for part in driver.plan.parts}


def test_while_somebody_waits_for_a_prompt_the_background_stands_still() -> None:
    driver = Driver(LIMITS, beside=beside, prompt_rows=lambda *_: 16)
    writing, reading = submit(driver, 0, 10, priority=BATCH), submit(driver, 1, 60, priority=BATCH)
    driver.step()
    assert rows(driver) == {0: 10, 1: 54}
    live = submit(driver, 2, 40)
    for _ in range(2):
        driver.step()
        assert rows(driver) == {2: 16}
    driver.step()
    assert rows(driver) == {2: 8}
    driver.run()
    assert [request.ended for request in (writing, reading, live)] == [[0]] * 3


def test_beside_those_who_write_the_background_has_what_the_pace_allows() -> None:
    driver = Driver(LIMITS, beside=beside)
    for arrival in range(3):
        submit(driver, arrival, 5, priority=BATCH)
    driver.step()
    submit(driver, 3, 5)
    driver.step()
    assert rows(driver) == {3: 5}
    submit(driver, 4, 40, priority=BATCH)
    driver.step()
    assert rows(driver) == {3: 1, 0: 1, 1: 1, 4: 8}
    driver.run()


def test_the_background_with_other_adapters_takes_no_steps_from_those_who_write() -> None:
    driver = Driver(LIMITS, beside=beside)
    submit(driver, 0, 5, adapters=(Adapter("a"),), namespace=b"a", priority=BATCH)
    live = submit(driver, 1, 5, 20)
    while not live.ended:
        driver.step()
        assert rows(driver).keys() == {1}
    driver.run()


def test_what_is_held_is_computed_afterwards() -> None:
    driver = Driver(LIMITS, beside=beside)
    submit(driver, 0, 5, priority=BATCH)
    driver.step()
    live = submit(driver, 1, 5, 3)
    driver.scheduler.is_held = True
    while not live.ended:
        assert driver.scheduler.is_awaited
        driver.step()
        assert rows(driver).keys() == {1}
    assert not driver.scheduler.is_awaited
    driver.settle()
    assert not driver.scheduler.plan(lambda *_: 64, beside).tokens
    driver.scheduler.is_held = False
    driver.run()


def test_after_a_visit_the_background_leaves_room() -> None:
    driver = Driver(replace(LIMITS, n_context=800), beside=beside)
    driver.scheduler.is_visited = True
    for arrival in range(4):
        submit(driver, arrival, 40, priority=BATCH)
    driver.step()
    assert len(driver.scheduler.running) == 2
    submit(driver, 4, 200)
    driver.step()
    assert driver.scheduler.n_preemptions == 0
    driver.scheduler.is_visited = False
    driver.step()
    assert len(driver.scheduler.running) > 3
    driver.scheduler.is_visited = True
    driver.run()


def test_one_may_always_run() -> None:
    driver = Driver(replace(LIMITS, n_context=100), beside=beside)
    driver.scheduler.is_visited = True
    submit(driver, 0, 60, priority=BATCH)
    driver.run()


def test_an_exact_model_also_serves_first_who_is_waited_for() -> None:
    limits = replace(LIMITS, n_slots=4, n_running=4, is_exact=True, is_pooled=False, is_dense=True)
    driver = Driver(limits, beside=beside)
    submit(driver, 0, 40, priority=BATCH)
    submit(driver, 1, 40)
    driver.step()
    assert rows(driver) == {1: 40}
    driver.run()


def test_how_much_of_the_background_joins() -> None:
    pace = Pace(target_s=None, n_batch=512)
    for n_rows, seconds in ((1, 0.03), (4, 0.06), (8, 0.1)):
        pace.calibrate(n_rows, seconds)
    n_more, n_rows = pace.background_rows(1, 7, 0)
    assert pace.decode_s(1 + n_more) <= 0.06 < pace.decode_s(2 + n_more)
    assert n_rows == N_ROUND
    n_more, n_rows = pace.background_rows(0, 7, 0)
    assert n_more == 7
    assert n_rows >= 128
    assert pace.prefill_s(n_rows, 0) <= 1.2 * BACKGROUND_S or n_rows == 128
    n_more, n_rows = pace.background_rows(0, 7, 0, is_short=True)
    assert pace.decode_s(n_more) <= 0.03
    assert n_rows < 64
    strict = Pace(target_s=0.04, n_batch=512)
    for n, seconds in ((1, 0.03), (4, 0.06)):
        strict.calibrate(n, seconds)
    assert strict.decode_s(1 + strict.background_rows(1, 7, 0)[0]) <= 0.04


@pytest.mark.anyio
async def test_a_step_that_is_broken_off_changes_no_text(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second step of the background is broken off while it runs."""
    prompts = [letter * 60 for letter in "cmx"]  # no close call, which rounding could tip
    async with opened(model_path) as engine:
        alone = [(await ask_engine(engine, prompt, max_tokens=20)).texts for prompt in prompts]
    results: list[DecodeResult] = []
    decode = Backend.decode

    def hurried(backend: Backend, *arguments: Ordered[int]) -> DecodeResult:
        backend.interruption.hurry()
        results.append(decode(backend, *arguments))
        return results[-1]

    async with opened(model_path) as engine:
        monkeypatch.setattr(Backend, "decode", hurried)
        asked = (ask_engine(engine, prompt, max_tokens=20, priority=BATCH) for prompt in prompts)
        found = [answer.texts for answer in await asyncio.gather(*asked)]
        assert (results.count(DecodeResult.ABORTED), found) == (results.count(DecodeResult.DONE), alone)
        del results[:]
        assert (await ask_engine(engine, prompts[0], max_tokens=20)).texts == alone[0]
        assert set(results) == {DecodeResult.DONE}


@pytest.mark.anyio
async def test_an_engine_that_is_told_to_hold_serves_only_who_is_waited_for(engine: LlamaEngine) -> None:
    engine.hold(600.0)
    held = asyncio.create_task(ask_engine(engine, max_tokens=5, priority=BATCH))
    assert (await ask_engine(engine, "others", max_tokens=5)).finished.usage.n_completion_tokens > 0
    assert not held.done()
    assert engine.heartbeat()[1] is None
    engine.hold(0.0)
    await held


@pytest.mark.anyio
async def test_what_is_held_goes_on_by_itself(engine: LlamaEngine) -> None:
    engine.hold(0.01)
    await ask_engine(engine, max_tokens=5, priority=BATCH)


@pytest.mark.anyio
async def test_a_cancelled_request_ends_although_it_is_held(engine: LlamaEngine) -> None:
    held = asyncio.create_task(ask_engine(engine, max_tokens=100, ignore_eos=True, priority=BATCH))
    while not engine.stats()["sequences_running"]:
        await asyncio.sleep(0)
    engine.hold(600.0)
    held.cancel()
    await asyncio.wait({held})
    while engine.stats()["sequences_running"]:
        await asyncio.sleep(0)
