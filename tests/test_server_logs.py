"""A server whose log nobody reads any more."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2

WAIT_S = 60.0
PROGRAM = """
import sys
from llmatic.config import ModelSpec, ServerSettings, Settings, StoreSettings
from llmatic.server import run
run(Settings(
    server=ServerSettings(port=0, log_level="debug"),
    models={"m": ModelSpec(id="m", source="none", engine="fake")},
    store=StoreSettings(folder=sys.argv[1]),
))
"""


def test_it_answers_and_stops_all_the_same(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        found = re.search(r"at (http://127\.0\.0\.1:\d+)/v1", process.stdout.readline())
        assert found is not None
        while "curl" not in process.stdout.readline():  # the last that it prints
            assert process.poll() is None
        process.stdout.close()
        process.stderr.close()
        body = {"model": "m", "messages": [{"role": "user", "content": "a b c"}]}
        with httpx2.Client(base_url=found[1], timeout=WAIT_S) as http:
            assert http.post("/v1/chat/completions", json=body).status_code == 200
            assert http.get("/v1/nothing").status_code == 404
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()
