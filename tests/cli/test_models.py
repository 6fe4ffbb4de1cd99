"""`llmatic models`: list, show, check."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmatic.cli.main import app

CONFIG = """\
models:
  llmatic-tiny: {source: builtin:llmatic-tiny, aliases: [gpt-4o-mini, tiny], parallel: 4}
  away: {source: hf:org/repo/file.gguf, keep_alive: 10m, sampling: {temperature: 0}}
  missing: {source: missing.gguf}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMATIC_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def run_json(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_list(config: Path) -> None:
    lines = run("list", "--config", config).stdout.splitlines()
    assert lines[0].split() == ["ID", "ENGINE", "SOURCE", "SIZE", "HERE", "PRELOAD", "CAN", "ALIASES"]
    assert [line.split()[0] for line in lines[1:]] == ["llmatic-tiny", "away", "missing"]
    assert lines[1].endswith("gpt-4o-mini, tiny")
    assert lines[2].split()[3:5] == ["-", "no"]


def test_list_as_json(config: Path) -> None:
    rows = run_json("list", "--config", config)
    assert rows[0]["here"] is True
    assert rows[1] == {
        "id": "away", "engine": "llama", "source": "hf:org/repo/file.gguf", "size": None, "here": False,
        "preload": False, "can": ["completion"], "aliases": [], "base": None, "adapters": [], "draft": None,
    }  # fmt: skip


def test_list_without_models(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("models: {}")
    assert "No models are configured" in run("list", "--config", tmp_path / "none.yaml").stdout


def test_show_resolves_aliases_and_shows_defaults(config: Path) -> None:
    values = run_json("show", "tiny", "--config", config)
    assert (values["id"], values["parallel"], values["max_queue"]) == ("llmatic-tiny", 4, 256)
    assert (values["keep_alive"], values["context"]) == ("never", "engine's choice")
    assert values["file"].endswith("llmatic-tiny.gguf")
    assert "max_queue:        256" in run("show", "tiny", "--config", config).stdout


def test_show_has_the_configurations_keys(config: Path) -> None:
    from llmatic.config.keys import MODEL

    assert set(run_json("show", "away", "--config", config)) == {*MODEL, "id", "file", "capabilities"}


def test_show_says_what_the_model_can(config: Path) -> None:
    can = run_json("show", "tiny", "--config", config)["capabilities"]
    assert (can["chat"], can["completion"], can["vision"], can["parallel"]) == (True, True, False, 4)
    assert run_json("show", "away", "--config", config)["capabilities"]["chat"] is None
    assert "capabilities:     chat, completion" in run("show", "tiny", "--config", config).stdout


def test_check_reports_each_model_and_fails_if_one_is_not_usable(config: Path) -> None:
    result = run("check", "--config", config)
    assert result.exit_code == 1
    assert "llmatic-tiny: ok" in result.stdout
    assert "missing: not usable" in result.stdout
    tiny, away, missing = run_json("check", "--config", config)
    assert (tiny["facts"]["architecture"], tiny["facts"]["chat template"]) == ("llama", "compiles")
    assert {"chat", "completion"} <= set(tiny["facts"]["can"])
    assert away["notes"] == ["not downloaded yet; that happens when the model is first loaded"]
    assert missing["problems"] == [f"the file {config.parent}/missing.gguf does not exist"]


def test_check_one_model(config: Path) -> None:
    assert run("check", "llmatic-tiny", "--config", config).exit_code == 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("source: broken.gguf", "too short to be a GGUF file"),
        (
            "source: builtin:llmatic-tiny, chat_template: '{% if %}'",
            "chat template, line 1: Expected an expression",
        ),
        ("source: builtin:llmatic-tiny, chat_template: chatlm", "'chatlm' is no builtin template (chatml)"),
        (
            "source: builtin:llmatic-tiny, chat_format: hermess",
            "chat_format: 'hermess' is not known; did you mean 'hermes'?",
        ),
        ("source: builtin:tiny", "no embedded model is called 'tiny'"),
        ("source: builtin:llmatic-tiny, options: {bach: 1}", "has no option 'bach'; did you mean 'batch'?"),
        ("source: x, engine: lama", "Unknown engine 'lama'. Did you mean 'llama'?"),
    ],
)
def test_check_finds(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "config.yaml").write_text(f"models:\n  m: {{{line}}}\n")
    (tmp_path / "broken.gguf").write_text("x")
    [report] = run_json("check", "--config", tmp_path / "config.yaml")
    assert not report["ok"]
    assert problem in report["problems"][0]
