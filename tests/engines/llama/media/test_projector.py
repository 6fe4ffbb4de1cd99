"""Projectors that are refused when a model is loaded."""

import asyncio
from pathlib import Path

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.engines.llama.engine import LlamaEngine
from llmatic.engines.llama.media.projector import Projector
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from tests.engines.llama.media.conftest import Seeing
from tests.engines.llama.small_model import spec_of, write_model
from tests.engines.llama.small_vision import write_projector


def test_projectors_that_cannot_be_served(tmp_path: Path, seeing: dict[str, Seeing]) -> None:
    model = seeing["mlp"]
    wide = write_projector(tmp_path / "wide.gguf", n_embd=64)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.projector.read_bytes()[:9000])
    text = write_model(tmp_path / "text.gguf")
    for path, message in [
        (wide, "could not load the projector"),
        (cut, "cut off"),
        (text, "no projector"),
        (tmp_path / "none.gguf", "does not exist"),
    ]:
        with pytest.raises(ConfigError, match=message):
            LlamaEngine(spec(model.path, path))


def spec(path: Path, projector: Path) -> ModelSpec:
    return spec_of(path, projector=str(projector))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_projectors_whose_numbers_are_none(tmp_path: Path, seeing: dict[str, Seeing], broken: float) -> None:
    projector = write_projector(tmp_path / "broken.gguf", scale=broken)
    with pytest.raises(ConfigError, match="no finite numbers"):
        LlamaEngine(spec(seeing["mlp"].path, projector))


def test_marks_that_the_vocabulary_lacks(seeing: dict[str, Seeing]) -> None:
    model = seeing["gemma3"]
    weights = Model(model.path, Options())
    weights.vocabulary.n_tokens = 90
    with pytest.raises(ConfigError, match="no tokens for the marks"):
        Projector(model.projector, weights, n_threads=1, uses_gpu=False)
    weights.close()


def test_the_fingerprint_tells_projectors_apart(tmp_path: Path, seeing: dict[str, Seeing]) -> None:
    model = seeing["mlp"]
    prints = set()
    for projector in (model.projector, seeing["gemma3"].projector):
        engine = LlamaEngine(spec(model.path, projector))
        prints.add(engine.info.fingerprint)
        asyncio.run(engine.close())
    assert len(prints) == 2
