"""The schema: each step up and down, several servers that start at once, a database newer than the program."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine import make_url

from llmatic.core.errors import ConfigError
from llmatic.store.database import open_database
from llmatic.store.migrating import NEWEST, SCRIPTS
from llmatic.store.tables import metadata

N_SERVERS = 6
STEPS = [str(step.revision) for step in reversed(list(ScriptDirectory(str(SCRIPTS)).walk_revisions()))]


@contextmanager
def connected(url: str) -> Iterator[tuple[Connection, Config]]:
    """A connection in a transaction, and what alembic's commands need."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(parsed)
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        yield connection, config
    engine.dispose()


def shape(connection: Connection) -> dict[str, set[object]]:
    """Every table's columns, with what they may hold, and its indexes."""
    found = inspect(connection)
    return {
        table: {
            *((c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)),
            *((i["name"], tuple(i["column_names"]), i["unique"]) for i in found.get_indexes(table)),
            *((k["name"], k["referred_table"]) for k in found.get_foreign_keys(table)),
        }
        for table in found.get_table_names()
        if table != "alembic_version"
    }


@pytest.fixture
def empty(url: str) -> str:
    """A URL under which there is nothing, not even a schema."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    return url


def test_the_newest_step_is_known() -> None:
    assert STEPS[-1] == NEWEST


def test_each_step_goes_up_down_and_up(empty: str) -> None:
    shapes = []
    with connected(empty) as (connection, config):
        for step in STEPS:
            shapes.append(shape(connection))
            command.upgrade(config, step)
            higher = shape(connection)
            command.downgrade(config, "-1")
            assert shape(connection) == shapes[-1], step
            command.upgrade(config, step)
            assert shape(connection) == higher, step
        command.downgrade(config, "base")
        assert shape(connection) == {}


def test_the_steps_make_the_tables_that_the_program_knows(empty: str, url: str) -> None:
    with connected(empty) as (connection, config):
        command.upgrade(config, "head")
        migrated = shape(connection)
        command.downgrade(config, "base")
        metadata.create_all(connection)
        assert migrated == shape(connection)


def start(url: str, told: "multiprocessing.Queue[str]") -> None:
    try:
        database = open_database(url)
        database.close_now()
        told.put("")
    except BaseException as error:
        told.put(repr(error))
        raise


def test_servers_that_start_at_once(url: str) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "alembic.command"])  # imported once
    told: multiprocessing.Queue[str] = context.Queue()
    servers = [context.Process(target=start, args=(url, told)) for _ in range(N_SERVERS)]
    for server in servers:
        server.start()
    assert [told.get(timeout=60) for _ in servers] == [""] * N_SERVERS
    for server in servers:
        server.join()
    database = open_database(url)
    assert database.read_now(shape).keys() == metadata.tables.keys()
    database.close_now()


def test_a_newer_schema_is_left_alone(url: str) -> None:
    open_database(url).close_now()
    with connected(url) as (connection, _):
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="made by a newer llmatic"):
        open_database(url)
    with connected(url) as (connection, _):
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"


def test_a_step_that_was_not_taken_yet_is_taken(url: str) -> None:
    open_database(url).close_now()
    with connected(url) as (connection, config):
        command.downgrade(config, STEPS[2])
        assert set(shape(connection)) < set(metadata.tables)
    database = open_database(url)
    assert database.read_now(shape).keys() == metadata.tables.keys()
    database.close_now()
