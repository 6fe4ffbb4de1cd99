"""Blobs for the event loop: read and written in threads of their own, one piece ahead.

Owns the threads, so that a slow bucket holds up nobody but those who wait for it. Event loop's thread.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog

from llmatic.core.errors import LlmaticError
from llmatic.store.blobs import BlobReader, Blobs, BlobWriter, Piece

N_THREADS: Final = 16

T = TypeVar("T")

_log = structlog.get_logger("llmatic.files")


class AsyncBlobs:
    """A place for blobs and the threads to use it in."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="llmatic-blobs")

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, from a thread."""
        return await asyncio.wrap_future(self._threads.submit(work))

    def writer(self, key: str) -> "Intake":
        """A new blob, to be written."""
        return Intake(self.blobs, key, self._threads)

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes `start` to `end` (not included); the next piece is read while one is used.

        Raises KeyError before the first if there is no blob; Unavailable.
        """
        turn = _Turn(self._threads)
        opened: list[BlobReader] = []

        def piece() -> bytes:
            if not opened:
                opened.append(self.blobs.read(key, start, end))
            return next(opened[0], b"")

        def close() -> None:
            for reader in opened:
                reader.close()

        coming = turn.submit(piece)
        try:
            while data := await asyncio.wrap_future(coming):
                coming = turn.submit(piece)
                yield data
        finally:
            # After whatever a thread still does with it.
            turn.submit(close)

    async def forget(self, key: str) -> None:
        """Delete it, or leave that to the next sweep: the record is gone either way."""
        try:
            await self.run(lambda: self.blobs.delete(key))
        except LlmaticError as error:
            _log.warning("blob_not_deleted", key=key, why=error.message)

    def close(self) -> None:
        """Finish what was begun; blocks. Idempotent."""
        self._threads.shutdown()


class Intake:
    """A blob in the making. End it with `commit` or `discard`."""

    def __init__(self, blobs: Blobs, key: str, threads: ThreadPoolExecutor) -> None:
        self.size_bytes = 0
        self._blobs = blobs
        self._key = key
        self._turn = _Turn(threads)
        self._writer: BlobWriter | None = None
        self._is_given_up = False
        self._under_way: Future[None] | None = None

    async def write(self, *pieces: Piece) -> None:
        """Append; it may go on while the next piece is waited for, whose caller is told what went wrong.

        Raises InsufficientStorage, Unavailable.
        """
        await self._settle()
        self.size_bytes += sum(map(len, pieces))
        self._under_way = self._turn.submit(lambda: self._open().write(*pieces))

    async def commit(self) -> None:
        """Make it visible. Raises as `write`; then nothing is visible."""
        await self._settle()
        await asyncio.wrap_future(self._turn.submit(lambda: self._open().commit()))

    async def discard(self) -> None:
        """Nothing of it is left. Idempotent; nothing after `commit`."""
        await asyncio.wrap_future(self._turn.submit(self._discard))

    async def _settle(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            await asyncio.wrap_future(under_way)

    def _open(self) -> BlobWriter:
        assert not self._is_given_up, "nothing is written to what was given up"
        if self._writer is None:
            self._writer = self._blobs.create(self._key)
        return self._writer

    def _discard(self) -> None:
        self._is_given_up = True
        if self._writer is not None:
            self._writer.discard()


class _Turn:
    """Calls in threads, one after the other and in order, whether or not somebody waits for them."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._is_running = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()
        with self._lock:
            self._waiting.append((work, done))
            starts, self._is_running = not self._is_running, True
        if starts:
            self._threads.submit(self._run)
        return done

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                work, done = self._waiting.popleft()
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(work())
                except BaseException as error:
                    done.set_exception(error)
