"""What starting costs: time of `--help`, a server without a model (its time to listen, its memory; with a new
database and with one that is there), time to the first token.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.bench import processes, servers
from scripts.bench.loadgen import Work, load
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.sse import exchange, http_request

ROOT = Path(__file__).resolve().parents[2]
TINY = "llmatic-tiny"
PATHS = (
    *("/v1/models", f"/v1/models/{TINY}", "/openapi.yaml", "/", "/no-such-path"),
    *("/v1/files", "/v1/batches", "/v1/chat/completions", "/api/v1/runs"),
)
FIRST_TOKEN_TIMEOUT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=int, default=10, help="how often --help is timed")
    parser.add_argument("--starts", type=int, default=5, help="how often the server and scripts/serve are")


def run(arguments: argparse.Namespace) -> Report:
    helps = [help_s() for _ in range(arguments.times)]
    with TemporaryDirectory(prefix="data-", dir=arguments.cache) as data:
        first, *later = [idle_server(arguments.cache, Path(data)) for _ in range(1 + arguments.starts)]
        starts = [first_token_s(arguments.cache, Path(data)) for _ in range(arguments.starts)]
    listens, sizes = zip(*later, strict=True)
    bars = [
        Bar("llmatic --help, median", statistics.median(helps), "at most", 0.3, "s"),
        Bar("server without a loaded model, median", statistics.median(sizes), "at most", 120, "MB"),
        Bar("the same after making its database", first[1], "at most", 120, "MB"),
        Bar(
            "the same from its start to its first reply, median",
            statistics.median(listens),
            "at most",
            1.5,
            "s",
        ),
        Bar("scripts/serve to the first token, median", statistics.median(starts), "at most", 3, "s"),
    ]
    rows = [
        ("help s", *_spread(helps)),
        ("first reply with a new database s", *_spread([first[0]])),
        ("first reply s", *_spread(listens)),
        ("idle server with a new database MB", *_spread([first[1]])),
        ("idle server MB", *_spread(sizes)),
        ("first token s", *_spread(starts)),
    ]
    columns = ("figure", "times", "least", "median", "most")
    return Report("startup", columns, rows, bars, {"machine": processes.machine()})


def help_s() -> float:
    """Seconds from starting `llmatic --help` to its end."""
    start_s = time.perf_counter()
    if subprocess.run([servers.llmatic_command(), "--help"], stdout=subprocess.DEVNULL).returncode:
        raise Problem("llmatic --help failed")
    return time.perf_counter() - start_s


def idle_server(cache: Path, data: Path) -> tuple[float, float]:
    """Seconds to the first reply, and resident MB once it has answered requests, refused ones too.

    It has loaded no model. `data`: where it keeps its database.
    """
    spec = {"engine": "llama", "source": f"builtin:{TINY}", "preload": False}
    start_s = time.perf_counter()
    variables = {"LLMATIC_DATA_DIR": str(data)}
    with servers.ours(cache, {TINY: spec}, ready_path="/healthz", environ=variables) as server:
        ready_s = time.perf_counter() - start_s
        for path in PATHS:
            servers.get_status(server.port, path)
        wrong = Work(4, 1, endpoint="chat/completions", model="no-such-model")
        asyncio.run(load(servers.HOST, server.port, wrong))
        if processes.worker_pids(server.pid):
            raise Problem("a model was loaded although none was asked for")
        return ready_s, round(processes.rss_mb(server.pid), 1)


def first_token_s(cache: Path, data: Path) -> float:
    """Seconds from starting scripts/serve (installed before) to the first text of the embedded model."""
    port = servers.free_port()
    command = [str(ROOT / "scripts" / "serve"), "--host", servers.HOST, "--port", str(port)]
    start_s = time.perf_counter()
    variables = {"LLMATIC_CONFIG": str(ROOT / "config.yaml"), "LLMATIC_DATA_DIR": str(data)}
    with servers.running("serve", command, port, cache, "/healthz", variables):
        return asyncio.run(_first_text_s(port)) - start_s


async def _first_text_s(port: int) -> float:
    body = {"model": TINY, "messages": [{"role": "user", "content": "Say this is a test"}], "stream": True}
    request = http_request("/v1/chat/completions", json.dumps(body).encode(), servers.HOST, "x")
    deadline = time.monotonic() + FIRST_TOKEN_TIMEOUT_S
    while time.monotonic() < deadline:
        reply = await exchange(servers.HOST, port, request, timeout_s=FIRST_TOKEN_TIMEOUT_S)
        if reply.complete and reply.first_s is not None:
            return reply.sent_s + reply.first_s
        await asyncio.sleep(0.02)
    raise Problem(f"the embedded model gave no text within {FIRST_TOKEN_TIMEOUT_S:g} s: {reply.error}")


def _spread(values: Sequence[float]) -> tuple[int, float, float, float]:
    return len(values), round(min(values), 3), round(statistics.median(values), 3), round(max(values), 3)
