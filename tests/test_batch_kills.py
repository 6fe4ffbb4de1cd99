"""A batch over HTTP, on a server process that is killed again and again meanwhile."""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

N_LIVES = 6
N_LINES = 240
WAIT_S = 60.0
PROGRAM = """
import sys
from llmatic.config import BatchSettings, ModelSpec, ServerSettings, Settings, StoreSettings
from llmatic.server import run
spec = ModelSpec(id="m", source="none", engine="fake", options={"token_delay_s": 0.05})
run(Settings(
    server=ServerSettings(port=0),
    models={"m": spec},
    store=StoreSettings(folder=sys.argv[1]),
    batches=BatchSettings(lease_s=0.5),
))
"""


class Life:
    """A server process, and how it is spoken to."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        found = re.search(r"at (http://127\.0\.0\.1:\d+)/v1", self.process.stdout.readline())
        assert found is not None
        self.http = httpx2.Client(base_url=found[1], timeout=WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while self.http.get("/healthz").status_code != 200:
            assert time.monotonic() < deadline

    def kill(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.communicate()


def test_each_line_comes_once_into_one_file(tmp_path: Path) -> None:
    rng = random.Random(2)
    life = Life(tmp_path)
    try:
        batch = create(life.http)
        n_amid = 0
        for _ in range(N_LIVES):
            batch = further(life.http, batch)
            until = time.monotonic() + rng.random()
            while time.monotonic() < until:
                batch = life.http.get(f"/v1/batches/{batch['id']}").json()
            n_amid += batch["status"] == "in_progress"
            life.kill()
            life = Life(tmp_path)
        deadline = time.monotonic() + WAIT_S
        while batch["status"] != "completed":
            batch = life.http.get(f"/v1/batches/{batch['id']}").json()
            assert time.monotonic() < deadline, batch
        assert batch["request_counts"] == {
            "total": N_LINES,
            "completed": N_LINES * 3 // 4,
            "failed": N_LINES // 4,
        }
        completed, failed = (lines(life.http, batch[kind]) for kind in ("output_file_id", "error_file_id"))
    finally:
        life.kill()
    assert n_amid > 1, "servers were killed while they worked"
    assert sorted(completed + failed) == list(range(N_LINES))
    assert {k % 4 for k in failed} == {3}


def further(http: httpx2.Client, before: dict[str, Any]) -> dict[str, Any]:
    """The batch when more of it is safe than before, or all."""
    deadline = time.monotonic() + WAIT_S
    batch = before
    while batch["status"] in ("validating", "in_progress") and counted(batch) <= counted(before):
        assert time.monotonic() < deadline, batch
        batch = http.get(f"/v1/batches/{before['id']}").json()
    return batch


def counted(batch: dict[str, Any]) -> int:
    found: int = batch["request_counts"]["completed"] + batch["request_counts"]["failed"]
    return found


def create(http: httpx2.Client) -> dict[str, Any]:
    requests = [
        {
            "custom_id": str(k),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "m",
                "messages": [{"role": "user", "content": "a b c"}],
                "n": 0 if k % 4 == 3 else 1,
            },
        }
        for k in range(N_LINES)
    ]
    data = "\n".join(map(json.dumps, requests)).encode()
    file = http.post("/v1/files", files={"file": ("in.jsonl", data)}, data={"purpose": "batch"}).json()
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made: dict[str, Any] = http.post("/v1/batches", json=body).json()
    return made


def lines(http: httpx2.Client, file_id: str) -> list[int]:
    found = http.get(f"/v1/files/{file_id}/content").text.splitlines()
    return [int(json.loads(line)["custom_id"]) for line in found]
