"""A real server whose disk is full, or that may open few files."""

import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

WAIT_S = 30.0
PROGRAM = """
import resource, sys
from llmatic.config import ServerSettings, Settings, StoreSettings
from llmatic.server import run
folder, largest, n_files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if n_files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
if largest:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
run(Settings(server=ServerSettings(port=0), store=StoreSettings(folder=folder)))
"""


@contextmanager
def running(
    folder: Path, *, largest_file: int = 0, n_files: int = 0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its address; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(largest_file), str(n_files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"at (http://127\.0\.0\.1:\d+/v1)", process.stdout.readline())
        if not found:
            process.kill()
            raise AssertionError(process.communicate()[1])
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        running(tmp_path, largest_file=1_000_000) as (_, url),
        httpx2.Client(base_url=url, timeout=WAIT_S) as client,
    ):
        for _ in range(2):
            reply = client.post(
                "/files", data={"purpose": "user_data"}, files={"file": ("a", b"x" * 5_000_000)}
            )
            assert reply.status_code == 507
            assert reply.json()["error"]["message"] == "The server's disk is full: the file was not stored."
            assert client.get("/files").json()["data"] == []
            assert list((tmp_path / "blobs" / "incoming").iterdir()) == []
            small = client.post("/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")})
            assert client.delete(f"/files/{small.json()['id']}").json()["deleted"]


def test_a_full_disk_under_the_database_loses_nothing_and_may_be_cleared(tmp_path: Path) -> None:
    said = {"items": [{"type": "message", "role": "user", "content": "x" * 60_000}]}
    with (
        running(tmp_path, largest_file=1_000_000) as (process, url),
        httpx2.Client(base_url=url, timeout=WAIT_S) as client,
    ):
        kept = []
        while (reply := client.post("/conversations", json=said)).status_code == 200:
            kept.append(reply.json()["id"])
        for _ in range(5):
            reply = client.post("/conversations", json=said)
            assert reply.status_code == 507
            assert "disk is full" in reply.json()["error"]["message"]
            assert all(client.get(f"/conversations/{name}").status_code == 200 for name in kept)
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        kept.append(client.post("/conversations", json=said).raise_for_status().json()["id"])
        for name in kept:
            (item,) = client.get(f"/conversations/{name}/items").raise_for_status().json()["data"]
            assert item["content"][0]["text"] == "x" * 60_000
            assert client.delete(f"/conversations/{name}").status_code == 200


def test_a_low_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    with running(tmp_path, n_files=128) as (_, url), ExitStack() as stack:
        port = httpx2.URL(url).port
        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))
            client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
