"""Every key stands in config.yaml, with its default, and in docs/configuration.md."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from llmatic.config import (
    AdapterSpec,
    AuthSettings,
    BatchSettings,
    LimitSettings,
    MediaSettings,
    ModelSpec,
    RecordingSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    WorkerSettings,
    load_settings,
)
from llmatic.config.environment import SHORT
from llmatic.config.keys import (
    ADAPTER,
    AUTH,
    BATCHES,
    LIMITS,
    MEDIA,
    MODEL,
    RECORDING,
    SAMPLING,
    SERVER,
    STORE,
    WORKERS,
)
from llmatic.engines.encoding.options import EncoderOptions
from llmatic.engines.llama.options import Options

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.yaml").read_text(encoding="utf-8")
DOCS = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
TABLES = [
    (ServerSettings, SERVER),
    (WorkerSettings, WORKERS),
    (ModelSpec, MODEL),
    (AdapterSpec, ADAPTER),
    (RecordingSettings, RECORDING),
    (BatchSettings, BATCHES),
    (StoreSettings, STORE),
    (AuthSettings, AUTH),
    (MediaSettings, MEDIA),
    (LimitSettings, LIMITS),
]
KEYS = sorted({*SERVER, *WORKERS, *MODEL, *SAMPLING, *RECORDING, *BATCHES, *STORE, *AUTH, *MEDIA, *LIMITS})
IN_UNITS = {"max_body_bytes", "max_file_bytes", "quota_bytes", "max_bytes"}  # written as 16MiB
NOT_WRITTEN = {"id", "draft_source"}


@pytest.mark.parametrize(("owner", "table"), TABLES)
def test_every_attribute_has_a_key(owner: type[Any], table: dict[str, Any]) -> None:
    attributes = {field.name for field in fields(owner)} - NOT_WRITTEN
    assert {field.attribute for field in table.values()} == attributes


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_explained(key: str) -> None:
    assert re.search(rf"^ +(# +)?{key}:.*# ", EXAMPLE, re.MULTILINE), "config.yaml"
    assert f"`{key}`" in DOCS, "docs/configuration.md"


@pytest.mark.parametrize("variable", [*SHORT, "LLMATIC_CONFIG", "LLMATIC_CACHE_DIR", "LLMATIC_DATA_DIR"])
def test_every_variable_is_explained(variable: str) -> None:
    assert f"`{variable}`" in DOCS


def test_every_option_of_the_llama_engine_is_explained() -> None:
    section = DOCS.split("`options:` of the llama engine", 1)[1]
    names = [field.name.removesuffix("_s").removesuffix("_bytes") for field in fields(Options)]
    assert [name for name in names if f"`{name}`" not in section] == []


def test_every_option_of_encoders_is_explained() -> None:
    section = DOCS.split("`options:` of encoders", 1)[1].split("\n### ", 1)[0]
    assert [name.name for name in fields(EncoderOptions) if f"| `{name.name}` |" not in section] == []


def test_config_yaml_shows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(ROOT / "config.yaml", {}) == load_settings(None, {})


def test_every_example_in_config_yaml_is_valid(tmp_path: Path) -> None:
    text = re.sub(r"^(  +)# ((?:  )*[a-z_-]+:)", r"\1\2", EXAMPLE, flags=re.MULTILINE)
    (tmp_path / "config.yaml").write_text(text)
    settings = load_settings(tmp_path / "config.yaml", {})
    examples = {"my-model", "my-small-model", "my-model-legal"}
    assert set(settings.models) == {"llmatic-tiny", "all-MiniLM-L6-v2", *examples}
    assert set(settings.models["llmatic-tiny"].sampling) == set(SAMPLING)


def test_documented_defaults() -> None:
    for owner, table in TABLES:
        defaults = {field.name: field.default for field in fields(owner) if field.default is not MISSING}
        for key, field in table.items():
            default = defaults.get(field.attribute)
            if isinstance(default, int | str) and not isinstance(default, bool) and key not in IN_UNITS:
                assert re.search(rf"^\| `{key}` \|[^|]*\| {default} \|", DOCS, re.MULTILINE), key
    assert Settings().models == {}
