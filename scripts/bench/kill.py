"""kill -9 of the worker amid running streams, again and again: clients, the next request, what is left."""

import argparse
import asyncio
import json
import os
import signal
import time
from typing import Any

from scripts.bench import models, processes, servers
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.sse import Reply, exchange, http_request

START_TIMEOUT_S = 60.0
STREAM_TIMEOUT_S = 30.0
ERROR_WITHIN_S = 2.0
COLUMNS = ("kill", "told", "slowest s", "untold", "other model", "next ok", "next s", "children", "files")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="small", help="shape or GGUF file")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)


def run(arguments: argparse.Namespace) -> Report:
    source = str(models.find(arguments.model, arguments.cache))
    spec = {
        "engine": "llama",
        "source": source,
        "preload": True,
        "context": 65536,
        "parallel": arguments.streams,
    }
    other = {"engine": "fake", "source": "none", "preload": True}
    with servers.ours(arguments.cache, {"bench": spec, "other": other}) as server:
        rows, before, after = asyncio.run(_kills(arguments, server))
        pids = [server.pid, *(child.pid for child in processes.children(server.pid))]
    survivors = [pid for pid in pids if processes.rss_mb(pid)]
    bars = [
        Bar("clients without an error", sum(row[3] for row in rows), "at most", 0),
        Bar("slowest error after a kill", max(row[2] for row in rows), "at most", ERROR_WITHIN_S, "s"),
        Bar("other model's requests failed meanwhile", sum(not row[4] for row in rows), "at most", 0),
        Bar("next requests failed", sum(not row[5] for row in rows), "at most", 0),
        *(Bar(f"{name} more than before", after[name] - before[name], "at most", 0) for name in before),
        Bar("processes alive after the server's end", len(survivors), "at most", 0),
    ]
    return Report("kill", COLUMNS, rows, bars, {"streams": arguments.streams, "machine": processes.machine()})


async def _kills(
    arguments: argparse.Namespace, server: servers.Server
) -> tuple[list[tuple[Any, ...]], dict[str, int], dict[str, int]]:
    await _short(server, "bench")
    await _short(server, "other")
    before = processes.left_behind(server.pid)
    rows = [await _kill(number, server, arguments.streams) for number in range(1, arguments.kills + 1)]
    await asyncio.sleep(1)
    return rows, before, processes.left_behind(server.pid)


async def _kill(number: int, server: servers.Server, streams: int) -> tuple[Any, ...]:
    started = [asyncio.Event() for _ in range(streams)]
    running = [asyncio.create_task(_long(server, event)) for event in started]
    try:
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in started)), START_TIMEOUT_S)
    except TimeoutError:
        errors = [task.result().error for task in running if task.done()]
        raise Problem(
            f"not all streams began within {START_TIMEOUT_S:g} s before kill {number}: {errors}"
        ) from None
    victim = _worker_of_bench(server)
    killed_s = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    other = await _short(server, "other")
    again = await _short(server, "bench")
    replies = [await task for task in running]
    told = [reply for reply in replies if is_told(reply)]
    slowest = max(reply.end_s - killed_s for reply in replies)
    for reply in [*(r for r in replies if not is_told(r)), *(r for r in (other, again) if not r.complete)]:
        print(f"bench: kill {number}: {reply.error}")
    held = processes.left_behind(server.pid)
    took = round(again.end_s - killed_s, 3)
    untold = streams - len(told)
    verdicts = (other.complete, again.complete, took)
    return (number, len(told), round(slowest, 3), untold, *verdicts, held["children"], held["files"])


def is_told(reply: Reply) -> bool:
    """True when the client got an error that it can read: an error event, no [DONE] after it, or a 503."""
    if reply.status != 200:
        return reply.status == 503 and b'"error"' in reply.body
    return reply.done == 0 and bool(reply.events) and "error" in reply.parsed[-1][1]


def _worker_of_bench(server: servers.Server) -> int:
    """The heaviest worker: the other model is a fake that holds no weights."""
    workers = processes.worker_pids(server.pid)
    if not workers:
        raise Problem(f"the server has no worker process; its log: {server.log}")
    return max(workers, key=processes.rss_mb)


async def _long(server: servers.Server, started: asyncio.Event) -> Reply:
    body = _body("bench", 4000) | {"ignore_eos": True}
    request = http_request("/v1/completions", json.dumps(body).encode(), servers.HOST, "x")
    return await exchange(servers.HOST, server.port, request, timeout_s=STREAM_TIMEOUT_S, on_start=started)


async def _short(server: servers.Server, model: str) -> Reply:
    request = http_request("/v1/completions", json.dumps(_body(model, 4)).encode(), servers.HOST, "x")
    return await exchange(servers.HOST, server.port, request, timeout_s=STREAM_TIMEOUT_S)


def _body(model: str, max_tokens: int) -> dict[str, Any]:
    return {"model": model, "prompt": "one two three", "max_tokens": max_tokens, "stream": True}
