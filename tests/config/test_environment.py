"""LLMATIC_ variables over the file."""

from pathlib import Path

import pytest

from llmatic.config import Settings, load_settings
from llmatic.core.errors import ConfigError

FILE = """\
server: {port: 1}
models:
  my-model: {source: /x.gguf, sampling: {top_k: 5}}
  org/my.other: {source: /y.gguf}
  org/my-other: {source: /z.gguf}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(FILE)
    return tmp_path / "config.yaml"


def load(path: Path, **environ: str) -> Settings:
    return load_settings(path, environ)


def test_sections_and_short_names(path: Path) -> None:
    server = load(
        path, LLMATIC_SERVER__DRAIN_TIMEOUT_S="5m", LLMATIC_PORT="9", LLMATIC_HOST="::", HOME="/"
    ).server
    assert (server.drain_timeout_s, server.port, server.host) == (300, 9, "::")


@pytest.mark.parametrize("raw", ["abcdefgh,12345678", "[abcdefgh, '12345678']", " abcdefgh , 12345678,"])
def test_lists(path: Path, raw: str) -> None:
    assert load(path, LLMATIC_API_KEYS=raw).server.api_keys == ("abcdefgh", "12345678")


def test_models(path: Path) -> None:
    spec = load(
        path,
        LLMATIC_MODELS__MY_MODEL__CONTEXT="512",
        LLMATIC_MODELS__my_model__ALIASES="a,b",
        LLMATIC_MODELS__MY_MODEL__SAMPLING__TEMPERATURE="0.5",
        LLMATIC_MODELS__MY_MODEL__OPTIONS="{mmap: false}",
        LLMATIC_MODELS__MY_MODEL__KEEP_ALIVE="never",
    ).models["my-model"]
    assert (spec.context, spec.aliases, spec.keep_alive_s) == (512, ("a", "b"), None)
    assert (spec.sampling, spec.options) == ({"top_k": 5, "temperature": 0.5}, {"mmap": False})


def test_the_embedded_model_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {"LLMATIC_MODELS__LLMATIC_TINY__PARALLEL": "2"})
    assert settings.models["llmatic-tiny"].parallel == 2


def test_what_is_not_ours_is_left_alone(path: Path) -> None:
    environ = {
        "LLMATIC_PORT": "tcp://10.0.0.1:8000",  # Kubernetes, for a service called llmatic
        "LLMATIC_PORT_8000_TCP_ADDR": "10.0.0.1",
        "LLMATIC_SERVICE_HOST": "10.0.0.1",
        "LLMATIC_CACHE_DIR": "/cache",
        "LLMATIC_TEST_CACHE": "/cache",
        "LLMATIC_EXTRAS": "embeddings",
        "LLMATIC_HOST": "",
        "LLMATICS": "x",
    }
    assert load_settings(path, environ) == load_settings(path, {})


@pytest.mark.parametrize(
    ("variable", "raw", "message"),
    [
        ("LLMATIC_PROT", "1", "means nothing; did you mean 'LLMATIC_PORT'?"),
        ("LLMATIC_QUITE_ELSE", "1", "means nothing; docs/configuration.md lists the known ones"),
        ("LLMATIC_SERVER__PROT", "1", "means nothing; did you mean 'LLMATIC_SERVER__PORT'?"),
        ("LLMATIC_SERVER__PORT__X", "1", "means nothing; did you mean 'LLMATIC_SERVER__PORT'?"),
        ("LLMATIC_MODELS__MY_MODEL__CONTXT", "1", "means nothing; did you mean 'LLMATIC_MODELS__MY_MODEL__CONTEXT'?"),
        ("LLMATIC_MODELS__MY_MODLE__CONTEXT", "1", "no model is written 'MY_MODLE'; did you mean 'MY_MODEL'?"),
        ("LLMATIC_MODELS__ORG_MY_OTHER__CONTEXT", "1", "could mean any of the models org/my.other, org/my-other"),
        ("LLMATIC_PORT", "http", "server.port must be a whole number from 0 to 65535, not the text 'http'"),
        ("LLMATIC_SERVER__CORS_ORIGINS", "[a", "no YAML: expected ',' or ']', but got '<stream end>' "
         "(while parsing a flow sequence)"),
    ],
)  # fmt: skip
def test_mistakes(path: Path, variable: str, raw: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {variable: raw})
    assert caught.value.message == f"environment variable {variable}: {message}"
