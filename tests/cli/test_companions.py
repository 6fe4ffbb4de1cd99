"""`llmatic models` on adapters, bases and drafts."""

from pathlib import Path

import pytest

from tests.cli.test_models import run, run_json
from tests.engines.llama.small_adapter import write_adapter
from tests.engines.llama.small_model import write_model

CONFIG = """\
models:
  m: {source: m.gguf, context: 512, sampling: {top_k: 3}}
  legal: {base: m, adapters: [lora.gguf, {path: hf:org/repo/tone.gguf, scale: 0.5}], sampling: {temperature: 0}}
  big: {source: builtin:llmatic-tiny, draft: m}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMATIC_CACHE_DIR", str(tmp_path / "cache"))
    write_model(tmp_path / "m.gguf")
    write_adapter(tmp_path / "lora.gguf")
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def test_list(folder: Path) -> None:
    head, model, legal, big = run("list", "--config", folder / "config.yaml").stdout.splitlines()
    assert head.split()[-3:] == ["BASE", "ADAPTERS", "DRAFT"]
    assert legal.split()[:6] == ["legal", "llama", "-", "-", "no", "no"]
    assert legal.split()[-4:] == ["m", "lora.gguf,", "tone.gguf", "-"]
    assert model.split()[-3:] == ["-", "-", "-"]
    assert big.split()[-1] == "m"


def test_show_of_a_model_with_a_base_shows_what_it_is_served_with(folder: Path) -> None:
    values = run_json("show", "legal", "--config", folder / "config.yaml")
    assert (values["id"], values["base"], values["context"]) == ("legal", "m", 512)
    assert values["file"] == values["source"] == str(folder / "m.gguf")
    assert values["sampling"] == {"top_k": 3, "temperature": 0}
    assert values["adapters"][1] == {"path": "hf:org/repo/tone.gguf", "scale": 0.5}
    shown = run("show", "legal", "--config", folder / "config.yaml").stdout
    assert f"{folder}/lora.gguf × 1, hf:org/repo/tone.gguf × 0.5" in shown


def test_check(folder: Path) -> None:
    _, legal, big = run_json("check", "--config", folder / "config.yaml")
    assert legal["ok"]
    assert legal["facts"] == {
        "base": "m",
        "adapters": [f"{folder}/lora.gguf × 1", "hf:org/repo/tone.gguf × 0.5"],
    }
    assert legal["notes"] == [
        "the adapter hf:org/repo/tone.gguf is not downloaded yet; its first request does that"
    ]
    assert big["facts"]["draft"] == "m"
    assert (big["ok"], len(big["problems"])) == (False, 1)
    assert "only a model with the same vocabulary can draft" in big["problems"][0]


def test_a_draft_as_large_as_the_model(folder: Path) -> None:
    (folder / "config.yaml").write_text("models:\n  m: {source: m.gguf, draft: n}\n  n: {source: m.gguf}\n")
    report = run_json("check", "m", "--config", folder / "config.yaml")[0]
    assert (report["ok"], report["notes"][-1]) == (
        True,
        "the draft 'n' is no smaller than the model, so it makes nothing faster",
    )


def test_problems_of_adapters(folder: Path) -> None:
    write_adapter(folder / "other.gguf", arch="qwen2")
    (folder / "config.yaml").write_text(
        "models:\n  m: {source: m.gguf, adapters: [away.gguf, m.gguf, other.gguf, config.yaml]}\n"
    )
    result = run("check", "--config", folder / "config.yaml")
    assert result.exit_code == 1
    problems = [line.strip() for line in result.stdout.splitlines() if "problem:" in line]
    assert problems[:3] == [
        f"problem: adapter: the file {folder}/away.gguf does not exist",
        f"problem: adapter: {folder}/m.gguf is no adapter but a model",
        f"problem: adapter: {folder}/other.gguf is made for models of architecture qwen2, "
        "and this one is of architecture llama",
    ]
    assert "is no GGUF file" in problems[3]


def test_adapters_of_other_engines_are_theirs_to_check(folder: Path) -> None:
    (folder / "config.yaml").write_text("models:\n  m: {source: x, engine: fake, adapters: [away.gguf]}\n")
    report = run_json("check", "--config", folder / "config.yaml")[0]
    assert (report["ok"], "must know adapters" in report["notes"][1]) == (True, True)
