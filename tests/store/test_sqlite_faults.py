"""What goes wrong with a SQLite file: clear errors, nothing lost, good again without a restart."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from llmatic.core.errors import ConfigError, InsufficientStorage, Unavailable
from llmatic.store import sqlite_file
from llmatic.store.database import Database, open_database
from tests.store.test_database import add, count

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "llmatic.db"


@pytest.fixture
async def database(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr("llmatic.store.sqlite.BUSY_TIMEOUT_S", 0.05)
    opened = open_database(f"sqlite:///{path}")
    yield opened
    await opened.close()


async def test_another_program_that_writes_stops_no_reader(database: Database, path: Path) -> None:
    await database.write(add(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in (2, 3):
        with pytest.raises(Unavailable, match="locked by another program"):
            await database.write(add(number))
    assert await database.read(count) == 1
    other.execute("ROLLBACK")
    other.close()
    await database.write(add(2))
    assert await database.read(count) == 2


async def test_while_one_waits_for_the_lock_the_others_are_told_at_once(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmatic.store.patience.LONG_S", 0.0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = 0

    def writing(*_: Any) -> None:
        nonlocal begun
        begun += 1

    event.listen(database.engine.pool, "checkout", writing)
    with pytest.raises(Unavailable):
        await database.write(add(1))
    outcomes = await asyncio.gather(*(database.write(add(k)) for k in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert begun == 2
    other.execute("ROLLBACK")
    other.close()
    await database.write(add(1))
    await asyncio.gather(*(database.write(add(k)) for k in range(2, 22)))
    assert await database.read(count) == 21


async def test_a_folder_that_is_gone_and_back(database: Database, path: Path) -> None:
    await database.write(add(1))
    away = path.parent.with_name("away")
    path.parent.rename(away)
    for _ in range(2):
        with pytest.raises(Unavailable, match="not where it was"):
            await database.write(add(2))
        with pytest.raises(Unavailable, match="not where it was"):
            await database.read(count)
    away.rename(path.parent)
    await database.write(add(2))
    assert await database.read(count) == 2


async def test_a_removed_folder_is_told_and_a_backup_is_taken_up(
    database: Database, path: Path, tmp_path: Path
) -> None:
    await database.write(add(1))
    with sqlite3.connect(path) as source, sqlite3.connect(tmp_path / "backup.db") as target:
        source.backup(target)
    source.close()
    target.close()
    await database.write(add(2))
    shutil.rmtree(path.parent)
    with pytest.raises(Unavailable):
        await database.write(add(3))
    assert not path.exists()  # nothing is begun anew in silence
    path.parent.mkdir()
    (tmp_path / "backup.db").rename(path)
    assert await database.read(count) == 1
    await database.write(add(3))
    assert await database.read(count) == 2
    await database.close()
    again = open_database(f"sqlite:///{path}")
    assert await again.read(count) == 2
    await again.close()


async def test_a_full_disk_loses_nothing(database: Database) -> None:
    await database.write(add(1))
    limit: list[int] = []

    def at_most(connection: sqlite3.Connection, *_: Any) -> None:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used + 2 if limit else 1 << 30}")

    event.listen(database.engine, "checkout", at_most)

    limit.append(1)
    outcomes = await asyncio.gather(
        database.write(large(1)), *(database.write(add(k)) for k in (2, 3)), return_exceptions=True
    )
    assert isinstance(outcomes[0], InsufficientStorage)
    n_told = sum(not isinstance(outcome, BaseException) for outcome in outcomes)
    assert await database.read(count) == 1 + n_told
    limit.clear()
    await database.write(large(2))
    await database.write(add(9))
    assert await database.read(count) == 2 + n_told


async def test_a_damaged_file_is_told(database: Database, path: Path) -> None:
    await asyncio.gather(*(database.write(add(k)) for k in range(500)))
    await database.close()
    size = path.stat().st_size
    whole = path.read_bytes()
    with path.open("r+b") as file:  # not the schema
        file.seek(size * 9 // 10)
        file.write(b"\xa5" * (size - size * 9 // 10))
    damaged = open_database(f"sqlite:///{path}")
    with pytest.raises(Unavailable, match="damaged"):
        await damaged.read(lambda connection: connection.execute(text("SELECT * FROM api_keys")).all())
    path.with_suffix(".new").write_bytes(whole)
    path.with_suffix(".new").rename(path)
    assert await damaged.read(count) == 500
    await damaged.close()


async def test_nobody_else_reads_it(database: Database, path: Path) -> None:
    await database.write(add(1))
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert len(list(path.parent.iterdir())) == 3


@pytest.mark.parametrize("content", [b"no database at all" * 1000, b"SQLite format 3\0" + b"\xff" * 9000])
def test_what_is_no_database_is_told_at_the_start(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"llmatic\.db cannot be opened: .*store\.url"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_told_at_the_start(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be opened: unable to open database file"):
        open_database(f"sqlite:///{path}")


def test_what_may_not_be_written_is_told_at_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmatic.store.sqlite_file.os.access", lambda place, _: place != path)
    with pytest.raises(ConfigError, match="this user may not write to"):
        open_database(f"sqlite:///{path}")


def test_a_lock_that_lasts_is_told_at_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    monkeypatch.setattr("llmatic.store.sqlite.OPEN_TIMEOUT_S", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ConfigError, match="cannot be opened: database is locked"):
        open_database(f"sqlite:///{path}")
    other.execute("ROLLBACK")
    other.close()


async def test_the_log_stays_short_under_constant_readers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader at an old state keeps SQLite from beginning its log anew; here there is always one."""
    monkeypatch.setattr(sqlite_file, "LOG_BYTES", 4 << 20)
    monkeypatch.setattr(sqlite_file, "LOG_GROWTH_BYTES", 1 << 20)
    database = open_database(f"sqlite:///{path}")
    log, largest = path.with_name("llmatic.db-wal"), 0
    with constant_readers(path):
        for number in range(400):
            await database.write(large(number))
            largest = max(largest, log.stat().st_size)
    assert await database.read(count_large) == 400
    await database.close()
    assert largest < 16 << 20


@contextmanager
def constant_readers(path: Path) -> Iterator[None]:
    """A second one begins before the first one ends, and so on."""
    stop = threading.Event()

    def read() -> None:
        readers = [sqlite3.connect(path, isolation_level=None) for _ in range(2)]
        turn = 0
        while not stop.is_set():
            readers[turn].execute("BEGIN")
            readers[turn].execute("SELECT count(*) FROM api_keys").fetchone()
            turn = 1 - turn
            if readers[turn].in_transaction:
                readers[turn].execute("COMMIT")
            stop.wait(0.005)
        for reader in readers:
            reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def large(number: int) -> Any:
    values = text("INSERT INTO blob_stores VALUES (:id)")
    return lambda connection: connection.execute(values, {"id": f"{number:05}" * 20_000})


def count_large(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM blob_stores")).scalar_one())
