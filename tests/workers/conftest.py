"""Pools of real worker processes around the fake engine."""

import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from llmatic.config import ModelSpec, WorkerSettings
from llmatic.workers.pool import ProcessPool
from tests.workers.support import children, descriptors


class Pools:
    """Makes started pools with one fake model `m` (options as keywords) and closes them."""

    def __init__(self) -> None:
        self._open: list[ProcessPool] = []

    async def start(self, *specs: ModelSpec, clock: Any = None, **settings: Any) -> ProcessPool:
        more = {} if clock is None else {"clock": clock}
        settings = {"restart_backoff_s": 0.05, "load_timeout_s": 60.0} | settings
        pool = ProcessPool({spec.id: spec for spec in specs}, WorkerSettings(**settings), **more)
        self._open.append(pool)
        await pool.start()
        return pool

    async def close(self) -> None:
        for pool in self._open:
            await pool.close()


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    made = Pools()
    yield made
    await made.close()


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Neither a child process nor an open descriptor is left behind. Goes first in the arguments."""
    before, earlier = descriptors(), children()
    yield
    gc.collect()
    assert children() <= earlier
    assert descriptors() <= before
