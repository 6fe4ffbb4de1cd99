"""One small model per session."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmatic.engines.llama.engine import LlamaEngine
from tests.engines.llama.small_model import spec_of, write_model


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "small.gguf")


@pytest.fixture
def engine(model_path: Path) -> Iterator[LlamaEngine]:
    """An engine of two slots and 512 cells; tests may close it themselves."""
    engine = LlamaEngine(spec_of(model_path))
    yield engine
    asyncio.run(engine.close())
