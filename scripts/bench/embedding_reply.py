"""What the server itself costs on /v1/embeddings: a reply of 256 vectors of 384 numbers, ready in the worker.

Seen by a client on a connection that stays open: reading and checking the body, the way to the worker and
back, rendering, and the client's own reading are all in it.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from scripts.bench import keepalive, processes, servers
from scripts.bench.encoders import PATH
from scripts.bench.keepalive import Connection, http_request
from scripts.bench.loadgen import quantile_ms
from scripts.bench.report import Bar, Report

ENGINE = "scripts.bench.ready_vectors:ReadyEngine"
N_TEXTS = 256
MOST_MS = 3.0
WORDS = "a text of eight words for each row"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=300)


def run(arguments: argparse.Namespace) -> Report:
    root = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    rows = []
    bars = []
    with servers.ours(
        arguments.cache, {"ready": {"engine": ENGINE, "source": "none", "preload": True}}
    ) as server:
        for encoding_format, n_texts in (("base64", N_TEXTS), ("float", N_TEXTS), ("base64", 1)):
            waits, size = keepalive.run(_load(server.port, encoding_format, n_texts, arguments.requests))
            middle, late = statistics.median(waits) * 1e3, quantile_ms(waits, 0.95)
            rows.append((encoding_format, n_texts, size, round(min(waits) * 1e3, 3), round(middle, 3), late))
            if not bars:
                bars.append(Bar("base64, 256 × 384: median", middle, "at most", MOST_MS, "ms"))
    columns = ("format", "vectors", "bytes", "least ms", "median ms", "p95 ms")
    return Report("embedding-reply", columns, rows, bars, {"machine": processes.machine()})


async def _load(port: int, encoding_format: str, n_texts: int, n: int) -> tuple[list[float], int]:
    """(seconds of each request, bytes of a reply's body)."""
    body = {"model": "ready", "input": [WORDS] * n_texts, "encoding_format": encoding_format}
    request = http_request(PATH, json.dumps(body).encode())
    connection = await Connection.open(port)
    waits = []
    reply = b""
    for number in range(n + n // 10):
        start_s = time.perf_counter()
        reply = await connection.ask(request)
        if number >= n // 10:
            waits.append(time.perf_counter() - start_s)
    connection.close()
    return waits, len(reply)
