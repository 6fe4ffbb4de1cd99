"""Two servers with the same model, turn about: what the commands that compare with llama-server share.

Owns how both are started, who goes first, and the arithmetic of ratios. What a turn does is the command's.
Both servers are up all the time, and an idle one costs nothing; a drift of the machine hits both.
"""

import argparse
import asyncio
import json
import math
import shlex
import statistics
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench import processes, rival, servers
from scripts.bench.problem import Problem
from scripts.bench.report import Report
from scripts.bench.servers import Server
from scripts.bench.sse import Reply, exchange, http_request

OURS, RIVAL = "llmatic", "llama-server"
QUIET = 0.03
TIMEOUT_S = 300.0
Act = Callable[[Server, int], Mapping[str, float]]
KV_FLAGS: dict[str, list[str]] = {"own": [], "unified": ["--kv-unified"], "split": ["--no-kv-unified"]}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one server did in one round; `foreign`: the share of the processors that other programs took."""

    model: str
    round: int
    side: str
    figures: Mapping[str, float]
    foreign: float

    @property
    def failed(self) -> bool:
        """True if a request failed: then no figure of the turn counts."""
        return self.figures.get("failed", 0) > 0


def add_arguments(parser: argparse.ArgumentParser, *, models: Sequence[str], rounds: int) -> None:
    parser.add_argument(
        "--models", nargs="+", default=list(models), help="shapes, or GGUF files; default: %(default)s"
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rival", type=Path, help="a llama-server binary; default: the one in the cache")
    parser.add_argument("--rival-flags", type=shlex.split, default=[], help="more options of llama-server")
    parser.add_argument(
        "--kv",
        choices=list(KV_FLAGS),
        default="own",
        help="the cache: each side's own default, one for all sequences, or a part for each",
    )
    parser.add_argument(
        "--options", type=json.loads, default={}, help="more engine options of llmatic, as a JSON object"
    )
    parser.add_argument(
        "--self-test", action="store_true", help="llama-server on both sides: what noise looks like"
    )


@contextmanager
def ours(
    arguments: argparse.Namespace,
    model: Path,
    *,
    context: int,
    parallel: int,
    options: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    name: str = OURS,
) -> Generator[Server]:
    """Our server with `model` as "bench"; `spec`: more keys of the model in config.yaml."""
    kv = {} if arguments.kv == "own" else {"kv_unified": arguments.kv == "unified"}
    whole: dict[str, Any] = {
        "engine": "llama",
        "source": str(model),
        "preload": True,
        "context": context,
        "parallel": parallel,
        "threads": arguments.threads,
        "max_queue": 1024,
        **(spec or {}),
        "options": {**kv, **(options or {}), **arguments.options},
    }
    with servers.ours(arguments.cache, {"bench": whole}, name=name) as server:
        yield server


@contextmanager
def theirs(
    arguments: argparse.Namespace,
    model: Path,
    *,
    context: int,
    parallel: int,
    flags: Sequence[str] = (),
    name: str = RIVAL,
) -> Generator[Server]:
    """llama-server with `model`, as many cells, slots and threads, and its own defaults otherwise."""
    binary = rival.find(arguments.cache, arguments.rival)
    more = [*KV_FLAGS[arguments.kv], *flags, *arguments.rival_flags]
    size = {"context": context, "parallel": parallel, "threads": arguments.threads}
    with servers.rival(binary, model, arguments.cache, name=name, more=more, **size) as server:
        yield server


@contextmanager
def pair(
    arguments: argparse.Namespace,
    model: Path,
    *,
    context: int,
    parallel: int,
    options: Mapping[str, Any] | None = None,
    flags: Sequence[str] = (),
) -> Generator[list[Server]]:
    """Ours and llama-server (with `--self-test`: llama-server twice), in this order."""
    size: dict[str, Any] = {"context": context, "parallel": parallel}
    with theirs(arguments, model, flags=flags, **size) as second:
        if arguments.self_test:
            with theirs(arguments, model, flags=flags, name=f"{RIVAL} again", **size) as first:
                yield [first, second]
        else:
            with ours(arguments, model, options=options, **size) as first:
                yield [first, second]


def play(label: str, sides: Sequence[Server], rounds: int, act: Act) -> list[Turn]:
    """Every side's turn in every round, from 1; who goes first alternates. Tells of each round."""
    turns = []
    for server in sides:
        warm_up(server)
    for number in range(1, rounds + 1):
        for server in sides if number % 2 else list(reversed(sides)):
            watch = processes.CpuWatch(server.pid)
            figures = act(server, number)
            turns.append(Turn(label, number, server.name, figures, watch.stop().foreign_share))
        words = "; ".join(f"{one.side} {_words(one.figures)}" for one in turns[-len(sides) :])
        print(f"bench: {label}, round {number} of {rounds}: {words}", file=sys.stderr, flush=True)
    return turns


def ratio(turns: Iterable[Turn], figure: str, first: str, second: str) -> float:
    """Median over the rounds of the first side's figure divided by the second's; NaN if a request failed."""
    by_round: dict[int, dict[str, Turn]] = {}
    for turn in turns:
        by_round.setdefault(turn.round, {})[turn.side] = turn
    couples = [(sides[first], sides[second]) for sides in by_round.values() if {first, second} <= set(sides)]
    if not couples or any(one.failed or other.failed for one, other in couples):
        return math.nan
    return statistics.median(
        one.figures[figure] / other.figures[figure] if other.figures[figure] else math.nan
        for one, other in couples
    )


def median(turns: Iterable[Turn], figure: str, side: str) -> float:
    """The median over the rounds of one side's figure; NaN if a request failed."""
    mine = [turn for turn in turns if turn.side == side]
    if not mine or any(turn.failed for turn in mine):
        return math.nan
    return statistics.median(turn.figures[figure] for turn in mine)


def report(
    name: str, turns: Sequence[Turn], bars: Iterable[Any], arguments: argparse.Namespace, **facts: Any
) -> Report:
    """The turns as a table, with what a reader needs to judge them."""
    names = list(dict.fromkeys(figure for turn in turns for figure in turn.figures))
    rows = [
        (
            *(turn.model, turn.round, turn.side),
            *(turn.figures.get(figure, "") for figure in names),
            round(turn.foreign * 100, 1),
        )
        for turn in turns
    ]
    disturbed = sum(turn.foreign > QUIET for turn in turns)
    if disturbed:
        print(
            f"bench: other programs took over {QUIET:.0%} of the processors {disturbed} times",
            file=sys.stderr,
        )
    common = {
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "kv": arguments.kv,
        "options": arguments.options,
        "rival_flags": arguments.rival_flags,
        "self_test": arguments.self_test,
        "disturbed_turns": disturbed,
        "machine": processes.machine(),
    }
    columns = ("model", "round", "side", *names, "foreign cpu %")
    return Report(name, columns, rows, list(bars), {**facts, **common})


def body_of(**fields: Any) -> bytes:
    """A request to /v1/completions: streaming, endless and greedy unless `fields` say otherwise."""
    body: dict[str, Any] = {
        "model": "bench",
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    body |= fields
    if not body["stream"]:
        del body["stream_options"]
    return http_request("/v1/completions", json.dumps(body).encode(), servers.HOST, "x")


async def ask(server: Server, request: bytes, **how: Any) -> Reply:
    """Send it and collect the reply; `how` as `sse.exchange` takes it."""
    return await exchange(servers.HOST, server.port, request, **{"timeout_s": TIMEOUT_S, **how})


def warm_up(server: Server) -> None:
    """A short request, so that the first round finds memory and code in use."""
    request = body_of(prompt="to warm up", max_tokens=4, ignore_eos=False)
    reply = asyncio.run(ask(server, request))
    if reply.status != 200:
        raise Problem(f"{server.name} answered nothing: {reply.error}; its log: {server.log}")


def check(server: Server, replies: Sequence[Reply]) -> int:
    """How many streams failed; raises Problem if all did."""
    failed = [reply for reply in replies if not reply.complete]
    for reply in failed[:2]:
        print(f"bench: {server.name}: {reply.error}", file=sys.stderr)
    if len(failed) == len(replies):
        raise Problem(f"{server.name} answered no request: {failed[0].error}; its log: {server.log}")
    return len(failed)


def cached_tokens(replies: Iterable[Reply]) -> int:
    """Prompt tokens that the server says it had not to compute."""
    return sum(
        (reply.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        for reply in replies
        if reply.complete
    )


def _words(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
