import asyncio

import pytest

from llmatic.api.endpoint import ReplyTask
from llmatic.api.errors import ClientGone
from llmatic.api.replies import Answer
from llmatic.core.errors import InvalidRequest, Unavailable

pytestmark = pytest.mark.anyio


class Work:
    """Something that is waited for until it is cancelled."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.was_cancelled = False

    async def run(self) -> Answer:
        self.reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        raise AssertionError("nobody sets it")


async def test_a_reply_is_what_its_work_returns() -> None:
    async def work() -> Answer:
        return Answer(b"{}")

    assert (await ReplyTask(work()).result()).body == b"{}"


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> Answer:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest, match="no"):
        await ReplyTask(work()).result()


async def test_giving_up_ends_the_work_with_the_given_error() -> None:
    work = Work()
    reply = ReplyTask(work.run())
    waiting = asyncio.create_task(reply.result())
    await work.reached.wait()
    reply.give_up(Unavailable("shutting down"))
    with pytest.raises(Unavailable, match="shutting down"):
        await waiting
    assert work.was_cancelled


async def test_giving_up_before_the_work_began_ends_it_too() -> None:
    work = Work()
    reply = ReplyTask(work.run())
    reply.give_up(ClientGone())
    with pytest.raises(ClientGone):
        await reply.result()
    assert not work.reached.is_set()


async def test_giving_up_what_is_done_changes_nothing() -> None:
    async def work() -> Answer:
        return Answer(b"done")

    reply = ReplyTask(work())
    await asyncio.sleep(0)
    reply.give_up(ClientGone())
    assert (await reply.result()).body == b"done"


async def test_who_is_cancelled_takes_the_work_along() -> None:
    work = Work()
    waiting = asyncio.create_task(ReplyTask(work.run()).result())
    await work.reached.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert work.was_cancelled
