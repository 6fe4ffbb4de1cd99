"""What an entry needs, and what becomes of optional ones."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from llmatic.app import without_missing
from llmatic.cli.inspection import open_registry
from llmatic.config import ModelSpec, Settings
from llmatic.core.errors import ConfigError
from llmatic.engines import load_engine
from llmatic.engines.installed import missing, served

PACKAGE = "package:no_such_package_anywhere/model"
CARRIED = ModelSpec(id="m", source=PACKAGE, engine="fake")


def test_an_engine_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmatic.engines.installed.find_spec", lambda name: None)
    spec = ModelSpec(id="m", source="/a/folder", engine="sentence")
    words = missing(spec)
    assert words is not None
    assert "needs torch, transformers, sentence_transformers, tokenizers" in words
    assert words.endswith('pip install "llmatic[embeddings]" brings it.')
    assert missing(replace(spec, engine="fake")) is None
    with pytest.raises(ConfigError, match="its engine 'sentence' needs torch"):
        load_engine(spec)


def test_an_optional_model_that_lacks_something_is_left_out_and_logged() -> None:
    models = {
        "first": ModelSpec(id="first", source="a", engine="fake", optional=True),
        "m": replace(CARRIED, optional=True),
        "child": ModelSpec(id="child", source="", base="m", engine="fake"),
        "drafted": ModelSpec(id="drafted", source="b", draft="m"),
    }
    with capture_logs() as lines:
        settings = without_missing(Settings(models=models))
        assert without_missing(settings) is settings
    assert list(settings.models) == ["first", "drafted"]
    assert settings.models["drafted"].draft is None
    assert [(line["event"], line["model"]) for line in lines] == [
        ("model_left_out", "m"),
        ("model_left_out", "child"),
    ]
    assert "no_such_package_anywhere, which carries it, is not installed" in lines[0]["why"]


def test_without_optional_it_stays_and_tells_what_is_missing_when_it_loads() -> None:
    assert served({"m": CARRIED}) == ({"m": CARRIED}, {})
    with pytest.raises(ConfigError, match='pip install "no-such-package-anywhere" brings it'):
        load_engine(CARRIED)


def test_a_malformed_source_is_a_mistake_even_if_optional() -> None:
    spec = replace(CARRIED, source="package:not.a.name/model", optional=True)
    assert served({"m": spec}) == ({"m": spec}, {})


def test_the_command_line_shows_what_the_server_would_serve(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"models:\n  a: {{engine: fake, source: x}}\n  b: {{engine: fake, source: '{PACKAGE}', optional: true}}\n"
    )
    assert [spec.id for spec in open_registry(config).specs()] == ["a"]
