"""Runs the prompts of one call side by side and merges what they yield.

Owns the life of a call: every generator that it opens is closed again, whether the call ends, fails or is
given up. Never knows HTTP and never renders. Event loop's thread; tasks of its own, one per prompt at a
time.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Protocol, Self

from llmatic.core.errors import EngineFailed
from llmatic.core.types import Delta, Event, Finished, GenerationRequest, Started, Usage

Tagged = tuple[int, Delta | Finished]
OpenStream = Callable[[GenerationRequest], AsyncGenerator[Event, None]]

MAX_PROMPTS = 2048
MAX_CHOICES = 4096
MAX_CONCURRENT_PROMPTS = 64

_COUNTS = tuple(Usage.__dataclass_fields__)


class Call(Protocol):
    """What runs for a client and can be ended early."""

    def give_up(self, error: BaseException) -> None:
        """Make whoever waits for it raise `error` now."""
        ...


class Generation:
    """The merged events of one call; use it as an async context manager.

    Entering waits until the first `MAX_CONCURRENT_PROMPTS` prompts were accepted by the engine and raises
    what it raised instead; the prompts after those follow as earlier ones end. Leaving closes every
    generator and waits until it is closed. If one prompt fails, the call fails and the others are
    cancelled. The token counts grow as events come; `n_cached_tokens` is that of the finished prompts, since
    how much of a prompt is shared shows only when its turn has come.
    """

    def __init__(self, open_stream: OpenStream, requests: Sequence[GenerationRequest]) -> None:
        self._open_stream = open_stream
        self._waiting = deque(enumerate(requests))
        self._n_open = len(requests)
        self._n_unstarted = min(len(requests), MAX_CONCURRENT_PROMPTS)
        self._inbox: list[Tagged] = []
        self._error: BaseException | None = None
        self._is_given_up = False
        self._is_nudged = False
        self._wake: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.n_prompt_tokens = 0
        self.n_cached_tokens = 0
        self.n_completion_tokens = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work()) for _ in range(self._n_unstarted)]
        try:
            while self._n_unstarted:
                if self._error is not None:
                    raise self._error
                await self._sleep()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def batch(self) -> list[Tagged] | None:
        """All events that have come since the last call, at least one; waits if there is none.

        An empty list means that `nudge` was called meanwhile, None that every prompt is finished. Raises
        what a prompt raised, after the events that came before it, or what `give_up` was given, at once.
        """
        while True:
            if self._inbox and not self._is_given_up:
                events, self._inbox = self._inbox, []
                return events
            if self._error is not None:
                raise self._error
            if not self._n_open:
                return None
            if self._is_nudged:
                self._is_nudged = False
                return []
            await self._sleep()

    def nudge(self) -> None:
        """Make a waiting `batch` return an empty list."""
        self._is_nudged = True
        self._rouse()

    def give_up(self, error: BaseException) -> None:
        """Make entering or `batch` raise `error` now, ahead of all events."""
        self._error = error
        self._is_given_up = True
        self._rouse()

    async def _work(self) -> None:
        """Run prompts one after the other until none is waiting."""
        try:
            while self._waiting:
                index, request = self._waiting.popleft()
                await self._run(index, request)
        except asyncio.CancelledError:
            # Ours, and nobody waits any more; or the pool's own, and then somebody does.
            self._fail(EngineFailed("The request was cancelled while it was being served."))
            raise
        except Exception as error:
            self._fail(error)

    async def _run(self, index: int, request: GenerationRequest) -> None:
        is_finished = False
        async with aclosing(self._open_stream(request)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    self.n_completion_tokens += event.n_tokens
                    self._inbox.append((index, event))
                elif isinstance(event, Started):
                    self.n_prompt_tokens += event.n_prompt_tokens
                    self._n_unstarted = max(0, self._n_unstarted - 1)
                else:
                    self.n_cached_tokens += event.usage.n_cached_tokens
                    self._inbox.append((index, event))
                    self._n_open -= 1
                    is_finished = True
                if self._wake is not None:
                    self._rouse()
        if not is_finished:
            raise EngineFailed("The engine ended the request without finishing it.")

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._rouse()

    async def _sleep(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _close(self) -> None:
        self._waiting.clear()
        running = [task for task in self._tasks if not task.done()]
        if self._n_open:
            for task in running:
                task.cancel()
        if running:
            await asyncio.wait(running)


class RunningCalls:
    """The calls that are being served now, so that all of them can be ended when the server must stop."""

    def __init__(self) -> None:
        self._running: set[Call] = set()

    def __len__(self) -> int:
        return len(self._running)

    @contextmanager
    def admit(self, call: Call) -> Iterator[None]:
        """Count a call in for as long as the context lasts."""
        self._running.add(call)
        try:
            yield
        finally:
            self._running.discard(call)

    def give_up(self, error: BaseException) -> None:
        """Make every running call fail with `error` at once."""
        for call in tuple(self._running):
            call.give_up(error)


def total(usages: Iterable[Usage]) -> Usage:
    """The sum over prompts; a prompt is counted once, however many choices it has."""
    counts = [0] * len(_COUNTS)
    for usage in usages:
        for index, name in enumerate(_COUNTS):
            counts[index] += getattr(usage, name)
    return Usage(*counts)
