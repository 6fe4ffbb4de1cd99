"""`llmatic keys usage` on a database of its own."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmatic.cli.main import app
from llmatic.config import load_settings
from llmatic.services.stored import open_keys
from llmatic.store.usage import HOUR_US, UsageRow, add_usage


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("store: {folder: data}\n")
    return path


def run(config: Path, *arguments: str) -> str:
    command = ["keys", "usage", *arguments, "--config", str(config)]
    return CliRunner().invoke(app, command, catch_exceptions=False).stdout


def used(config: Path, key_id: str, days_ago: int) -> str:
    """Something is used; the day."""
    now_us = int(datetime.now(UTC).timestamp() * 1e6) - days_ago * 24 * HOUR_US
    hour = now_us - now_us % HOUR_US
    row = UsageRow(hour, key_id, "m", "completions", False, "ann", 2, 30, 20, 7)

    async def write() -> None:
        settings = load_settings(config, {})
        database, _ = open_keys(settings.store, settings.auth)
        await database.write(add_usage([row]))
        await database.close()

    asyncio.run(write())
    return datetime.fromtimestamp(hour / 1e6, UTC).strftime("%Y-%m-%d")


def test_nothing_was_used(config: Path) -> None:
    assert run(config) == "Nothing was used in these 7 days.\n"
    assert json.loads(run(config, "--json")) == []


def test_a_table_of_days_and_keys(config: Path) -> None:
    today, before = used(config, "key_a", 0), used(config, "key_b", 3)
    used(config, "key_a", 9)
    lines = [line.split() for line in run(config).splitlines()]
    assert lines == [
        ["DAY", "KEY", "MODEL", "OPERATION", "REQUESTS", "INPUT", "CACHED", "OUTPUT"],
        [before, "key_b", "m", "completions", "2", "30", "20", "7"],
        [today, "key_a", "m", "completions", "2", "30", "20", "7"],
    ]
    assert len(run(config, "--days", "11").splitlines()) == 4
    (row,) = json.loads(run(config, "key_b", "--json"))
    assert row == {
        "day": before,
        "key_id": "key_b",
        "model": "m",
        "operation": "completions",
        "requests": 2,
        "input_tokens": 30,
        "cached_tokens": 20,
        "output_tokens": 7,
    }
