"""The loop that serves in production has transports and pipes of its own."""

import asyncio
import os
import signal

import pytest

from llmatic.core.errors import EngineFailed
from tests.workers.conftest import Pools
from tests.workers.support import ENDLESS, ask, events_of, fake, text_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def test_serve_kill_serve_unload(pools: Pools) -> None:
    assert "uvloop" in type(asyncio.get_running_loop()).__module__
    pool = await pools.start(fake(token_delay_s=0.001))
    assert await text_of(pool, ask("first")) == "first"
    running = asyncio.create_task(events_of(pool, ENDLESS))
    while not pool.state("m")["running"]:
        await asyncio.sleep(0)
    await text_of(pool, ask("the other one has started"))
    os.kill(pool.state("m")["pid"], signal.SIGKILL)
    with pytest.raises(EngineFailed):
        await running
    assert await text_of(pool, ask("second")) == "second"
    await pools.close()
