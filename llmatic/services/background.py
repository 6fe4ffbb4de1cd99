"""Responses that are made after their request was answered.

Owns the tasks in which they are made and the promise to be still at it, which is renewed while they run, so
that another server, or this one after a crash, knows which of them nobody makes any more; and the time at
which old responses are forgotten. Never knows how one is made. Event loop's thread.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import structlog

from llmatic.core.errors import LlmaticError, RateLimited, Unavailable
from llmatic.services.responses import Responses

MAX_RUNNING: Final = 1000
RENEW_S: Final = 10.0
RETRY_S: Final = 1.0
SWEEP_S: Final = 3600.0
REMEMBERED_S: Final = 300.0
MAX_REMEMBERED_BYTES: Final = 64 << 20

KEEP_TRYING_S: Final = 600.0
PAUSES_S: Final = (0.2, 5.0)

T = TypeVar("T")

_log = structlog.get_logger("llmatic.background")


async def in_the_end(keep: Callable[[], Awaitable[T]]) -> T:
    """What `keep` gives, once the database is there: nobody waits, and what was made must not be lost.

    It is called again after a failure whose outcome is unknown, which it must bear. Raises Unavailable after
    KEEP_TRYING_S.
    """
    clock = asyncio.get_running_loop().time
    pause_s, deadline = PAUSES_S[0], clock() + KEEP_TRYING_S
    while True:
        try:
            return await keep()
        except Unavailable:
            if clock() >= deadline:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSES_S[1])


class Run(Protocol):
    """A response in the making, or one that was made a short while ago."""

    @property
    def size_bytes(self) -> int:
        """What remembering it costs."""
        ...

    def cancel(self) -> None:
        """Stop making it."""
        ...


class Background:
    """What this server makes in the background."""

    def __init__(self, responses: Responses, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._responses = responses
        self._clock = clock
        self._running: dict[str, Run] = {}
        self._ended: OrderedDict[str, tuple[float, int, Run]] = OrderedDict()
        self._ended_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    def check_room(self) -> None:
        """Raises RateLimited if too many are running."""
        if len(self._running) >= MAX_RUNNING:
            raise RateLimited(
                f"Rate limit reached: {MAX_RUNNING} background responses are running. Try again later.",
                retry_after_s=5.0,
            )

    def open(self) -> None:
        """Begin to look after what is kept. Idempotent."""
        if self._keeper is None:
            self._responses.before_abandoning = self._renew
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def start(self, response_id: str, run: Run, work: Coroutine[Any, Any, None]) -> None:
        """Make one; `work` raises nothing."""
        self._running[response_id] = run
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(response_id, done))

    def find(self, response_id: str) -> Run | None:
        """One that is made here, or was a short while ago."""
        self._forget()
        run = self._running.get(response_id)
        if run is None and response_id in self._ended:
            return self._ended[response_id][2]
        return run

    def give_up(self, response_id: str) -> None:
        """Stop making it, if it is made here; its record is somebody else's business."""
        if ended := self._ended.pop(response_id, None):
            self._ended_bytes -= ended[1]
        if run := self._running.get(response_id):
            run.cancel()

    async def close(self) -> None:
        """Everything has ended, as failed if need be, when this returns. Idempotent."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        for run in tuple(self._running.values()):
            run.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _end(self, response_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        run = self._running.pop(response_id)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_response_failed", response=response_id, exc_info=error)
        self._ended[response_id] = (self._clock(), run.size_bytes, run)
        self._ended_bytes += run.size_bytes
        self._forget()

    def _forget(self) -> None:
        """The oldest that ended: after some time, or when they need too much memory."""
        while self._ended:
            response_id, (ended, size_bytes, _) = next(iter(self._ended.items()))
            if self._ended_bytes <= MAX_REMEMBERED_BYTES and self._clock() - ended < REMEMBERED_S:
                break
            self._ended_bytes -= size_bytes
            del self._ended[response_id]

    async def _keep(self) -> None:
        swept = self._clock() - SWEEP_S
        while True:
            pause_s = RENEW_S
            try:
                await self._renew()
                if self._clock() - swept >= SWEEP_S:
                    swept = self._clock()
                    await self._responses.fail_abandoned()
                    await self._responses.sweep()
            except LlmaticError as error:  # the lease lasts some turns, and is to be renewed at once after it
                _log.warning("responses_not_kept_up", error=error.message)
                pause_s = RETRY_S
            except Exception:
                _log.exception("responses_not_kept_up")
            await asyncio.sleep(pause_s)
            self._forget()

    async def _renew(self) -> None:
        ids = tuple(self._running)
        if ids:
            wanted = await self._responses.renew(ids)
            for response_id in ids:
                if response_id not in wanted:  # cancelled or forgotten by way of another server
                    self.give_up(response_id)
