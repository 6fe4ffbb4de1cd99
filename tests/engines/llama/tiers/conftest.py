"""Real contexts, and stores over files, for the tests of the tiers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmatic.engines.llama.backend import Backend
from tests.engines.llama.tiers.states import Open, open_backend
from tests.engines.llama.tiers.stores import Opened, OpenStore


@pytest.fixture
def open_small(tmp_path: Path) -> Iterator[Open]:
    opened: list[Backend] = []

    def open_it(**changes: object) -> Backend:
        opened.append(open_backend(tmp_path, **changes))  # type: ignore[arg-type]
        return opened[-1]

    yield open_it
    for backend in opened:
        backend.close()
        backend.model.close()


@pytest.fixture
def open_it(tmp_path: Path) -> Iterator[OpenStore]:
    opened: list[Opened] = []

    def open_store(directory: Path | None = None, **changes: object) -> Opened:
        opened.append(Opened(directory or tmp_path / "cache", **changes))  # type: ignore[arg-type]
        return opened[-1]

    yield open_store
    for each in opened:
        each.close()
