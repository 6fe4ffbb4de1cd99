"""The database: functions over a connection, run in threads, committed before they are answered.

Owns the threads and the retries. Never knows a table. `read` and `write` are awaited in the event loop; the
functions that they are given run in a thread and get a SQLAlchemy connection with an open transaction. They
may be run a second time, if nothing of the first was committed: whatever they keep besides their result must
bear that.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from llmatic.core.errors import ConfigError, Unavailable
from llmatic.store.errors import is_repeatable, translated, unstorable
from llmatic.store.patience import Patience

T = TypeVar("T")
Work = Callable[[Connection], T]

N_READERS = 8
N_TRIES = 2


class Writes(Protocol):
    """How functions that change something are run."""

    def submit(self, work: Work[T]) -> Future[T]:
        """The function's result, once what it did is on disk; or what it raised, or SQLAlchemyError."""
        ...

    def close(self) -> None:
        """Finish what was begun. Idempotent."""
        ...


class Database:
    """An open database at its newest schema."""

    def __init__(self, engine: Engine, writes: Writes) -> None:
        self.engine = engine
        self._writes = writes
        self._readers = ThreadPoolExecutor(N_READERS, thread_name_prefix="llmatic-db")
        self._reading = Patience("reads")
        self._writing = Patience("writes")
        self._is_closed = False

    async def read(self, work: Work[T]) -> T:
        """What `work` finds. Repeated once if the connection turns out to be gone.

        Raises InvalidRequest for text that no database can hold; Unavailable if it cannot be used.
        """
        self._require_open()
        loop = asyncio.get_running_loop()
        return await self._reading.wait(lambda: loop.run_in_executor(self._readers, self._read, work))

    async def write(self, work: Work[T]) -> T:
        """What `work` returns, once it is committed: it outlives a kill -9 and a power cut from then on.

        Nothing of it is left if it raises. Raises AlreadyThere, InvalidRequest for what cannot be stored,
        InsufficientStorage, Unavailable. After Unavailable it is unknown whether it was committed.
        """
        self._require_open()
        return await self._writing.wait(lambda: self._write(work))

    def read_now(self, work: Work[T]) -> T:
        """As `read`, where no event loop runs yet; blocks."""
        return self._read(work)

    def write_now(self, work: Work[T]) -> T:
        """As `write`, where no event loop runs yet; blocks."""
        with _translating():
            return self._writes.submit(work).result()

    async def close(self) -> None:
        """Finish what was begun, then let go of the database. Idempotent."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """As `close`; blocks."""
        self._is_closed = True
        self._writes.close()
        self._readers.shutdown(cancel_futures=True)
        self.engine.dispose()

    def _require_open(self) -> None:
        if self._is_closed:
            raise Unavailable("The server is shutting down. Please try again later.", retry_after_s=5.0)

    async def _write(self, work: Work[T]) -> T:
        with _translating():
            return await asyncio.wrap_future(self._writes.submit(work))

    def _read(self, work: Work[T]) -> T:
        with _translating():
            for n_left in reversed(range(N_TRIES)):
                try:
                    with self.engine.connect() as connection:
                        return work(connection)
                except SQLAlchemyError as error:
                    if not n_left or not is_repeatable(error):
                        raise
            raise AssertionError("the last try returns or raises")


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise translated(error) from error
    except UnicodeEncodeError as error:
        raise unstorable() from error


def open_database(url: str) -> Database:
    """The database at `url`, brought to the newest schema; blocks. Raises ConfigError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("store.url is no database URL: write sqlite:///path or postgresql://…") from None
    if parsed.get_backend_name() == "sqlite":
        from llmatic.store.sqlite import open_sqlite

        return open_sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        from llmatic.store.postgres import open_postgres

        return open_postgres(parsed)
    raise ConfigError(f"store.url: '{parsed.get_backend_name()}' is not supported; use sqlite or postgresql.")
