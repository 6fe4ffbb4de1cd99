"""SQLite: a file in write-ahead mode with many readers and one writing thread.

Owns the pool and the writing thread, which commits all functions that wait at that moment together: one fsync
for all of them, each in a savepoint of its own, so that one that fails leaves the others be.
(https://sqlite.org/wal.html; https://sqlite.org/pragma.html#pragma_synchronous)
"""

import queue
import sqlite3
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from llmatic.core.errors import ConfigError
from llmatic.store.database import N_READERS, Database, T, Work
from llmatic.store.errors import is_full, opening_failed
from llmatic.store.migrating import is_newest, migrate
from llmatic.store.sqlite_file import DatabaseFile

BUSY_TIMEOUT_S = 5.0
OPEN_TIMEOUT_S = 20.0  # another server may be making the tables
MAX_COMMITTED_TOGETHER = 256

_IS_WRITE: Final = "llmatic_is_write"

_Waiting = tuple[Work[Any], Future[Any]]


class OneWriter:
    """A thread that runs one function after the other, commits, and only then answers."""

    def __init__(self, engine: Engine, file: DatabaseFile) -> None:
        self._engine = engine.execution_options(**{_IS_WRITE: True})
        self._file = file
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="llmatic-db-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        """As `Writes.submit`. Whoever is cancelled while waiting does not undo what is under way."""
        done: Future[T] = Future()
        self._waiting.put((work, done))
        return done

    def close(self) -> None:
        """Finish what waits."""
        if not self._is_closed:
            self._is_closed = True
            self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            batch = [(work, done) for work, done in batch if done.set_running_or_notify_cancel()]
            if batch:
                had_room = self._commit(batch)
                self._file.shorten_log(self._engine, at_once=not had_room)

    def _next_batch(self) -> tuple[list[_Waiting], bool]:
        """Whatever waits, at least one; and whether more may come."""
        batch: list[_Waiting] = []
        item = self._waiting.get()
        while item is not None:
            batch.append(item)
            if len(batch) == MAX_COMMITTED_TOGETHER:
                return batch, True
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[_Waiting]) -> bool:
        """Whether there was room for it."""
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self._engine.begin() as connection:
                for work, done in batch:
                    outcomes.append((done, *_tried(work, connection)))
        except BaseException as error:  # whatever it is, nobody must wait for ever
            outcomes = [(done, None, error) for _, done in batch]
        for done, result, failed in outcomes:
            if failed is None:
                done.set_result(result)
            else:
                done.set_exception(failed)
        return not any(failed is not None and is_full(failed) for _, _, failed in outcomes)


def _tried(work: Work[Any], connection: Connection) -> tuple[Any, BaseException | None]:
    """The function's result or what it raised; in that case nothing of it is left."""
    savepoint = connection.begin_nested()
    try:
        result = work(connection)
    except BaseException as error:
        try:
            savepoint.rollback()
        except SQLAlchemyError:
            raise error from None  # SQLite gave everything up already, as it does when the disk is full
        return None, error
    savepoint.commit()
    return result, None


def open_sqlite(url: URL) -> Database:
    """The database in the URL's file, made if it is not there. Raises ConfigError."""
    if not url.database or url.database == ":memory:":
        raise ConfigError("store.url must name a file: sqlite:///path/to/llmatic.db")
    path = Path(url.database).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"store.url: {path.parent} cannot be made: {error.strerror}") from None
    file = DatabaseFile(path)
    try:
        file.make(OPEN_TIMEOUT_S)
        _bring_up(file)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise opening_failed(error, str(path)) from error
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=lambda: file.connect(BUSY_TIMEOUT_S),
        poolclass=QueuePool,
        pool_size=N_READERS + 1,
        pool_use_lifo=True,  # each has a cache of its own: the one that was used last knows most
        max_overflow=0,
        hide_parameters=True,  # errors are logged, and what people wrote is not
    )
    event.listen(engine, "begin", _on_begin)
    event.listen(engine, "connect", file.remember)
    event.listen(engine, "checkout", file.require_same)
    return Database(engine, OneWriter(engine, file))


def _bring_up(file: DatabaseFile) -> None:
    """To the newest schema. Raises ConfigError, SQLAlchemyError."""
    engine = create_engine(
        "sqlite+pysqlite://", creator=lambda: file.connect(OPEN_TIMEOUT_S), poolclass=NullPool
    )
    event.listen(engine, "begin", _on_begin)
    with engine.connect() as connection:
        if is_newest(connection):
            return  # without a lock, which another program may hold for long
    with engine.execution_options(**{_IS_WRITE: True}).begin() as connection:
        migrate(connection)


def _on_begin(connection: Connection) -> None:
    is_write = connection.get_execution_options().get(_IS_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
