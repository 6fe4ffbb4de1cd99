"""Completion tokens per second beside llama-server: same model file, same slots, same requests, turn about.

Both servers are up all the time and an idle one costs nothing; in every round each gets the same prompts,
and who goes first alternates, so that a drift of the machine hits both. The figure is the median of the
rounds' ratios.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench import loadgen, models, processes, rival, servers
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report

CONTEXT, PARALLEL = 16384, 16
SAMPLING: dict[str, dict[str, Any]] = {
    "default": {},
    "equal": {"top_k": 40, "top_p": 0.95, "min_p": 0.05},
}
REQUESTS_PER_STREAM = {"half": {1: 4, 4: 3, 16: 2}, "small": {1: 16, 4: 16, 16: 12}}
BARS = {("half", 1): 0.97, ("half", 4): 0.97, ("half", 16): 0.97, ("small", 16): 0.9}
QUIET = 0.03
COLUMNS = (
    "model", "sampling", "streams", "round", "side", "tok/s", "first ms p50", "gap ms p50", "gap ms p99",
    "server cpu us/tok", "foreign cpu %", "failed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the result: a model, the sampling parameters that are sent, a number of streams."""

    model: str
    sampling: str
    streams: int


@dataclass(frozen=True, slots=True)
class Run:
    """One server's turn in one round."""

    case: Case
    round: int
    side: str
    figures: loadgen.Figures
    cpu: processes.CpuUse

    def row(self) -> tuple[Any, ...]:
        """The run under COLUMNS."""
        f = self.figures
        cpu_us = round(self.cpu.server_s / max(1, f.n_tokens) * 1e6, 1)
        foreign = round(self.cpu.foreign_share * 100, 1)
        times = (f.first_ms_p50, f.gap_ms_p50, f.gap_ms_p99)
        case = (self.case.model, self.case.sampling, self.case.streams)
        return (*case, self.round, self.side, f.tokens_per_s, *times, cpu_us, foreign, f.n_failed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", nargs="+", default=["half", "small"], help="shapes, or paths of GGUF files"
    )
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--sampling", nargs="+", choices=list(SAMPLING), default=list(SAMPLING))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rival", type=Path, help="a llama-server binary; default: the one in the cache")
    parser.add_argument(
        "--kv",
        choices=["own", "unified", "split"],
        default="own",
        help="the cache: each side's own default, one for all sequences, or a part for each",
    )
    parser.add_argument(
        "--self-test", action="store_true", help="the rival on both sides: what noise looks like"
    )


def run(arguments: argparse.Namespace) -> Report:
    binary = rival.find(arguments.cache, arguments.rival)
    runs: list[Run] = []
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        with _sides(arguments, binary, model) as sides:
            for sampling in arguments.sampling:
                for streams in arguments.streams:
                    runs += _measure(Case(model.stem, sampling, streams), sides, arguments.rounds)
    ratios = {case: ratio(runs, case) for case in dict.fromkeys(run.case for run in runs)}
    return Report(
        "throughput", COLUMNS, [run.row() for run in runs], bars(ratios), _facts(arguments, runs, ratios)
    )


def ratio(runs: list[Run], case: Case) -> float:
    """Median over the rounds of the first side's rate divided by the second's; 0 if a request failed."""
    by_round: dict[int, list[Run]] = {}
    for one in runs:
        if one.case == case:
            by_round.setdefault(one.round, []).append(one)
    if any(one.figures.n_failed for turns in by_round.values() for one in turns):
        return 0.0
    return statistics.median(
        first.figures.tokens_per_s / second.figures.tokens_per_s
        for first, second in (sorted(turns, key=lambda one: one.side) for turns in by_round.values())
    )


def bars(ratios: dict[Case, float]) -> list[Bar]:
    """The ratios that have a bound."""
    return [
        Bar(
            f"{case.model}, {case.sampling} sampling, {case.streams} streams: ratio", value, "at least", bound
        )
        for case, value in ratios.items()
        if (bound := BARS.get((case.model, case.streams))) is not None
    ]


@contextmanager
def _sides(arguments: argparse.Namespace, binary: Path, model: Path) -> Generator[list[servers.Server]]:
    size: dict[str, int] = {"context": CONTEXT, "parallel": PARALLEL, "threads": arguments.threads}
    spec: dict[str, Any] = {"engine": "llama", "source": str(model), "preload": True, **size}
    cache = arguments.cache
    more = {"own": [], "unified": ["--kv-unified"], "split": ["--no-kv-unified"]}[arguments.kv]
    if arguments.kv != "own":
        spec["options"] = {"kv_unified": arguments.kv == "unified"}
    with servers.rival(binary, model, cache, name="B llama-server", more=more, **size) as second:
        if arguments.self_test:
            with servers.rival(binary, model, cache, name="A llama-server", more=more, **size) as first:
                yield [first, second]
        else:
            with servers.ours(cache, {"bench": spec}, name="A llmatic") as first:
                yield [first, second]


def _measure(case: Case, sides: list[servers.Server], rounds: int) -> list[Run]:
    per_stream = REQUESTS_PER_STREAM.get(case.model, REQUESTS_PER_STREAM["half"]).get(case.streams, 2)
    found = []
    for server in sides:
        _turn(case, server, 0, case.streams)
    for number in range(1, rounds + 1):
        for server in sides if number % 2 else reversed(sides):
            found.append(_turn(case, server, number, case.streams * per_stream))
        rates = {one.side: one.figures.tokens_per_s for one in found[-2:]}
        print(
            f"bench: {case.model}, {case.sampling}, {case.streams} streams, round {number}: {rates}",
            file=sys.stderr,
        )
    return found


def _turn(case: Case, server: servers.Server, number: int, n_requests: int) -> Run:
    work = loadgen.Work(n_requests, case.streams, rng=number, extra=SAMPLING[case.sampling])
    watch = processes.CpuWatch(server.pid)
    replies, wall_s = asyncio.run(loadgen.load(servers.HOST, server.port, work))
    cpu = watch.stop()
    figures = loadgen.figures(replies, wall_s)
    if not figures.n_complete:
        raise Problem(f"{server.name} answered no request: {figures.first_error}; its log: {server.log}")
    return Run(case, number, server.name, figures, cpu)


def _facts(arguments: argparse.Namespace, runs: list[Run], ratios: dict[Case, float]) -> dict[str, Any]:
    disturbed = sum(one.cpu.foreign_share > QUIET for one in runs)
    if disturbed:
        print(
            f"bench: other programs took over {QUIET:.0%} of the processors in {disturbed} runs",
            file=sys.stderr,
        )
    named = {f"{c.model} {c.sampling} {c.streams}": round(value, 4) for c, value in ratios.items()}
    for name, value in named.items():
        print(f"bench: median ratio {name}: {value}", file=sys.stderr)
    settings = {
        "context": CONTEXT,
        "parallel": PARALLEL,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "kv": arguments.kv,
    }
    return {"ratios": named, "disturbed_runs": disturbed, **settings, "machine": processes.machine()}
