"""Starts and stops the servers under test on free ports of this machine. Never measures.

Every process is started here and stopped here by its own id; its words go to a log in the cache.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from scripts.bench.problem import Problem

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    port: int
    pid: int
    log: Path


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def llmatic_command() -> str:
    """The console script of the environment that runs the benchmark."""
    path = Path(sys.executable).parent / "llmatic"
    if not path.exists():
        raise Problem(f"{path} is not there: start the benchmarks with scripts/bench/run")
    return str(path)


@contextmanager
def ours(
    cache: Path,
    models: Mapping[str, Mapping[str, Any]],
    *,
    ready_path: str = "/readyz",
    name: str = "llmatic",
    environ: Mapping[str, str] | None = None,
) -> Generator[Server]:
    """`llmatic serve` with these models (as in config.yaml), ready when `ready_path` answers 200.

    `environ`: more variables. It keeps what it stores in a folder of its own, unless they name one.
    """
    port = free_port()
    config = cache / f"{name}-{port}.yaml"
    config.write_text(
        yaml.safe_dump({"models": {key: dict(spec) for key, spec in models.items()}}), encoding="utf-8"
    )
    command = [llmatic_command(), "serve", "--config", str(config), "--host", HOST, "--port", str(port)]
    try:
        with TemporaryDirectory(prefix="data-", dir=cache) as data:
            variables = {"LLMATIC_DATA_DIR": data} | dict(environ or {})
            with running(name, command, port, cache, ready_path, variables) as server:
                yield server
    finally:
        config.unlink(missing_ok=True)


@contextmanager
def rival(
    binary: Path,
    model: Path,
    cache: Path,
    *,
    context: int,
    parallel: int,
    threads: int,
    name: str = "llama-server",
    more: Sequence[str] = (),
) -> Generator[Server]:
    """llama-server with as many slots, cells and threads as ours gets; `more`: further options."""
    port = free_port()
    sizes = ["-c", str(context), "-np", str(parallel), "-t", str(threads)]
    command = [str(binary), "-m", str(model), *sizes, "--host", HOST, "--port", str(port), *more]
    with running(name, command, port, cache, "/health") as server:
        yield server


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    cache: Path,
    ready_path: str,
    environ: Mapping[str, str] | None = None,
) -> Generator[Server]:
    """Start a command, wait until `ready_path` answers 200, stop it in the end."""
    log = cache / f"{name}-{port}.log"
    with log.open("wb") as words:
        process = subprocess.Popen(
            command, stdout=words, stderr=words, env={**os.environ, **(environ or {})}, start_new_session=True
        )
    try:
        _wait_ready(process, port, ready_path, log)
        yield Server(name, port, process.pid, log)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then insist."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def get_status(port: int, path: str, timeout_s: float = 5.0) -> int:
    """The status of a GET; 0 when nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _wait_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while get_status(port, path) != 200:
        if process.poll() is not None:
            raise Problem(f"the server ended with code {process.returncode} before it was ready; see {log}")
        if time.monotonic() > deadline:
            raise Problem(f"the server was not ready after {START_TIMEOUT_S:.0f} s; see {log}")
        time.sleep(0.02)
