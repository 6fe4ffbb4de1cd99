"""Many rows into a database, quickly: without its indexes, by the driver's own way, not safe from a crash.

Owns how SQLite and PostgreSQL take rows in bulk. Never knows what is in them. Blocks.
"""

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol, TypeVar

from sqlalchemy import Index, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.schema import CreateIndex, DropIndex

ROWS_AT_ONCE = 10_000

Rows = Iterable[Sequence[Any]]
T = TypeVar("T")


class Bulk(Protocol):
    """An open database."""

    dialect: Dialect

    def execute(self, statement: str) -> None:
        """Run a statement."""
        ...

    def copy(self, table: Table, rows: Rows) -> None:
        """Add rows; their values are in the order of the table's columns."""
        ...


class SqliteBulk:
    """SQLite without a journal: if this process dies, so does the database."""

    dialect: Dialect = sqlite.dialect()

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -600000"):
            self.connection.execute(f"PRAGMA {setting}")

    def execute(self, statement: str) -> None:
        self.connection.execute(statement)

    def copy(self, table: Table, rows: Rows) -> None:
        marks = ", ".join("?" * len(table.columns))
        self.connection.execute("BEGIN")
        self.connection.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)
        self.connection.execute("COMMIT")

    def close(self) -> None:
        self.connection.close()


class PostgresBulk:
    """PostgreSQL by way of COPY."""

    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

    def __init__(self, url: str) -> None:
        import psycopg

        self.connection = psycopg.connect(url, autocommit=True)
        self.execute("SET maintenance_work_mem = '512MB'")
        self.execute("SET synchronous_commit = off")

    def execute(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    def copy(self, table: Table, rows: Rows) -> None:
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        with self.connection.cursor() as cursor:
            with cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN'.encode()) as copying:
                for row in rows:
                    copying.write_row(row)

    def close(self) -> None:
        # What autovacuum does within minutes.
        self.execute("VACUUM (ANALYZE)")
        self.execute("CHECKPOINT")
        self.connection.close()


@contextmanager
def filling(url: str, tables: Sequence[Table]) -> Generator[Bulk]:
    """The database at `url`, whose `tables` get their indexes back in the end."""
    parsed = make_url(url)
    bulk = SqliteBulk(parsed.database or "") if parsed.get_backend_name() == "sqlite" else PostgresBulk(url)
    indexes = [index for table in tables for index in _sorted(table)]
    for index in indexes:
        bulk.execute(str(DropIndex(index).compile(dialect=bulk.dialect)))
    yield bulk
    for index in indexes:
        bulk.execute(str(CreateIndex(index).compile(dialect=bulk.dialect)))
    bulk.close()


def in_parts(rows: Iterable[T]) -> Generator[list[T]]:
    """The rows, some thousands at a time."""
    rest = iter(rows)
    while some := list(islice(rest, ROWS_AT_ONCE)):
        yield some


def _sorted(table: Table) -> list[Index]:
    return sorted(table.indexes, key=lambda index: str(index.name))
