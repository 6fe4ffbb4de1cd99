"""`llmatic models` on models that turn texts into numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_models import run, run_json
from tests.services.test_capabilities import number
from tests.test_gguf_header import entry, gguf, text

MODEL = {"hidden_size": 32, "max_position_embeddings": 64}
SUM = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of the three letters foo


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("llmatic.engines.installed._MODULES", {})
    made = tmp_path / "encoder"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(MODEL))
    (made / "model.safetensors").write_text("foo")
    return made


def config(folder: Path, line: str = "") -> Path:
    path = folder.parent / "config.yaml"
    path.write_text(f"models:\n  m: {{engine: sentence, source: encoder{line}}}\n")
    return path


def check(folder: Path, line: str = "") -> dict[str, Any]:
    [report] = run_json("check", "--config", config(folder, line))
    return dict(report)


def test_list_shows_the_folder(folder: Path) -> None:
    [row] = run_json("list", "--config", config(folder))
    assert (row["engine"], row["here"], row["can"]) == ("sentence", True, ["embeddings"])
    assert row["size"] == f"{3 + len(json.dumps(MODEL))} B"


def test_show_leaves_chats_out(folder: Path) -> None:
    values = run_json("show", "m", "--config", config(folder))
    assert (values["chat_template"], values["chat_format"]) == (None, None)
    assert values["file"] == str(folder)
    assert values["capabilities"]["dimensions"] == 32


def test_check_tells_what_the_files_tell(folder: Path) -> None:
    line = f", options: {{prompts: {{query: 'q: '}}, sha256: {{model.safetensors: {SUM}}}}}"
    report = check(folder, line)
    assert report["problems"] == []
    facts = report["facts"]
    assert (facts["can"], facts["dimensions"], facts["longest input"]) == (["embeddings"], 32, 64)
    assert (facts["prompts"], facts["sha256"]) == ({"query": "q: "}, "as configured")
    assert "longest input: 64" in run("check", "--config", config(folder, line)).stdout


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (", options: {precison: f32}", "has no option 'precison'; did you mean 'precision'?"),
        (", chat_template: chatml", "'chat_template' means nothing"),
        (f", options: {{sha256: {{config.json: {SUM}}}}}", "is another version, or damaged"),
    ],
)
def test_check_finds(folder: Path, line: str, problem: str) -> None:
    report = check(folder, line)
    assert not report["ok"]
    assert problem in report["problems"][0]


def test_check_misses_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert check(folder)["problems"] == ["the folder holds no weights"]


def test_check_misses_the_folder(folder: Path) -> None:
    path = config(folder)
    folder.rename(folder.with_name("elsewhere"))
    [report] = run_json("check", "--config", path)
    assert report["problems"] == [f"the folder {folder} does not exist"]
    [row] = run_json("list", "--config", path)
    assert (row["here"], row["size"]) == (False, None)


def test_check_says_what_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmatic.engines.installed._MODULES", {"sentence": ("no_such_module",)})
    assert "needs no_such_module" in check(folder)["problems"][0]


def test_check_of_a_gguf_encoder(tmp_path: Path) -> None:
    numbers = (number("bert.context_length", 512), number("bert.embedding_length", 384))
    (tmp_path / "m.gguf").write_bytes(gguf(entry("general.architecture", 8, text("bert")), *numbers))
    path = tmp_path / "config.yaml"
    path.write_text("models:\n  m: {source: m.gguf}\n  n: {source: m.gguf, options: {kv_unified: true}}\n")
    good, bad = run_json("check", "--config", path)
    facts = good["facts"]
    assert (facts["can"], facts["dimensions"], facts["longest input"]) == (["embeddings"], 384, 512)
    assert "chat template" not in facts
    assert "has no option 'kv_unified'" in bad["problems"][0]
