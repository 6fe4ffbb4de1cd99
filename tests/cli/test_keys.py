"""`llmatic keys` on a database of its own."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmatic.cli.main import app
from llmatic.config import load_settings
from llmatic.core.errors import ConfigError, InvalidRequest, NotFound
from llmatic.core.limits import Limits
from llmatic.core.principal import Principal
from llmatic.services.stored import open_keys


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("store: {folder: data}\n")
    return path


def run(config: Path, *arguments: str) -> Result:
    """The command's outcome; what it raises is raised."""
    found: Result = CliRunner().invoke(
        app, ["keys", *arguments, "--config", str(config)], catch_exceptions=False
    )
    return found


def read(config: Path, *arguments: str) -> Any:
    return json.loads(run(config, *arguments, "--json").stdout)


def holder(config: Path, key: str) -> Principal | None:
    async def find() -> Principal | None:
        settings = load_settings(config, {})
        database, keys = open_keys(settings.store, settings.auth)
        found = await keys.recognise(key)
        await keys.close()
        await database.close()
        return found

    return asyncio.run(find())


def test_a_key_is_shown_once(config: Path) -> None:
    made = run(config, "create", "--name", "ключ 🔑")
    key = made.stdout.strip()
    assert key.startswith("sk-llmatic-")
    assert "cannot be shown again" in made.stderr
    for shown in (
        run(config, "list"),
        run(config, "list", "--json"),
        run(config, "show", read(config, "list")[0]["id"]),
    ):
        assert "ключ 🔑" in shown.stdout
        assert key not in shown.output
    found = holder(config, key)
    assert found is not None
    assert found.owner == found.id
    assert found.scopes == {"inference", "files", "training"}


def test_what_a_key_is_given(config: Path) -> None:
    options = ["--owner", "ann", "--scope", "files", "--scope", "inference", "--model", "llmatic-tiny"]
    limits = ["--limit", "requests_per_minute=60", "--limit", "tokens_per_day=0"]
    made = read(config, "create", "-n", "laptop", *options, *limits, "--expires-in", "30d")
    assert (made["owner"], made["scopes"]) == ("ann", ["inference", "files"])
    assert made["limits"] == {"requests_per_minute": 60, "tokens_per_day": 0}
    assert made["expires_at"] - made["created_at"] == 30 * 86400
    found = holder(config, made["value"])
    assert found is not None
    assert (found.owner, found.models) == ("ann", frozenset({"llmatic-tiny"}))
    shown = run(config, "show", made["id"]).stdout
    for text in ("laptop", "ann", "inference, files", "llmatic-tiny", "requests_per_minute=60", "usable"):
        assert text in shown


def test_a_model_that_is_not_there_is_remarked(config: Path) -> None:
    made = run(config, "create", "-n", "x", "--model", "misspelt", "--model", "llmatic-tiny")
    assert "no model of this configuration is called 'misspelt'" in made.stderr
    assert "llmatic-tiny" not in made.stderr


def test_a_revoked_key_is_out_of_the_list_and_opens_nothing(config: Path) -> None:
    kept, gone = read(config, "create", "-n", "kept"), read(config, "create", "-n", "gone")
    assert f"Revoked {gone['id']} (gone)." in run(config, "revoke", gone["id"]).stdout
    assert holder(config, gone["value"]) is None
    assert holder(config, kept["value"]) is not None
    assert [key["id"] for key in read(config, "list")] == [kept["id"]]
    assert {key["id"] for key in read(config, "list", "--all")} == {kept["id"], gone["id"]}
    assert "revoked" in run(config, "show", gone["id"]).stdout
    first = read(config, "revoke", gone["id"])["revoked_at"]
    assert first is not None
    assert read(config, "revoke", gone["id"])["revoked_at"] == first


def test_a_rotated_key_is_another_of_the_same_owner(config: Path) -> None:
    old = read(config, "create", "-n", "laptop", "--limit", "queue_share=5")
    made = run(config, "rotate", old["id"])
    assert "cannot be shown again" in made.stderr
    assert holder(config, old["value"]) is None
    found = holder(config, made.stdout.strip())
    assert found is not None
    assert (found.owner, found.limits) == (old["id"], Limits(queue_share=5))
    kept = read(config, "rotate", found.id, "--keep", "1h")
    assert holder(config, made.stdout.strip()) is not None
    assert holder(config, kept["value"]) is not None


def test_what_is_said_of_a_key_changes(config: Path) -> None:
    made = read(config, "create", "--name", "k", "--model", "a", "--limit", "tokens_per_day=5")
    said = ("--limit", "requests_per_minute=60", "--limit", "tokens_per_day=", "--all-models")
    changed = read(config, "change", made["id"], *said, "--expires-in", "1h", "--scope", "files")
    assert (changed["models"], changed["scopes"], changed["limits"]) == (
        None,
        ["files"],
        {"requests_per_minute": 60},
    )
    assert changed["expires_at"] >= made["created_at"] + 3600
    shown = run(config, "change", made["id"], "--name", "інша", "--never-expires", "--model", "writer")
    assert "інша" in shown.stdout
    assert "requests_per_minute=60" in shown.stdout
    assert "no model of this configuration is called 'writer'" in shown.stderr
    assert read(config, "show", made["id"])["expires_at"] is None
    who = holder(config, made["value"])
    assert who is not None
    assert who.models == frozenset({"writer"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what to change"),
        (("--all-models", "--model", "a"), "either --model or --all-models"),
        (("--never-expires", "--expires-in", "1h"), "either --expires-in or --never-expires"),
        (("--limit", "requests_per_minute"), "write NAME=N"),
    ],
)
def test_a_change_must_be_clear(config: Path, arguments: tuple[str, ...], said: str) -> None:
    found = run(config, "change", "key_none", *arguments)
    assert found.exit_code == 2
    assert said in " ".join(found.output.replace("│", " ").split())


def test_a_forgotten_key_is_in_no_list(config: Path) -> None:
    made = read(config, "create", "-n", "gone")
    run(config, "revoke", made["id"])
    assert f"Forgot {made['id']} (gone)." in run(config, "forget", made["id"]).stdout
    assert read(config, "list", "--all") == []


def test_no_keys(config: Path) -> None:
    assert "There are no keys" in run(config, "list").stdout
    assert read(config, "list") == []


def test_more_keys_than_a_page(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmatic.cli.keys.PAGE", 2)
    for number in range(5):
        run(config, "create", "-n", f"n{number}")
    assert [key["name"] for key in read(config, "list")] == ["n4", "n3", "n2", "n1", "n0"]


@pytest.mark.parametrize(
    ("arguments", "raised", "words"),
    [
        (["create", "-n", " "], InvalidRequest, "Invalid 'name'"),
        (["create", "-n", "x", "--scope", "root"], InvalidRequest, "'root' is no scope"),
        (["create", "-n", "x", "--owner", "a\tb"], InvalidRequest, "Invalid 'owner'"),
        (["create", "-n", "x", "--limit", "speed=5"], InvalidRequest, "Unknown limit: 'speed'"),
        (
            ["create", "-n", "x", "--expires-in", "soon"],
            ConfigError,
            "--expires-in must be a duration above zero",
        ),
        (
            ["create", "-n", "x", "--expires-in", "0s"],
            ConfigError,
            "--expires-in must be a duration above zero",
        ),
        (["create", "-n", "x", "--expires-in", "99999d"], InvalidRequest, "within 100 years"),
        (["show", "key_none"], NotFound, "No such API key: key_none"),
        (["revoke", "key_none"], NotFound, "No such API key: key_none"),
        (["rotate", "key_none"], NotFound, "No such API key: key_none"),
        (["rotate", "key_none", "--keep", "soon"], ConfigError, "--keep must be a duration"),
        (["forget", "key_none"], NotFound, "No such API key: key_none"),
        (["change", "key_none", "--all-models"], NotFound, "No such API key: key_none"),
    ],
)
def test_mistakes_are_sentences(
    config: Path, arguments: list[str], raised: type[Exception], words: str
) -> None:
    with pytest.raises(raised, match=words):
        run(config, *arguments)


@pytest.mark.parametrize("limit", ["requests_per_minute", "requests_per_minute=x", "requests_per_minute=-1"])
def test_a_limit_is_a_name_and_a_number(config: Path, limit: str) -> None:
    result = run(config, "create", "-n", "x", "--limit", limit)
    assert result.exit_code == 2
    assert "write NAME=N" in " ".join(result.output.split())


def test_a_lost_secret_is_told_and_can_be_given_up(config: Path) -> None:
    old = run(config, "create", "-n", "old").stdout.strip()
    secret = config.parent / "data" / "secret"
    secret.unlink()
    with pytest.raises(ConfigError, match=r"made with another secret.*auth\.secret.*take-secret"):
        run(config, "create", "-n", "new")
    assert "present secret" in run(config, "take-secret").stdout
    new = run(config, "create", "-n", "new").stdout.strip()
    assert holder(config, new)
    assert holder(config, old) is None
