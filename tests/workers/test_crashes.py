"""Workers that die, hang or never come up. Real processes; bounded; nothing may be left behind."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from llmatic.core.errors import EngineFailed, Unavailable
from llmatic.workers.pool import ProcessPool
from tests.workers.conftest import Pools
from tests.workers.support import ENDLESS, Clock, ask, events_of, fake, text_of

pytestmark = pytest.mark.anyio

SERVER = """
import asyncio, sys
from contextlib import aclosing
from llmatic.config import ModelSpec, WorkerSettings
from llmatic.core.types import GenerationRequest, TextPrompt
from llmatic.workers.pool import ProcessPool

async def main():
    spec = ModelSpec("m", "", engine="fake", options={"token_delay_s": 0.001})
    pool = ProcessPool({"m": spec}, WorkerSettings())
    await pool.start()
    request = GenerationRequest("r", TextPrompt("x"), max_tokens=4000, ignore_eos=True)
    async with aclosing(pool.generate("m", request)) as events:
        await anext(events)
        print(pool.state("m")["pid"], file=sys.stderr, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def broken_streams(pool: ProcessPool, n: int) -> list["asyncio.Task[str]"]:
    """`n` streams, each of which has had its first event."""
    begun = [asyncio.Event() for _ in range(n)]

    async def stream(started: asyncio.Event) -> str:
        async with aclosing(pool.generate("m", ENDLESS)) as events:
            async for _ in events:
                started.set()
        return "ended"

    tasks = [asyncio.create_task(stream(event)) for event in begun]
    for event in begun:
        await event.wait()
    return tasks


async def test_kill_9_amid_eight_streams_again_and_again(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake(parallel=8, token_delay_s=0.001))
    for round_number in range(1, 6):
        tasks = await broken_streams(pool, 8)
        os.kill(pool.state("m")["pid"], signal.SIGKILL)
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert {type(outcome) for outcome in outcomes} == {EngineFailed}
        assert "The engine of model 'm' stopped unexpectedly (signal 9" in str(outcomes[0])
        assert await text_of(pool, ask("here again")) == "here again"
        assert pool.state("m")["restarts"] == round_number
    await pools.close()


async def test_a_request_that_had_seen_nothing_is_sent_to_the_next_worker(pools: Pools) -> None:
    pool = await pools.start(fake())
    await text_of(pool, ask())
    os.kill(pool.state("m")["pid"], signal.SIGKILL)
    assert await text_of(pool, ask("nobody noticed")) == "nobody noticed"


async def test_abort_and_its_last_words(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake(abort_after=3))
    with capture_logs() as lines, pytest.raises(EngineFailed, match="signal 6, SIGABRT") as caught:
        await events_of(pool, ask())
    assert caught.value.retry_after_s == 1.0
    [death] = [line for line in lines if line["event"] == "worker died"]
    assert death["model"] == "m"
    assert "Fatal Python error: Aborted" in death["output"]
    assert await text_of(pool, ask("two")) == "two"
    await pools.close()


async def test_a_hung_step_is_killed_by_the_watchdog(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake(hang_after=3), step_timeout_s=2.0)
    with pytest.raises(EngineFailed, match=r"one step took more than 2 s"):
        await events_of(pool, ask())
    assert await text_of(pool, ask("two")) == "two"
    await pools.close()


async def test_a_stopped_process_is_killed_by_the_watchdog(pools: Pools) -> None:
    pool = await pools.start(fake(token_delay_s=0.001), step_timeout_s=2.0)
    tasks = await broken_streams(pool, 1)
    os.kill(pool.state("m")["pid"], signal.SIGSTOP)
    with pytest.raises(EngineFailed, match=r"it did not answer for 2 s"):
        await tasks[0]


async def test_an_engine_error_costs_one_request_and_not_the_worker(pools: Pools) -> None:
    pool = await pools.start(fake(fail_after=3))
    with pytest.raises(EngineFailed, match="told to fail"):
        await events_of(pool, ask())
    assert pool.state("m")["restarts"] == 0


async def test_a_failed_load_is_told_until_the_back_off_has_passed(nothing_left: None, pools: Pools) -> None:
    clock = Clock()
    pool = await pools.start(fake(load_error="no such file"), clock=clock, restart_backoff_s=10.0)
    for _ in range(2):
        with pytest.raises(Unavailable, match="could not be loaded: no such file") as caught:
            await events_of(pool, ask())
        assert caught.value.retry_after_s == 10.0
    clock.now += 10.0
    with pytest.raises(Unavailable) as again:
        await events_of(pool, ask())
    assert again.value.retry_after_s == 20.0
    assert pool.state("m")["state"] == "failed"
    await pools.close()


async def test_a_load_that_takes_too_long_is_killed(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake(load_s=600.0), load_timeout_s=0.3)
    with pytest.raises(Unavailable, match=r"made no progress for 0\.3 s"):
        await events_of(pool, ask())
    await pools.close()


async def test_a_worker_that_dies_while_it_loads(pools: Pools) -> None:
    pool = await pools.start(fake(load_s=600.0))
    waiting = asyncio.create_task(text_of(pool, ask()))
    while pool.state("m")["pid"] is None:
        await asyncio.sleep(0)
    os.kill(pool.state("m")["pid"], signal.SIGKILL)
    with pytest.raises(Unavailable, match="its process ended"):
        await waiting


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd")
def test_the_worker_does_not_outlive_a_killed_server(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        worker = os.pidfd_open(int(server.stderr.readline()))
        server.kill()
        server.wait()
        poll = select.poll()  # `select` knows the first 1024 files only
        poll.register(worker, select.POLLIN)
        readable = poll.poll(30_000)
        os.close(worker)
    assert readable
