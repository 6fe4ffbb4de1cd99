"""What starting costs: time of `--help`, memory of a server without a model, time to the first token."""

import argparse
import asyncio
import json
import statistics
import subprocess
import time
from pathlib import Path

from scripts.bench import processes, servers
from scripts.bench.loadgen import Work, load
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.sse import exchange, http_request

ROOT = Path(__file__).resolve().parents[2]
TINY = "llmatic-tiny"
FIRST_TOKEN_TIMEOUT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=int, default=10, help="how often --help is timed")
    parser.add_argument("--starts", type=int, default=5, help="how often scripts/serve is timed")


def run(arguments: argparse.Namespace) -> Report:
    helps = [help_s() for _ in range(arguments.times)]
    idle_mb = idle_server_mb(arguments.cache)
    starts = [first_token_s(arguments.cache) for _ in range(arguments.starts)]
    bars = [
        Bar("llmatic --help, median", statistics.median(helps), "at most", 0.3, "s"),
        Bar("server without a loaded model", idle_mb, "at most", 120, "MB"),
        Bar("scripts/serve to the first token, median", statistics.median(starts), "at most", 3, "s"),
    ]
    rows = [("help s", *_spread(helps)), ("idle server MB", 1, idle_mb, idle_mb, idle_mb)]
    rows.append(("first token s", *_spread(starts)))
    columns = ("figure", "times", "least", "median", "most")
    return Report("startup", columns, rows, bars, {"machine": processes.machine()})


def help_s() -> float:
    """Seconds from starting `llmatic --help` to its end."""
    start_s = time.perf_counter()
    if subprocess.run([servers.llmatic_command(), "--help"], stdout=subprocess.DEVNULL).returncode:
        raise Problem("llmatic --help failed")
    return time.perf_counter() - start_s


def idle_server_mb(cache: Path) -> float:
    """Resident MB of a server that has answered requests, refused ones too, but has loaded no model."""
    spec = {"engine": "llama", "source": f"builtin:{TINY}", "preload": False}
    with servers.ours(cache, {TINY: spec}, ready_path="/healthz") as server:
        for path in ("/v1/models", f"/v1/models/{TINY}", "/openapi.yaml", "/", "/no-such-path"):
            servers.get_status(server.port, path)
        wrong = Work(4, 1, endpoint="chat/completions", model="no-such-model")
        asyncio.run(load(servers.HOST, server.port, wrong))
        if processes.worker_pids(server.pid):
            raise Problem("a model was loaded although none was asked for")
        return round(processes.rss_mb(server.pid), 1)


def first_token_s(cache: Path) -> float:
    """Seconds from starting scripts/serve (installed before) to the first text of the embedded model."""
    port = servers.free_port()
    command = [str(ROOT / "scripts" / "serve"), "--host", servers.HOST, "--port", str(port)]
    start_s = time.perf_counter()
    with servers.running(
        "serve", command, port, cache, "/healthz", {"LLMATIC_CONFIG": str(ROOT / "config.yaml")}
    ):
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


def _spread(values: list[float]) -> tuple[int, float, float, float]:
    return len(values), round(min(values), 3), round(statistics.median(values), 3), round(max(values), 3)
