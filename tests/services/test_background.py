"""Which of the responses that were made in the background are remembered, and for how long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from llmatic.core.errors import RateLimited
from llmatic.services import background
from llmatic.services.background import MAX_REMEMBERED_BYTES, REMEMBERED_S, Background
from llmatic.services.responses import Responses

pytestmark = pytest.mark.anyio


class Made:
    """A run that does what it is told."""

    def __init__(self, size_bytes: int = 1) -> None:
        self.size_bytes = size_bytes
        self.may_end = asyncio.Event()

    def cancel(self) -> None:
        """Be given up."""
        self.may_end.set()

    async def work(self) -> None:
        """Until it may end."""
        await self.may_end.wait()


class Clock:
    """Stands still."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def making(clock: Clock | None = None) -> AsyncIterator[Background]:
    made = Background(cast("Responses", None), clock=clock or Clock())
    yield made
    await made.close()


async def end(service: Background, name: str, run: Made) -> None:
    """Make it, to its end."""
    service.start(name, run, run.work())
    assert service.find(name) is run
    run.may_end.set()
    while service._running:
        await asyncio.sleep(0)


async def test_they_are_remembered_for_a_while() -> None:
    clock = Clock()
    async with making(clock) as service:
        run = Made()
        await end(service, "a", run)
        clock.now_s = REMEMBERED_S - 1
        assert service.find("a") is run
        clock.now_s = REMEMBERED_S
        assert service.find("a") is None


async def test_the_oldest_make_room() -> None:
    async with making() as service:
        half = MAX_REMEMBERED_BYTES // 2
        for name in "abc":
            await end(service, name, Made(half))
        assert [service.find(name) is None for name in "abc"] == [True, False, False]
        service.give_up("b")
        await end(service, "d", Made(half))
        assert [service.find(name) is None for name in "bcd"] == [True, False, False]


async def test_closing_ends_what_runs() -> None:
    async with making() as service:
        run = Made()
        service.start("a", run, run.work())
    assert run.may_end.is_set()
    assert not service._running


async def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MAX_RUNNING", 2)
    async with making() as service:
        for name in "ab":
            service.check_room()
            run = Made()
            service.start(name, run, run.work())
        with pytest.raises(RateLimited):
            service.check_room()
