"""Memory of server and worker over many texts of mixed length, judged on the second half of the run."""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from scripts.bench import encoders, keepalive, processes
from scripts.bench.encoders import DEFAULT, Texts, request
from scripts.bench.keepalive import Connection
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server
from scripts.bench.soak import FLAT_MB, growth_mb

SAMPLE_S = 1.0
IN_FLIGHT = 4
SIZES = (1, 1, 1, 8, 64, 64, 256, 1024)
Sample = tuple[float, int, float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    encoders.add_arguments(parser, variants=[DEFAULT])
    parser.add_argument("--texts", type=int, default=100_000)


def run(arguments: argparse.Namespace) -> Report:
    rows: list[tuple[Any, ...]] = []
    bars: list[Bar] = []
    for name in arguments.variants:
        alone = argparse.Namespace(**{**vars(arguments), "variants": [name]})
        with encoders.serving(alone) as server:
            start_s = time.perf_counter()
            samples = keepalive.run(_load(arguments, name, server))
            took_s = time.perf_counter() - start_s
        server_mb, worker_mb = growth_mb(samples)
        bars += [
            Bar(f"{name}: growth of the server in the second half", server_mb, "at most", FLAT_MB, "MB"),
            Bar(f"{name}: growth of the worker in the second half", worker_mb, "at most", FLAT_MB, "MB"),
        ]
        peak = max(sample[3] for sample in samples)
        rows.append(
            (name, arguments.texts, round(took_s), *(round(mb) for mb in samples[-1][2:]), round(peak))
        )
    columns = ("variant", "texts", "s", "server MB", "worker MB", "worker's most MB")
    return Report("embedding-memory", columns, rows, bars, {"machine": processes.machine()})


def requests(arguments: argparse.Namespace, model: str) -> Iterator[bytes]:
    """As many texts as are wanted in requests of very different sizes; three in four are short."""
    rng = random.Random(f"{arguments.rng} memory")
    texts = Texts(rng)
    left = arguments.texts
    while left > 0:
        n = min(left, rng.choice(SIZES))
        left -= n
        n_short = n * 3 // 4
        yield request(model, [*texts.mixed(n - n_short), *texts.short(n_short)])


async def _load(arguments: argparse.Namespace, model: str, server: Server) -> list[Sample]:
    bodies = requests(arguments, model)
    samples: list[Sample] = []

    async def client() -> None:
        connection = await Connection.open(server.port)
        for body in bodies:
            await connection.ask(body)
        connection.close()

    watching = asyncio.create_task(_watch(server, samples))
    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return samples


async def _watch(server: Server, samples: list[Sample]) -> None:
    while True:
        workers = processes.worker_pids(server.pid)
        if workers:
            sizes = processes.rss_mb(server.pid), processes.rss_mb(workers[0])
            samples.append((time.perf_counter(), workers[0], *sizes))
            if len(samples) % 60 == 0:
                print(f"bench: server {sizes[0]:.0f} MB, worker {sizes[1]:.0f} MB", file=sys.stderr)
        await asyncio.sleep(SAMPLE_S)
