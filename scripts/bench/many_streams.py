"""Two hundred streams at once on the smallest model: errors, cross-talk, memory.

Every stream is made to repeat a token of its own (`logit_bias` 100 on it), so its text does not depend on
what else is in the batch and a piece of any other stream in it would show. Some more clients hang up early.
"""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from scripts.bench import models, processes, servers
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.sse import Reply, exchange, http_request

FIRST_TOKEN = 2000
CONTEXT_EACH = 256
TIMEOUT_S = 300.0
N_WARM_UP = 2
FLAT_MB = 16.0
COLUMNS = ("slots", "round", "complete", "failed", "mixed up", "server MB", "worker MB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="small", help="shape or GGUF file")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument(
        "--hang-ups", type=int, default=20, help="more clients that go away after three events"
    )
    parser.add_argument(
        "--slots", nargs="+", type=int, default=[16, 200], help="parallel sequences of the model"
    )
    parser.add_argument("--rounds", type=int, default=8, help=f"after {N_WARM_UP} to warm up")
    parser.add_argument("--max-tokens", type=int, default=24)


def run(arguments: argparse.Namespace) -> Report:
    source = str(models.find(arguments.model, arguments.cache))
    rows: list[tuple[Any, ...]] = []
    bars: list[Bar] = []
    for slots in arguments.slots:
        size = {"context": max(16384, slots * CONTEXT_EACH), "parallel": slots, "max_queue": 1024}
        spec = {"engine": "llama", "source": source, "preload": True, **size}
        with servers.ours(arguments.cache, {"bench": spec}) as server:
            found = asyncio.run(_rounds(arguments, server, slots))
        rows += found
        bars += judge(found, slots)
    return Report("many-streams", COLUMNS, rows, bars, {"machine": processes.machine()})


def judge(rows: Sequence[Sequence[Any]], slots: int) -> list[Bar]:
    """The bars over the rounds of one server, rows under COLUMNS."""
    measured = rows[N_WARM_UP:]
    growth = {name: rows[-1][at] - rows[N_WARM_UP - 1][at] for name, at in (("server", 5), ("worker", 6))}
    return [
        Bar(f"{slots} slots: failed streams", sum(row[3] for row in rows), "at most", 0),
        Bar(f"{slots} slots: mixed-up streams", sum(row[4] for row in rows), "at most", 0),
        *(
            Bar(
                f"{slots} slots: growth of the {name} in {len(measured)} rounds",
                value,
                "at most",
                FLAT_MB,
                "MB",
            )
            for name, value in growth.items()
        ),
    ]


def faults(replies: Sequence[Reply], expected: Sequence[str], max_tokens: int) -> list[str]:
    """What is wrong with complete streams that ran together: foreign text, shared ids, wrong counts."""
    found = []
    owners: Counter[str] = Counter()
    for reply, text in zip(replies, expected, strict=True):
        ids = {event.get("id", "") for _, event in reply.parsed}
        owners.update(ids)
        indexes = {choice.get("index") for _, event in reply.parsed for choice in event.get("choices", ())}
        if reply.text != text:
            found.append(f"text {reply.text[:60]!r} instead of {text[:60]!r}")
        elif len(ids) != 1 or indexes != {0}:
            found.append(f"ids {sorted(ids)[:3]}, indexes {indexes} in one stream")
        elif reply.usage.get("completion_tokens") != max_tokens:
            found.append(f"{reply.usage} where {max_tokens} tokens were asked")
    return found + [f"id {name} in {count} streams" for name, count in owners.items() if count > 1]


async def _rounds(arguments: argparse.Namespace, server: servers.Server, slots: int) -> list[tuple[Any, ...]]:
    requests = [_request(number, arguments.max_tokens) for number in range(arguments.streams)]
    expected = [(await _exchange(server, request)).text for request in requests]
    if len(set(expected)) != len(expected) or "" in expected:
        raise Problem("the streams cannot be told apart: their texts alone are not all different")
    [worker] = processes.worker_pids(server.pid)
    rows = []
    for number in range(1, N_WARM_UP + arguments.rounds + 1):
        cut = [_exchange(server, requests[i % len(requests)], cut_after=3) for i in range(arguments.hang_ups)]
        together = await asyncio.gather(*(_exchange(server, request) for request in requests), *cut)
        replies = together[: len(requests)]
        failed = [reply for reply in replies if not reply.complete]
        wrong = [] if failed else faults(replies, expected, arguments.max_tokens)
        for words in [reply.error for reply in failed[:2]] + wrong[:2]:
            print(f"bench: round {number}: {words}")
        memory = (round(processes.rss_mb(server.pid), 1), round(processes.rss_mb(worker), 1))
        rows.append((slots, number, len(replies) - len(failed), len(failed), len(wrong), *memory))
    return rows


def _request(number: int, max_tokens: int) -> bytes:
    body = {
        "model": "bench",
        "prompt": f"stream {number}",
        "max_tokens": max_tokens,
        "temperature": 0,
        "logit_bias": {str(FIRST_TOKEN + number): 100},
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return http_request("/v1/completions", json.dumps(body).encode(), servers.HOST, "x")


async def _exchange(server: servers.Server, request: bytes, cut_after: int | None = None) -> Reply:
    return await exchange(servers.HOST, server.port, request, timeout_s=TIMEOUT_S, cut_after=cut_after)
