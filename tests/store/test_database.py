import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, func, insert, inspect, select

from llmatic.core.errors import ConfigError, InvalidRequest, Unavailable
from llmatic.store.database import Database, open_database
from llmatic.store.errors import AlreadyThere
from llmatic.store.migrating import NEWEST, _revision
from llmatic.store.tables import api_keys, metadata

pytestmark = pytest.mark.anyio


def row(number: int) -> dict[str, object]:
    return {
        "id": f"key_{number}",
        "owner": "o",
        "name": "ключ",
        "digest": f"{number:064x}",
        "hint": "sk-…",
        "scopes": "[]",
        "created_at": number,
    }


def add(number: int):  # type: ignore[no-untyped-def]
    return lambda connection: connection.execute(insert(api_keys).values(row(number)))


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(api_keys)).scalar_one())


async def test_what_is_written_is_read(database: Database) -> None:
    await database.write(add(1))
    assert await database.read(count) == 1


async def test_the_schema_is_what_the_tables_say(database: Database) -> None:
    def look(connection: Connection) -> None:
        assert _revision(connection) == NEWEST
        found = inspect(connection)
        for table in metadata.tables.values():
            assert {c["name"] for c in found.get_columns(table.name)} == {c.name for c in table.columns}
            assert {
                i["name"] for i in found.get_indexes(table.name) if not i.get("duplicates_constraint")
            } >= {i.name for i in table.indexes}

    await database.read(look)


async def test_what_raises_leaves_nothing_and_others_alone(database: Database) -> None:
    def half(connection: Connection) -> None:
        connection.execute(insert(api_keys).values(row(50)))
        raise ValueError("no")

    outcomes = await asyncio.gather(
        *(database.write(half if k == 5 else add(k)) for k in range(10)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(ValueError) == 1
    assert await database.read(count) == 9


async def test_a_row_that_is_there_already_is_told(database: Database) -> None:
    await database.write(add(1))
    with pytest.raises(AlreadyThere):
        await database.write(add(1))
    assert await database.read(count) == 1


async def test_many_writers_at_once(database: Database) -> None:
    await asyncio.gather(*(database.write(add(k)) for k in range(300)))
    assert await database.read(count) == 300


async def test_two_that_open_it_at_once_migrate_it_once(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(open_database, [url] * 4))
    await opened[0].write(add(1))
    assert [await each.read(count) for each in opened] == [1] * 4
    for each in opened:
        await each.close()


async def test_it_outlives_its_closing(url: str) -> None:
    first = open_database(url)
    await first.write(add(1))
    await first.close()
    await first.close()
    second = open_database(url)
    assert await second.read(count) == 1
    await second.close()


@pytest.mark.parametrize("name", ["half \ud800 a pair", "a null \0"])
async def test_text_that_cannot_be_kept_is_the_callers_mistake(database: Database, name: str) -> None:
    def work(connection: Connection) -> None:
        connection.execute(insert(api_keys).values({**row(1), "name": name}))

    def look(connection: Connection) -> None:
        connection.execute(select(api_keys).where(api_keys.c.name == name)).all()

    if database.engine.dialect.name == "sqlite" and "\0" in name:
        await database.write(work)  # SQLite keeps it
        return
    for call in (database.write(work), database.read(look)):
        with pytest.raises(InvalidRequest, match="cannot be stored"):
            await call
    await database.write(add(1))


async def test_who_comes_after_the_end_is_told(database: Database) -> None:
    await database.close()
    for call in (database.read(count), database.write(add(1))):
        with pytest.raises(Unavailable, match="shutting down"):
            await call


@pytest.mark.parametrize("bad", ["mysql://x", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        open_database(bad)
