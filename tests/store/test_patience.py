"""Who waits for a database that does not answer, and for how long."""

import asyncio
from collections.abc import Awaitable

import pytest

from llmatic.core.errors import NotFound, Unavailable
from llmatic.store.patience import LONG_S, Patience

pytestmark = pytest.mark.anyio


class Calls:
    """A database whose calls last as long as they are told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.n = 0
        self.lasts_s = 0.0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.patience = Patience("tests", clock=lambda: self.now)

    async def call(self) -> str:
        self.n += 1
        self.now += self.lasts_s
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return "answer"

    def ask(self) -> Awaitable[str]:
        return self.patience.wait(self.call)


GONE = Unavailable("gone", retry_after_s=1.0)


async def test_a_quick_failure_keeps_nobody_from_trying() -> None:
    calls = Calls()
    calls.error = GONE
    outcomes = await asyncio.gather(*(calls.ask() for _ in range(5)), return_exceptions=True)
    assert outcomes == [GONE] * 5
    assert calls.n == 5
    calls.error = None
    assert await calls.ask() == "answer"


async def test_after_a_long_failure_one_tries_and_the_others_are_told() -> None:
    calls = Calls()
    calls.error, calls.lasts_s = GONE, LONG_S
    with pytest.raises(Unavailable):
        await calls.ask()
    calls.gate = asyncio.Event()
    trying = asyncio.ensure_future(calls.ask())
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(*(calls.ask() for _ in range(5)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["gone"] * 5
    assert calls.n == 2
    calls.error = None
    calls.gate.set()
    assert await trying == "answer"
    assert await asyncio.gather(*(calls.ask() for _ in range(5))) == ["answer"] * 5


async def test_who_gives_up_while_trying_leaves_it_to_the_next() -> None:
    calls = Calls()
    calls.error, calls.lasts_s = GONE, LONG_S
    with pytest.raises(Unavailable):
        await calls.ask()
    calls.gate = asyncio.Event()
    trying = asyncio.ensure_future(calls.ask())
    await asyncio.sleep(0)
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    calls.error, calls.gate = None, None
    assert await calls.ask() == "answer"


async def test_a_refusal_is_an_answer() -> None:
    calls = Calls()
    calls.error, calls.lasts_s = GONE, LONG_S
    with pytest.raises(Unavailable):
        await calls.ask()
    calls.error = NotFound("no such thing")
    for _ in range(2):
        with pytest.raises(NotFound):
            await calls.ask()
    assert calls.n == 3


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmatic.store.patience.DEADLINE_S", 0.01)
    calls = Calls()
    calls.gate, calls.lasts_s = asyncio.Event(), LONG_S
    with pytest.raises(Unavailable, match="does not answer"):
        await calls.ask()
    with pytest.raises(Unavailable, match="does not answer"):
        await calls.ask()
    calls.gate.set()
    assert await calls.ask() == "answer"
