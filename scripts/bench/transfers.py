"""1 GB up and down through /files beside the disk's own copying, and what 2 GB take of the server's memory.

A copy is `cp` of the same file on the same file system and then `fsync`, since the store syncs too; the sides
take turns. Before each the disk is told to write what it still owes. The source lies in the page cache for
all of them, so nobody waits for reading. The client is this process (see `raw_transfer`). A chat stream of
the null engine, a token every 5 ms, runs alone and beside uploads: how long the event loop was held shows in
its gaps.
"""

import argparse
import asyncio
import hashlib
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from scripts.bench import duel, processes, raw_transfer, servers
from scripts.bench.loadgen import quantile_ms
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report

LEAST_RATIO = 0.5
MOST_MEMORY_MB = 100.0
MB = 1_000_000
TOKEN_DELAY_S = 0.005
N_TOKENS = 400
COLUMNS = ("what", "MB", "seconds", "MB/s", "of the copy", "server MB more", "at the peak")
Row = tuple[str, int, float, float, float | str, float | str, float | str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mb", type=int, default=1000, help="size of the file")
    parser.add_argument("--memory-mb", type=int, default=2000, help="of the file of the memory test; 0: none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-sdk", action="store_true", help="without OpenAI's client")
    parser.add_argument("--no-stream", action="store_true", help="without the chat stream")
    parser.add_argument("--folder", type=Path, help="where the files and the store lie; default: the cache")


def run(arguments: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory(dir=arguments.folder or arguments.cache, prefix="transfers-") as name:
        folder = Path(name)
        with _server(arguments, folder) as server:
            source = _made(folder / "source.bin", arguments.mb)
            rows, bars = _speeds(arguments, server, source)
            if not arguments.no_sdk:
                rows += _sdk(server, source)
            if not arguments.no_stream:
                rows += asyncio.run(_streams(server, source))
            source.unlink()
        if arguments.memory_mb:
            with _server(arguments, folder) as server:  # one that holds nothing yet
                found = _memory(server, folder, arguments.memory_mb)
            rows += found
            growth = max(float(row[6]) for row in found)
            bars.append(Bar("memory of the server, growth", growth, "at most", MOST_MEMORY_MB, "MB"))
    return Report("transfers", COLUMNS, rows, bars, {"machine": processes.machine()})


@contextmanager
def _server(arguments: argparse.Namespace, folder: Path) -> Generator[servers.Server]:
    port = servers.free_port()
    config = folder / "config.yaml"
    settings = {
        "models": {"null": {"engine": "fake", "source": "none", "options": {"token_delay_s": TOKEN_DELAY_S}}},
        "store": {"folder": str(folder / "store"), "max_file_bytes": "16GiB"},
    }
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [servers.llmatic_command(), "serve", "--config", str(config), "--host", servers.HOST]
    with servers.running(
        "transfers", [*command, "--port", str(port)], port, arguments.cache, "/readyz"
    ) as server:
        yield server


def _made(path: Path, n_mb: int) -> Path:
    """A file of bytes that nobody can compress, written and read once."""
    piece = os.urandom(MB)
    with path.open("wb") as file:
        for number in range(n_mb):
            file.write(number.to_bytes(8, "big") + piece[8:])
    return path


def _speeds(
    arguments: argparse.Namespace, server: servers.Server, source: Path
) -> tuple[list[Row], list[Bar]]:
    size = arguments.mb * MB
    taken: dict[str, list[float]] = {"copy, synced": [], "copy, not synced": [], "upload": [], "download": []}
    for number in range(arguments.rounds + 1):
        copied = _copy(source, source.with_name("copy.bin"))
        up_s, file = _timed(lambda: raw_transfer.upload(server.port, source))
        down_s, _ = _timed(lambda file=file: raw_transfer.download(server.port, file["id"]))  # type: ignore[misc]
        if number == 0:  # the first round warms up; what comes back is checked where no clock runs
            _check(server, source, file["id"])
        else:
            for name, seconds in zip(taken, (*copied, up_s, down_s), strict=True):
                taken[name].append(seconds)
        raw_transfer.delete(server.port, file["id"])
    yardstick = statistics.median(taken["copy, synced"])
    rows: list[Row] = []
    bars = []
    for name, times in taken.items():
        middle = statistics.median(times)
        rows.append((name, arguments.mb, middle, size / middle / MB, yardstick / middle, "", ""))
        if name in ("upload", "download"):
            bars.append(Bar(f"{name}, speed of the synced copy", yardstick / middle, "at least", LEAST_RATIO))
    return rows, bars


def _copy(source: Path, target: Path) -> tuple[float, float]:
    """Seconds of a copy with its sync, and without."""
    os.sync()
    start_s = time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    copied_s = time.perf_counter() - start_s
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    taken_s = time.perf_counter() - start_s
    os.close(descriptor)
    target.unlink()
    return taken_s, copied_s


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    os.sync()
    start_s = time.perf_counter()
    found = work()
    return time.perf_counter() - start_s, found


def _check(server: servers.Server, source: Path, file_id: str) -> None:
    digest = hashlib.sha256()
    raw_transfer.download(server.port, file_id, digest)
    with source.open("rb") as file:
        if hashlib.file_digest(file, "sha256").digest() != digest.digest():
            raise Problem("the file came back changed")


def _sdk(server: servers.Server, source: Path) -> list[Row]:
    """OpenAI's client, which does much more than the server: for the record."""
    import openai

    client = openai.OpenAI(base_url=f"http://{servers.HOST}:{server.port}/v1", api_key="x")
    size = source.stat().st_size

    def up() -> str:
        with source.open("rb") as file:
            return client.files.create(file=file, purpose="user_data").id

    def down() -> None:
        with client.files.with_streaming_response.content(file_id) as reply:
            for _ in reply.iter_bytes():
                pass

    up_s, file_id = _timed(up)
    down_s, _ = _timed(down)
    client.files.delete(file_id)
    pairs = (("upload with the SDK", up_s), ("download with the SDK", down_s))
    return [(name, size // MB, s, size / s / MB, "", "", "") for name, s in pairs]


def _memory(server: servers.Server, folder: Path, n_mb: int) -> list[Row]:
    """How much more memory the server had at its peak, and has now, than before each.

    Before, one small file goes up and down, so that code and connections are there.
    """
    small = _made(folder / "small.bin", 1)
    raw_transfer.download(server.port, raw_transfer.upload(server.port, small)["id"])
    source = _made(folder / "large.bin", n_mb)
    size = n_mb * MB
    rows: list[Row] = []
    file_id = ""

    def up() -> None:
        nonlocal file_id
        file_id = raw_transfer.upload(server.port, source)["id"]

    def down() -> None:
        raw_transfer.download(server.port, file_id)

    for name, work in (("upload", up), ("download", down)):
        Path(f"/proc/{server.pid}/clear_refs").write_text("5", encoding="ascii")  # the peak from here on
        before = _status_mb(server.pid, "VmRSS")
        seconds, _ = _timed(work)
        peak, after = _status_mb(server.pid, "VmHWM"), _status_mb(server.pid, "VmRSS")
        speed = size / seconds / MB
        rows.append((name, size // MB, seconds, speed, "", round(after - before, 1), round(peak - before, 1)))
    raw_transfer.delete(server.port, file_id)
    return rows


def _status_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith(name + ":"))


async def _streams(server: servers.Server, source: Path) -> list[Row]:
    """The gaps of a stream alone, and of one beside uploads."""
    request = duel.body_of(model="null", prompt="a", max_tokens=N_TOKENS)
    rows: list[Row] = []
    for name in ("stream alone", "stream beside uploads"):
        over = threading.Event()
        uploads = asyncio.to_thread(_keep_uploading, server, source, over) if rows else asyncio.sleep(0)
        uploading = asyncio.create_task(uploads)
        try:
            reply = await duel.ask(server, request)
        finally:
            over.set()
            await uploading
        duel.check(server, [reply])
        rows += [_gaps(name, reply.first_s or 0.0, reply.gaps_s)]
    return rows


def _keep_uploading(server: servers.Server, source: Path, over: threading.Event) -> None:
    while not over.is_set():
        raw_transfer.delete(server.port, raw_transfer.upload(server.port, source)["id"])


def _gaps(name: str, first_s: float, gaps: Sequence[float]) -> Row:
    middle, late, most = (quantile_ms(gaps, q) for q in (0.5, 0.99, 1.0))
    words = f"{name}: first {first_s * 1e3:.1f} ms, gaps p50 {middle} p99 {late} max {most} ms"
    return (words, 0, sum(gaps), 0.0, "", "", "")
