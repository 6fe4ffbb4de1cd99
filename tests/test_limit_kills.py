"""Limits and usage on a server process that is killed: what was written stays, nothing is there twice."""

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from llmatic.config import AuthSettings, StoreSettings
from llmatic.services.stored import open_keys
from llmatic.store.limits import load_states
from llmatic.store.usage import HOUR_US, UsageFilter, UsageSum, sum_usage

WAIT_S = 60.0
CENTURY_US = 36_525 * 24 * HOUR_US
N_WRITTEN, N_LOST, N_LIVES = 12, 3, 3
PROGRAM = """
import sys
from llmatic.config import ModelSpec, ServerSettings, Settings, StoreSettings
from llmatic.server import run
run(Settings(
    server=ServerSettings(port=0),
    models={"m": ModelSpec(id="m", source="none", engine="fake")},
    store=StoreSettings(folder=sys.argv[1]),
))
"""


class Life:
    """A server process, and a client with a key."""

    def __init__(self, folder: Path, key: str) -> None:
        command = [sys.executable, "-c", PROGRAM, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        found = re.search(r"at (http://127\.0\.0\.1:\d+)/v1", self.process.stdout.readline())
        assert found is not None
        self.http = httpx2.Client(base_url=found[1], timeout=WAIT_S, headers={"x-api-key": key})

    def chat(self) -> httpx2.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": "a b c"}]}
        return self.http.post("/v1/chat/completions", json=body)

    def kill(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.communicate()


def test_a_killed_server_renews_no_quota_and_counts_nothing_twice(tmp_path: Path) -> None:
    database, keys = open_keys(StoreSettings(folder=str(tmp_path)), AuthSettings())

    def used() -> UsageSum | None:
        found = asyncio.run(database.read(sum_usage(UsageFilter(0, 2**60), width_us=CENTURY_US)))
        return found[0] if found else None

    def until_written(n_requests: int) -> UsageSum:
        deadline = time.monotonic() + WAIT_S
        while (found := used()) is None or found.n_requests < n_requests:
            assert time.monotonic() < deadline, found
        return found

    _, key = asyncio.run(keys.create("k"))
    n_tokens = 0
    before = 0
    for _ in range(N_LIVES):
        life = Life(tmp_path, key)
        try:
            for _ in range(N_WRITTEN):
                n_tokens = life.chat().json()["usage"]["total_tokens"]
            written = until_written(before + N_WRITTEN)
            assert written.n_requests == before + N_WRITTEN
            for _ in range(N_LOST):
                assert life.chat().status_code == 200
        finally:
            life.kill()
        after = used()
        assert after is not None
        before = after.n_requests
        assert 0 <= before - written.n_requests <= N_LOST
        assert after.input_tokens + after.output_tokens == before * n_tokens
    asyncio.run(database.close())


def test_a_quota_that_was_used_up_is_so_after_a_kill(tmp_path: Path) -> None:
    if time.time() % 86_400 > 86_400 - 2 * WAIT_S:
        pytest.skip("the day ends, and with it the quota")
    database, keys = open_keys(StoreSettings(folder=str(tmp_path)), AuthSettings())
    _, key = asyncio.run(keys.create("k", limits={"tokens_per_day": 10}))
    life = Life(tmp_path, key)
    try:
        while life.chat().status_code == 200:
            pass
        deadline = time.monotonic() + WAIT_S
        while sum(state.day_tokens for state in asyncio.run(database.read(load_states(0)))) < 10:
            assert time.monotonic() < deadline
    finally:
        life.kill()
    life = Life(tmp_path, key)
    try:
        refused = life.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    finally:
        life.kill()
    asyncio.run(database.close())
