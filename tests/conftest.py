"""Fixtures for every test: the event loop's kind, a quiet log, a pool without processes."""

import pytest
import structlog

from tests.fakes import FakePool


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def quiet_log() -> None:
    """Events are asserted where they matter, never printed."""
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])


@pytest.fixture
def pool() -> FakePool:
    """A pool that answers at once and records what it is asked."""
    return FakePool()
