"""Servers that are killed at any point repeat no line and lose none."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmatic.config import BatchSettings
from llmatic.services.batches.service import Batches
from llmatic.store.batches import ENDED, BatchRecord
from llmatic.store.database import Database, open_database
from llmatic.store.files import FileRecord, add_file
from llmatic.store.local_blobs import LocalBlobs
from tests.services.batches.conftest import create, line

pytestmark = pytest.mark.anyio

N_KILLS = 60
N_LINES = 150


async def add(database: Database, blobs: LocalBlobs, number: int) -> BatchRecord:
    writer = blobs.create(f"file-in{number}")
    writer.write(b"".join(line(str(k)) for k in range(N_LINES)))
    writer.commit()
    record = FileRecord(f"file-in{number}", "ann", "in", "batch", writer.size_bytes, number)
    await database.write(add_file(record))
    return await create(Batches(database, blobs, BatchSettings()), record.id)


class Lives:
    """One server after the other, each killed."""

    def __init__(self, url: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.services.batches.killed_server", url, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[3],
        )

    def live(self, n_ticks: int) -> None:
        """One server's life."""
        pid = int(self._ask("start"))
        for _ in range(n_ticks):
            assert self._line() == "."
        os.kill(pid, signal.SIGKILL)
        assert self._ask("reap") == "gone"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, word: str) -> str:
        """The answer, which is not one of the lives' ticks."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        while (found := self._line()) == ".":
            pass
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def born(url: str, tmp_path: Path) -> Iterator[Lives]:
    found = Lives(url, tmp_path / "blobs")
    yield found
    found.close()


async def test_each_line_comes_once_into_one_file(url: str, tmp_path: Path, born: Lives) -> None:
    folder, rng = tmp_path / "blobs", random.Random(1)
    blobs = LocalBlobs(folder)
    ended: list[BatchRecord] = []
    n_lives = 0
    batch: BatchRecord | None = None
    while n_lives < N_KILLS or batch is not None:
        database = open_database(url)
        batches = Batches(database, blobs, BatchSettings())
        if batch is None:
            batch = await add(database, blobs, len(ended))
        found = await batches.get("ann", batch.id)
        await database.close()
        if found.status in ENDED and found.lease_until is None:
            ended.append(found)
            batch = None
            continue
        born.live(rng.randrange(4, 30))
        n_lives += 1
        assert n_lives < 10 * N_KILLS, found
    assert n_lives > len(ended)
    for found in ended:
        check(blobs, found)
    assert [path.name for path in folder.rglob("batch_*") if path.parent.name != "incoming"] == []


def check(blobs: LocalBlobs, batch: BatchRecord) -> None:
    def read(file_id: str | None) -> list[dict[str, Any]]:
        assert file_id is not None
        return [orjson.loads(each) for each in b"".join(blobs.read(file_id)).splitlines()]

    output, errors = read(batch.output_file_id), read(batch.error_file_id)
    ids = [int(each["custom_id"]) for each in output + errors]
    assert sorted(ids) == list(range(N_LINES))
    assert {each["custom_id"][-1] for each in errors} == {"7"}
    assert all(each["response"]["status_code"] == 400 for each in errors)
    assert (batch.status, batch.n_total, batch.n_completed, batch.n_failed) == (
        *("completed", N_LINES, len(output)),
        len(errors),
    )
    assert batch.n_output_tokens == 2 * len(output)
