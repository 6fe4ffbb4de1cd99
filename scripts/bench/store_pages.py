"""Lists and reads by id at the API, on a store with a million runs and a hundred thousand files.

A real server on SQLite and on a PostgreSQL of its own, asked over HTTP on one connection that stays open,
with a key, by a client that only takes the bytes. Every list with every filter and order: first pages, pages
in the middle and at the end, filters that fit few rows or none. Times are from the first byte of the question
to the last of the answer. In the end what writes cost there (`store_writes`).
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from scripts.bench import keepalive, processes, servers, store_asked, store_fill, store_writes
from scripts.bench.keepalive import Connection
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.store_rows import Sizes
from scripts.bench.store_writes import Writes
from scripts.postgres import BINARIES, own_postgres

SECRET = "a secret that only the benchmark's own server knows"
MOST_MS = {"page": 20.0, "read": 3.0}
MOST_RECORDED_MS = 1.0
# Some memory, and no log of the filling; the rest is as it comes.
POSTGRES_SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
DATABASES = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True)
class Timed:
    """What one address took, in milliseconds. `n_bytes`, `n_items`: of the answer."""

    database: str
    kind: str
    path: str
    n_items: int
    n_bytes: int
    median_ms: float
    worst_ms: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--runs", type=int, default=Sizes().runs, help="default: %(default)s")
    parser.add_argument("--files", type=int, default=Sizes().files, help="default: %(default)s")
    parser.add_argument("--calls", type=int, default=10, help="of each address; default: %(default)s")
    parser.add_argument("--only", default="", help="only addresses that hold this text")
    parser.add_argument(
        "--all", action="store_true", help="show every address, not only the slowest of a kind"
    )


def run(arguments: argparse.Namespace) -> Report:
    sizes = Sizes(runs=arguments.runs, files=arguments.files)
    found: list[Timed] = []
    fill_s: dict[str, float] = {}
    written: dict[str, Writes] = {}
    for database in arguments.databases:
        with TemporaryDirectory(prefix="llmatic-pages-") as folder, _url(database, Path(folder)) as url:
            started_s = time.monotonic()
            key = store_fill.fill(url, SECRET, sizes)
            fill_s[database] = round(time.monotonic() - started_s, 1)
            os.sync()  # else the first lists are asked while the disk still writes
            with serving(arguments.cache, Path(folder), url) as server:
                found += keepalive.run(_asked(database, server.port, key, sizes, arguments))
            if not arguments.only:
                written[database] = store_writes.measure(url, sizes)
    if not found:
        raise Problem(f"no address holds {arguments.only!r}")
    shown = sorted(found, key=lambda timed: (timed.database, timed.kind, -timed.median_ms))
    if not arguments.all:
        shown = [timed for group in _groups(shown) for timed in group[:12]]
    rows = [
        (one.database, one.kind, one.path, one.n_items, one.n_bytes, one.median_ms, one.worst_ms)
        for one in shown
    ]
    columns = ("database", "kind", "address", "items", "bytes", "median ms", "worst ms")
    facts = {
        "machine": processes.machine(),
        "filled in s": fill_s,
        "addresses": len(found),
        "writes": {database: asdict(writes) for database, writes in written.items()},
    }
    bars = [*_bars(found), *_write_bars(written)]
    return Report("store-pages", columns, rows, bars, facts)


@contextmanager
def serving(cache: Path, folder: Path, url: str) -> Generator[servers.Server]:
    """`llmatic serve` on the database, with nothing else."""
    config = folder / "config.yaml"
    store = {"url": url, "folder": str(folder / "data")}
    config.write_text(yaml.safe_dump({"models": {}, "store": store, "auth": {"secret": SECRET}}))
    port = servers.free_port()
    command = [servers.llmatic_command(), "serve", "--config", str(config)]
    command += ["--host", servers.HOST, "--port", str(port)]
    with servers.running("store-pages", command, port, cache, "/healthz") as server:
        yield server


@contextmanager
def _url(database: str, folder: Path) -> Generator[str]:
    if database == "sqlite":
        yield f"sqlite:///{folder}/data/llmatic.db"
        return
    if not BINARIES:
        raise Problem("PostgreSQL is not installed (Debian: apt install postgresql)")
    with own_postgres(POSTGRES_SETTINGS) as server:
        yield server.fresh_url()


async def _asked(
    database: str, port: int, key: str, sizes: Sizes, arguments: argparse.Namespace
) -> list[Timed]:
    connection = await Connection.open(port)
    found = []
    known = await store_asked.prepared(connection, key)
    for asked in store_asked.everything(sizes, known):
        if arguments.only not in asked.path:
            continue
        request = asked.request(key)
        waits = []
        reply = b""
        for _ in range(arguments.calls):
            started_s = time.perf_counter()
            reply = await connection.ask(request)
            waits.append((time.perf_counter() - started_s) * 1e3)
        middle, worst = round(statistics.median(waits), 2), round(max(waits), 2)
        n_items = _n_items(reply) if asked.kind == "page" else 1
        found.append(Timed(database, asked.kind, asked.shown, n_items, len(reply), middle, worst))
    connection.close()
    return found


def _n_items(reply: bytes) -> int:
    page: Any = json.loads(reply)
    return len(page if isinstance(page, list) else page["data"])


def _groups(found: Sequence[Timed]) -> Iterable[list[Timed]]:
    for key in dict.fromkeys((timed.database, timed.kind) for timed in found):
        yield [timed for timed in found if (timed.database, timed.kind) == key]


def _bars(found: Sequence[Timed]) -> Iterable[Bar]:
    for group in _groups(found):
        slowest = max(group, key=lambda timed: timed.median_ms)
        what = f"{slowest.database}, slowest {slowest.kind} ({slowest.path}): median"
        yield Bar(what, slowest.median_ms, "at most", MOST_MS[slowest.kind], "ms")


def _write_bars(written: Mapping[str, Writes]) -> Iterable[Bar]:
    for database, writes in written.items():
        what = f"{database}, a run recorded in a group of {store_writes.GROUP}: median"
        yield Bar(what, writes.recorded_ms, "at most", MOST_RECORDED_MS, "ms")
