"""Mixed load for a long time on the smallest model: nothing is lost, memory stays flat, nothing stays behind.

Clients send prompts that are shared, half shared and their own, with several choices, tiers, names and salts,
streamed and not; some hang up, some lose patience before the first word. In the first half the worker is
killed now and then. Memory is judged over the second half, in which nothing is killed.
"""

import argparse
import asyncio
import http.client
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.bench import duel, models, processes, servers
from scripts.bench.choices import n_choices
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server
from scripts.bench.sse import Reply
from scripts.bench.vocabulary import Words, words_of

CONTEXT, PARALLEL = 8192, 8
CACHE_RAM = 64 * 2**20
CACHE_DISK = 64 * 2**20
FLAT_MB = 24.0
SAMPLE_S = 2.0
RECOVERY_S = 5.0
TOLD_WITHIN_S = 2.0
N_LOST_SHOWN = 20
SETTLE_S = 20.0
PATIENCE_S = 120.0
KILLS_UNTIL = 0.5
COLUMNS = ("minute", "answered", "cancelled", "told of a kill", "lost", "server MB", "worker MB", "cached %")


@dataclass
class Tally:
    """What became of the requests, and what was seen meanwhile. Times are perf_counter seconds."""

    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    memory: list[tuple[float, int, float, float]] = field(default_factory=list)
    n_prompt: int = 0
    n_cached: int = 0


@dataclass(frozen=True)
class Wish:
    """A request and what its client does: `cut_after` events or `patience_s` it hangs up."""

    kind: str
    request: bytes
    n_choices: int
    is_stream: bool
    cut_after: int | None = None
    patience_s: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", default=["small"], help="shapes, or GGUF files")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--kills", type=int, default=6, help="of the worker, all in the first half")
    parser.add_argument("--adapters", nargs="*", type=Path, default=[], help="LoRA files, one model each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rng", type=int, default=1)
    parser.add_argument("--options", type=json.loads, default={}, help="more engine options, as JSON")


def run(arguments: argparse.Namespace) -> Report:
    rows: list[tuple[Any, ...]] = []
    bars: list[Bar] = []
    facts: dict[str, Any] = {}
    for name in arguments.models:
        source = models.find(name, arguments.cache)
        with servers.ours(arguments.cache, _config(arguments, source)) as server:
            tally, left = asyncio.run(_soak(arguments, words_of(source), server))
        rows += minutes(tally)
        bars += judge(source.stem, tally, left)
        if tally.lost:
            print(f"bench: the server's log: {server.log}", file=sys.stderr)
        facts[source.stem] = {"ends": dict(tally.ends), "kinds": dict(tally.kinds), "left": left}
    common = {"minutes": arguments.minutes, "clients": arguments.clients, "machine": processes.machine()}
    return Report("soak", COLUMNS, rows, bars, facts | common)


def judge(model: str, tally: Tally, left: Mapping[str, float]) -> list[Bar]:
    """The bars: what was lost, what grew in the second half, what was left running."""
    server_mb, worker_mb = growth_mb(tally.memory)
    return [
        Bar(f"{model}: requests lost", len(tally.lost), "at most", 0),
        Bar(f"{model}: requests answered", tally.ends["answered"], "at least", 1),
        Bar(f"{model}: growth of the server in the second half", server_mb, "at most", FLAT_MB, "MB"),
        Bar(f"{model}: growth of the worker in the second half", worker_mb, "at most", FLAT_MB, "MB"),
        *(Bar(f"{model}: {name} in the end", value, "at most", 0) for name, value in left.items()),
    ]


def growth_mb(memory: Sequence[tuple[float, int, float, float]]) -> tuple[float, float]:
    """MB by which server and worker grew over the second half, along a fitted line; NaN if there is none.

    Of the worker only the life in which the run ended counts.
    """
    if not memory:
        return float("nan"), float("nan")
    middle = (memory[0][0] + memory[-1][0]) / 2
    late = [sample for sample in memory if sample[0] >= middle]
    last_life = [sample for sample in late if sample[1] == late[-1][1]]
    return _rise([(s[0], s[2]) for s in late]), _rise([(s[0], s[3]) for s in last_life])


def _rise(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the least squares line, times the stretch."""
    if len(points) < 3:
        return float("nan")
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return slope * (points[-1][0] - points[0][0])


def end_of(wish: Wish, reply: Reply, kills: Sequence[float]) -> str:
    """answered, cancelled, told (of a killed worker) or lost."""
    if wish.is_stream and reply.complete and reply.parsed:
        ended = {
            choice["index"]
            for _, event in reply.parsed
            for choice in event.get("choices", ())
            if choice.get("finish_reason")
        }
        return "answered" if len(ended) == wish.n_choices else "lost"
    if not wish.is_stream and n_choices(reply) == wish.n_choices:
        return "answered"
    if reply.cut or (wish.patience_s is not None and (reply.error or "").startswith("no end within")):
        return "cancelled"
    return "told" if any(is_told(reply, kill) for kill in kills) else "lost"


def is_told(reply: Reply, kill_s: float) -> bool:
    """Whether the reply is the error that a kill at this time explains.

    That is an error event, or a 503 with an error object, soon after a kill amid the request; or such a 503
    for a request that came while the next worker was being started.
    """
    if reply.status == 503 and b'"error"' in reply.body:
        return kill_s <= reply.end_s and reply.sent_s <= kill_s + RECOVERY_S
    is_event = not reply.done and bool(reply.events) and "error" in reply.parsed[-1][1]
    return is_event and reply.sent_s <= kill_s <= reply.end_s <= kill_s + TOLD_WITHIN_S


def wishes(rng: random.Random, words: Words, names: Sequence[str]) -> Wish:
    """The next request of a client."""
    kind = rng.choices(
        ("own", "shared", "half shared", "choices", "cut", "impatient", "long"), (4, 5, 3, 2, 3, 1, 1)
    )[0]
    prompt = words.prose(rng, rng.randint(5, 300))
    if kind in ("shared", "half shared", "choices"):
        beginning = words.prose(random.Random(f"soak {rng.randrange(6)}"), 400)
        n_kept = 400 if kind != "half shared" else rng.randint(50, 350)
        prompt = "".join(f" {word}" for word in beginning.split()[:n_kept]) + words.prose(
            rng, rng.randint(5, 40)
        )
    elif kind == "long":
        prompt = words.prose(rng, rng.randint(1000, 3000))
    n = rng.randint(2, 4) if kind == "choices" else 1
    is_stream = kind in ("cut", "impatient") or rng.random() < 0.8
    fields: dict[str, Any] = {
        "model": rng.choice(names),
        "prompt": prompt,
        "max_tokens": rng.choice((1, 8, 32, 64, 128)),
        "temperature": rng.choice((0, 0.7, 1.0)),
        "stream": is_stream,
        "n": n,
        "service_tier": rng.choice(("default", "default", "flex", "priority")),
        "user": f"user {rng.randrange(4)}",
    }
    if rng.random() < 0.2:
        fields["cache_salt"] = f"salt {rng.randrange(2)}"
    if rng.random() < 0.2:
        fields["prompt_cache_key"] = f"key {rng.randrange(3)}"
    if rng.random() < 0.1:
        fields["prompt_cache_retention"] = rng.choice(("in_memory", "24h"))
    cut_after = rng.randint(1, 20) if kind == "cut" else None
    patience_s = rng.uniform(0.001, 0.3) if kind == "impatient" else None
    return Wish(kind, duel.body_of(**fields), n, is_stream, cut_after, patience_s)


def minutes(tally: Tally) -> list[tuple[Any, ...]]:
    """One row under COLUMNS: the whole run."""
    if not tally.memory:
        return []
    took_min = (tally.memory[-1][0] - tally.memory[0][0]) / 60
    ends = [tally.ends[name] for name in ("answered", "cancelled", "told", "lost")]
    cached = tally.n_cached / max(1, tally.n_prompt) * 100
    return [
        (round(took_min, 1), *ends, *(round(mb, 1) for mb in tally.memory[-1][2:]), round(cached, 1)),
    ]


def _config(arguments: argparse.Namespace, source: Path) -> dict[str, dict[str, Any]]:
    folder = arguments.cache / "soak-prompts"
    shutil.rmtree(folder, ignore_errors=True)
    options = {"cache_ram": CACHE_RAM, "cache_disk": CACHE_DISK, "cache_dir": str(folder)}
    whole: dict[str, Any] = {
        "engine": "llama",
        "source": str(source),
        "preload": True,
        "context": CONTEXT,
        "parallel": PARALLEL,
        "threads": arguments.threads,
        "options": options | arguments.options,
    }
    config = {"bench": whole}
    for number, adapter in enumerate(arguments.adapters):
        config[f"bench-{number}"] = {"base": "bench", "adapters": [str(adapter.resolve())]}
    return config


async def _soak(
    arguments: argparse.Namespace, words: Words, server: Server
) -> tuple[Tally, dict[str, float]]:
    tally = Tally()
    names = ["bench", *(f"bench-{number}" for number in range(len(arguments.adapters)))]
    start_s = time.perf_counter()
    end_s = start_s + arguments.minutes * 60
    stop = asyncio.Event()
    clients = [
        _client(random.Random(f"{arguments.rng} {number}"), words, names, server, tally, end_s)
        for number in range(arguments.clients)
    ]
    watchers = [
        asyncio.create_task(_watch(server, tally, stop)),
        asyncio.create_task(_kill(arguments, server, tally, start_s)),
    ]
    try:
        await asyncio.gather(*clients)
    finally:
        stop.set()
        await asyncio.gather(*watchers)
    return tally, await _left(server)


async def _client(
    rng: random.Random, words: Words, names: Sequence[str], server: Server, tally: Tally, end_s: float
) -> None:
    while time.perf_counter() < end_s:
        wish = wishes(rng, words, names)
        how = {"cut_after": wish.cut_after, "timeout_s": wish.patience_s or PATIENCE_S}
        reply = await duel.ask(server, wish.request, **how)
        end = end_of(wish, reply, tally.kills)
        tally.ends[end] += 1
        tally.kinds[wish.kind] += 1
        if end == "answered" and wish.is_stream:
            tally.n_prompt += reply.usage.get("prompt_tokens", 0)
            tally.n_cached += duel.cached_tokens([reply])
        if end == "lost":
            what = f"{wish.kind}: {reply.error or reply.body[:200]!r}"
            tally.lost.append(what)
            if len(tally.lost) <= N_LOST_SHOWN:
                print(f"bench: lost: {what}", file=sys.stderr, flush=True)
        if end == "told":
            await asyncio.sleep(rng.uniform(0.1, 1.0))  # as clients do before they try again


async def _watch(server: Server, tally: Tally, stop: asyncio.Event) -> None:
    told_s = time.perf_counter()
    while not stop.is_set():
        now = time.perf_counter()
        workers = processes.worker_pids(server.pid)
        if workers:
            sizes = processes.rss_mb(server.pid), processes.rss_mb(workers[0])
            tally.memory.append((now, workers[0], *sizes))
        if now - told_s >= 60 and tally.memory:
            told_s = now
            ends = ", ".join(f"{name} {count}" for name, count in sorted(tally.ends.items()))
            mb = tally.memory[-1]
            print(f"bench: {ends}; server {mb[2]:.0f} MB, worker {mb[3]:.0f} MB", file=sys.stderr, flush=True)
        try:
            await asyncio.wait_for(stop.wait(), SAMPLE_S)
        except TimeoutError:
            continue


async def _kill(arguments: argparse.Namespace, server: Server, tally: Tally, start_s: float) -> None:
    """Kill the worker at even distances in the first half."""
    each_s = arguments.minutes * 60 * KILLS_UNTIL / (arguments.kills + 1)
    for number in range(1, arguments.kills + 1):
        await asyncio.sleep(max(0.0, start_s + number * each_s - time.perf_counter()))
        workers = processes.worker_pids(server.pid)
        if workers:
            tally.kills.append(time.perf_counter())
            os.kill(workers[0], signal.SIGKILL)
            print(f"bench: killed the worker, {number} of {arguments.kills}", file=sys.stderr, flush=True)


async def _left(server: Server) -> dict[str, float]:
    """What the model's status says is still running or waiting, once it had time to end."""
    deadline = time.perf_counter() + SETTLE_S
    while True:
        left = await asyncio.to_thread(_running, server)
        if not any(left.values()) or time.perf_counter() > deadline:
            return left
        await asyncio.sleep(0.5)


def _running(server: Server) -> dict[str, float]:
    """Requests and sequences that run or wait, of /v1/models/bench/status; NaN if it does not tell."""
    connection = http.client.HTTPConnection(servers.HOST, server.port, timeout=10)
    try:
        connection.request("GET", "/v1/models/bench/status", headers={"Authorization": "Bearer x"})
        status: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"bench: no status: {error}", file=sys.stderr)
        status = {}
    finally:
        connection.close()
    return {
        f"{what} {where}": float(status.get(group, {}).get(what, "nan"))
        for group, where in (("running", "running"), ("queue", "waiting"))
        for what in ("requests", "sequences")
    }
