"""From `source:` to a file."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmatic.config import AdapterSpec, ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.sources import (
    adapter_path,
    cache_dir,
    locate_adapter,
    locate_draft,
    locate_projector,
    locate_source,
    source_path,
)


def spec(source: str) -> ModelSpec:
    return ModelSpec(id="m", source=source)


def test_a_path(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.touch()
    assert locate_source(spec(str(file))) == file
    with pytest.raises(ConfigError, match=r"Model 'm': the file .*b\.gguf does not exist"):
        locate_source(spec(str(tmp_path / "b.gguf")))


def test_the_embedded_model() -> None:
    assert locate_source(spec("builtin:llmatic-tiny")).name == "llmatic-tiny.gguf"
    with pytest.raises(
        ConfigError, match=r"no embedded model is called 'llmatic-tny'\. Did you mean builtin:llmatic-tiny"
    ):
        source_path(spec("builtin:llmatic-tny"))


@pytest.mark.parametrize(
    ("source", "relative"),
    [
        ("hf:org/repo/a.gguf", "hub/org/repo/main/a.gguf"),
        ("hf:org/repo@v1.0/sub/a.gguf", "hub/org/repo/v1.0/sub/a.gguf"),
    ],
)
def test_where_a_download_is_kept(tmp_path: Path, source: str, relative: str) -> None:
    located = source_path(spec(source), {"LLMATIC_CACHE_DIR": str(tmp_path)})
    assert located.path == tmp_path / relative
    assert not located.is_present


def test_a_split_model_is_all_its_parts(tmp_path: Path) -> None:
    for k in (1, 2, 3):
        (tmp_path / f"big-{k:05d}-of-00003.gguf").touch()
    located = source_path(spec(str(tmp_path / "big-00001-of-00003.gguf")))
    assert [part.name[4:9] for part in located.parts] == ["00001", "00002", "00003"]
    assert located.is_present
    located.parts[2].unlink()
    assert not located.is_present


@pytest.mark.parametrize(
    "source",
    ["hf:", "hf:org", "hf:org/repo", "hf:org/repo/", "hf:org/../x/y", "hf:o/r@../f", "hf:/a/b", "hf:o/r/a b"],
)
def test_malformed_hub_names(source: str) -> None:
    with pytest.raises(ConfigError, match=f"'{source}' is no file on a hub"):
        source_path(spec(source))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LLMATIC_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/llmatic"),
        ({}, str(Path.home() / ".cache" / "llmatic")),
    ],
)
def test_the_cache(environ: dict[str, str], expected: str) -> None:
    assert str(cache_dir(environ)) == expected


def test_the_draft_of_a_model(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    model = replace(spec("/big.gguf"), draft="small", draft_source=str(file))
    assert locate_draft(spec("/big.gguf")) is None
    with pytest.raises(ConfigError, match=r"Model 'small': the file .*small\.gguf does not exist"):
        locate_draft(model)
    file.touch()
    assert locate_draft(model) == file


def test_the_projector_of_a_model(tmp_path: Path) -> None:
    file = tmp_path / "mmproj.gguf"
    model = replace(spec("/big.gguf"), projector=str(file))
    assert locate_projector(spec("/big.gguf")) is None
    with pytest.raises(ConfigError, match=r"the file .*mmproj\.gguf does not exist"):
        locate_projector(model)
    file.touch()
    assert locate_projector(model) == file


def test_adapters_are_found_as_models_are(tmp_path: Path) -> None:
    model = ModelSpec("d", "", base="m")
    file = tmp_path / "a.gguf"
    with pytest.raises(ConfigError, match=r"Model 'd': the file .*a\.gguf does not exist"):
        locate_adapter(model, AdapterSpec(str(file)))
    file.touch()
    assert locate_adapter(model, AdapterSpec(str(file))) == file
    environ = {"LLMATIC_CACHE_DIR": str(tmp_path)}
    hub = adapter_path(model, AdapterSpec("hf:org/repo/a.gguf"), environ)
    assert hub.path == tmp_path / "hub/org/repo/main/a.gguf"
