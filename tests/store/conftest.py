"""A fresh database of each kind: a SQLite file, and one of a PostgreSQL server if that is installed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmatic.store.database import Database, open_database
from scripts.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store/llmatic.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh_url()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = open_database(url)
    yield opened
    await opened.close()
