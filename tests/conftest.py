"""Fixtures for every test: the event loop's kind, a quiet log, a pool without processes."""

import os
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

from scripts.postgres import BINARIES, Postgres, own_postgres
from tests.fakes import FakePool

# A machine that is busy with something else proves nothing.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def quiet_log() -> None:
    """Events are asserted where they matter, never printed."""
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])


@pytest.fixture(scope="session", autouse=True)
def own_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers of the tests keep nothing where the user's own server does, and no proxy leads to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMATIC_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost"))))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of our own, reached by a socket only."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed: scripts/postgres.sh installs Debian's package")
    with own_postgres({"fsync": "off"}) as server:
        yield server


@pytest.fixture
def pool() -> FakePool:
    """A pool that answers at once and records what it is asked."""
    return FakePool()
