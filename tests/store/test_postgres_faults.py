"""What goes wrong with PostgreSQL: clear errors, nothing lost, good again without a restart."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text

from llmatic.core.errors import ConfigError, Unavailable
from llmatic.store import postgres as adapter
from llmatic.store.database import Database, open_database
from scripts.postgres import Postgres
from tests.store.test_database import add, count

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.fresh_url()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = open_database(url)
    yield opened
    await opened.close()


def end_connections(connection: Connection) -> None:
    """Everybody's but this one."""
    connection.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    )


def end_this(connection: Connection) -> None:
    """As an administrator would, amid what it does."""
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


async def test_connections_that_ended_meanwhile_cost_nothing(database: Database) -> None:
    await asyncio.gather(*(database.write(add(k)) for k in range(20)))
    await database.read(end_connections)
    assert await database.read(count) == 20
    await asyncio.gather(*(database.write(add(k)) for k in range(20, 40)))
    assert await database.read(count) == 40


async def test_what_was_not_committed_is_done_again_on_another_connection(database: Database) -> None:
    n_tries = 0

    def work(connection: Connection) -> int:
        nonlocal n_tries
        n_tries += 1
        add(n_tries)(connection)
        if n_tries == 1:
            end_this(connection)
        return count(connection)

    assert await database.write(work) == 1
    assert n_tries == 2
    assert await database.read(count) == 1


async def test_who_fails_twice_is_told(database: Database) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        await database.write(end_this)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await database.read(end_this)
    await database.write(add(1))


async def test_of_two_that_wait_for_each_other_both_end_well(database: Database) -> None:
    await asyncio.gather(*(database.write(add(k)) for k in (1, 2)))
    both_hold = threading.Barrier(2)

    def rename(first: int, second: int) -> Any:
        n_tries = 0

        def work(connection: Connection) -> None:
            nonlocal n_tries
            n_tries += 1
            change = text("UPDATE api_keys SET name = name || 'x' WHERE id = :id")
            connection.execute(change, {"id": f"key_{first}"})
            if n_tries == 1:
                both_hold.wait(10)
            connection.execute(change, {"id": f"key_{second}"})

        return work

    await asyncio.gather(database.write(rename(1, 2)), database.write(rename(2, 1)))
    names = await database.read(lambda c: c.execute(text("SELECT name FROM api_keys")).scalars().all())
    assert list(names) == ["ключxx"] * 2


async def test_a_statement_that_takes_too_long_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adapter.SESSION, "statement_timeout", 50)
    database = open_database(url)
    with pytest.raises(Unavailable, match="takes too long"):
        await database.read(lambda connection: connection.execute(text("SELECT pg_sleep(30)")))
    await database.write(add(1))
    await database.close()


async def test_rows_that_somebody_else_holds_are_waited_for_a_while(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(adapter.SESSION, "lock_timeout", 50)
    database, other = open_database(url), open_database(url)
    await database.write(add(1))
    with other.engine.begin() as holding:
        holding.execute(text("LOCK TABLE api_keys"))
        with pytest.raises(Unavailable, match="locked by another program"):
            await database.write(add(2))
    await database.write(add(2))
    await database.close()
    await other.close()


async def test_only_reading(database: Database, url: str) -> None:
    reader = open_database(url + "&options=-c default_transaction_read_only=on")
    with pytest.raises(Unavailable, match="only be read"):
        await reader.write(add(1))
    assert await reader.read(count) == 0
    await reader.close()


async def test_a_restart(database: Database, postgres: Postgres) -> None:
    await asyncio.gather(*(database.write(add(k)) for k in range(20)))
    for mode in ("fast", "immediate"):
        postgres.stop(mode)
        for call in (database.read(count), database.write(add(99))):
            with pytest.raises(Unavailable, match="cannot be reached"):
                await call
        postgres.start()
        assert await database.read(count) == 20
    await database.write(add(99))
    assert await database.read(count) == 21


async def test_a_start_without_a_server_is_told(postgres: Postgres) -> None:
    with pytest.raises(ConfigError, match=r"postgresql://u:\*\*\*@.*cannot be opened: .*refused"):
        open_database("postgresql://u:geheim@127.0.0.1:9/x")
    with pytest.raises(ConfigError, match='database "nowhere" does not exist'):
        open_database(f"postgresql://postgres@/nowhere?host={postgres.folder}")


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a host that takes connections and says nothing, as one does whose PostgreSQL hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adapter.CONNECTION, "connect_timeout", 2)  # libpq has no less
    with silent_server() as port, pytest.raises(ConfigError, match=r"cannot be opened: .*timeout"):
        open_database(f"postgresql://u@127.0.0.1:{port}/x")


async def test_a_connection_that_falls_silent_holds_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever called last waits until the deadline, and everybody else no time at all."""
    monkeypatch.setattr("llmatic.store.patience.DEADLINE_S", 0.1)
    monkeypatch.setattr("llmatic.store.patience.LONG_S", 0.0)
    go_on = threading.Event()
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            await database.read(lambda _: go_on.wait(30))
        silent = asyncio.ensure_future(database.read(lambda _: go_on.wait(30)))
        await asyncio.sleep(0)
        for _ in range(100):
            with pytest.raises(Unavailable, match="does not answer"):
                await database.read(count)
        with pytest.raises(Unavailable):
            await silent
        monkeypatch.undo()  # new connections may take their time
        await database.write(add(1))
    finally:
        go_on.set()
    assert await database.read(count) == 1
