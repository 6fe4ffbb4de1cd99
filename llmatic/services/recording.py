"""Keeps requests and their answers as runs.

Owns the queue that recordings wait in and the tasks that write them and forget what is old. A request never
fails because it could not be recorded: what is written is made later and in other threads. What was promised
(`store: true`) is written before the reply ends. Event loop's thread.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Final

import structlog

from llmatic.config import RecordingSettings
from llmatic.core.errors import InsufficientStorage, LlmaticError, Unavailable
from llmatic.core.metrics import Metrics
from llmatic.core.principal import Principal
from llmatic.services.composing import MICROSECONDS, Taken, composed
from llmatic.services.pacing import in_short_writes
from llmatic.services.redaction import Redaction
from llmatic.store.database import Database
from llmatic.store.runs import add_runs, drop_expired_runs

MAX_WAITING: Final = 2000
MAX_WAITING_BYTES: Final = 128 * 1024 * 1024
WRITTEN_TOGETHER: Final = 100
WRITTEN_TOGETHER_BYTES: Final = 4 * 1024 * 1024  # others wait for the database meanwhile
MAX_PROMISE_S: Final = 5.0
RETRY_S: Final = (0.5, 30.0)
CLOSE_S: Final = 5.0
CLOSING_RETRY_S: Final = 0.2
LOG_EVERY_S: Final = 60.0
SWEEP_EVERY_S: Final = 60.0

_log = structlog.get_logger("llmatic.recording")


class Recorder:
    """Takes recordings and writes them."""

    def __init__(
        self,
        database: Database,
        settings: RecordingSettings,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._settings = settings
        self._owners = frozenset(settings.owners)
        self._metrics = metrics
        self._clock = clock
        self._draw = draw
        self.redaction = Redaction(settings.redact, settings.mark)
        self._waiting: deque[Taken] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = asyncio.Event()
        self._logged_s = float("-inf")

    def wants(self, principal: Principal, model: str) -> bool:
        """Whether the configuration has this request recorded. Draws by lot if only a share is."""
        settings = self._settings
        if not settings.enabled:
            return False
        if self._owners and not (principal.owner in self._owners or principal.id in self._owners):
            return False
        if settings.models and model not in settings.models:
            return False
        return settings.share >= 1 or self._draw() < settings.share

    def open(self) -> None:
        """Begin to write and to forget."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._write_all()), loop.create_task(self._sweep_all())]

    async def close(self) -> None:
        """Write what waits, as long as that takes no more than some seconds."""
        if not self._tasks:
            return
        self._closing.set()
        self._wake.set()
        writer, sweeper = self._tasks
        sweeper.cancel()
        await asyncio.wait([writer], timeout=CLOSE_S)
        writer.cancel()
        await asyncio.wait([writer, sweeper])
        self._tasks = []
        if self._waiting:
            self._count("dropped", len(self._waiting))
            _log.warning("runs_not_recorded", why="the server stops", waiting=len(self._waiting))

    async def put(self, taken: Taken) -> None:
        """Queue it, or write it now if it was promised. Raises nothing."""
        if not taken.is_promised:
            self.put_nowait(taken)
            return
        try:
            async with asyncio.timeout(MAX_PROMISE_S):
                # The write goes on if the client hangs up meanwhile.
                writing = asyncio.ensure_future(self._write([taken]))
                writing.add_done_callback(_retrieve)
                await asyncio.shield(writing)
        except (LlmaticError, TimeoutError) as error:
            self._complain(error)
            self.put_nowait(replace(taken, is_promised=False, is_kept=True))
        except Exception as error:
            self._complain(error)
            self._count("failed", 1)

    def put_nowait(self, taken: Taken) -> None:
        """Queue it; it is dropped if the queue is full."""
        is_promised = taken.is_promised or taken.is_kept
        if taken.weight > self._settings.max_bytes and not is_promised:
            self._count("dropped", 1)
            return
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + taken.weight > MAX_WAITING_BYTES:
            self._count("dropped", 1)
            self._complain(None)
            return
        self._waiting.append(taken)
        self._waiting_bytes += taken.weight
        self._wake.set()

    async def sweep(self) -> int:
        """Forget what is old; how many runs that were."""
        return await in_short_writes(lambda n: self._database.write(drop_expired_runs(self.now(), n)))

    def now(self) -> int:
        """Microseconds since 1970."""
        return int(self._clock() * MICROSECONDS)

    def expiry(self, created_at: int) -> int | None:
        """When a run made then is forgotten."""
        lifetime = self._settings.retention_s
        return None if lifetime is None else created_at + int(lifetime * MICROSECONDS)

    async def _write(self, taken: list[Taken]) -> None:
        """Raises LlmaticError if the database cannot take them; then all may be tried again."""
        max_bytes = self._settings.max_bytes
        made = await asyncio.to_thread(lambda: [composed(one, self.redaction, max_bytes) for one in taken])
        runs = [run for run in made if run is not None]
        await self._database.write(add_runs(runs))
        self._count("recorded", len(runs))
        self._count("dropped", len(made) - len(runs))

    async def _write_all(self) -> None:
        """Write groups until closed; what the database cannot take now is tried again."""
        pause_s, n_single = RETRY_S[0], 0
        while True:
            if not self._waiting:
                if self._closing.is_set():
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            group = self._next_group(1 if n_single else WRITTEN_TOGETHER)
            try:
                await self._write(group)
            except (Unavailable, InsufficientStorage) as error:
                self._complain(error)
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, RETRY_S[1])
                continue
            except Exception as error:
                # One of them cannot be written at all: the others shall be.
                self._complain(error)
                if len(group) > 1:
                    n_single = len(group)
                    continue
                self._count("failed", 1)
            pause_s, n_single = RETRY_S[0], max(0, n_single - len(group))
            for _ in group:
                self._waiting_bytes -= self._waiting.popleft().weight

    def _next_group(self, limit: int) -> list[Taken]:
        """At least one; they stay in the queue until they are written."""
        group: list[Taken] = []
        size = 0
        for taken in islice(self._waiting, limit):
            size += taken.weight
            if group and size > WRITTEN_TOGETHER_BYTES:
                break
            group.append(taken)
        return group

    async def _pause(self, pause_s: float) -> None:
        """Wait so long, or until the server stops; while it does, only a moment."""
        if self._closing.is_set():
            await asyncio.sleep(CLOSING_RETRY_S)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._closing.wait()

    async def _sweep_all(self) -> None:
        while True:
            try:
                await self.sweep()
            except LlmaticError as error:
                self._complain(error)
            except Exception:
                _log.exception("runs_not_swept")
            await asyncio.sleep(SWEEP_EVERY_S)

    def _complain(self, error: BaseException | None) -> None:
        """A line of the log, at most one a minute."""
        now = time.monotonic()
        if now - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now
            why = "the queue is full" if error is None else type(error).__name__
            if isinstance(error, LlmaticError):
                why = error.message  # any other may quote what people wrote
            _log.warning("runs_not_recorded", why=why[:500], waiting=len(self._waiting))

    def _count(self, outcome: str, n: int) -> None:
        if n:
            self._metrics.runs.labels(outcome).inc(n)


def _retrieve(done: asyncio.Future[None]) -> None:
    """Whoever waited may be gone: a failure is not to be reported as unseen."""
    if not done.cancelled():
        done.exception()
