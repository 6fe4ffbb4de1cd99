"""Completion tokens per second beside llama-server: same model file, same slots, same requests, turn about.

Both servers are up all the time and an idle one costs nothing; in every round each gets the same prompts,
and who goes first alternates, so that a drift of the machine hits both. The figure is the median of the
rounds' ratios.
"""

import argparse
import asyncio
import statistics
import sys
from dataclasses import dataclass
from typing import Any

from scripts.bench import duel, loadgen, models, processes, servers
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report

CONTEXT = 16384
N_WORDS, MAX_TOKENS, WARM_UP_TOKENS = 52, 64, 8
SAMPLING: dict[str, dict[str, Any]] = {
    "default": {},
    "equal": {"top_k": 40, "top_p": 0.95, "min_p": 0.05},
}
REQUESTS_PER_STREAM = {
    "half": {1: 3, 4: 2, 16: 1, 32: 1},
    "small": {1: 16, 4: 16, 16: 8, 32: 5},
}
BARS = {
    **{("half", streams): 1.0 for streams in (1, 4, 16, 32)},
    **{("small", streams): 1.1 for streams in (4, 16, 32)},
}
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
    duel.add_arguments(parser, models=["half", "small"], rounds=3)
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 4, 16, 32])
    parser.add_argument("--sampling", nargs="+", choices=list(SAMPLING), default=list(SAMPLING))


def run(arguments: argparse.Namespace) -> Report:
    runs: list[Run] = []
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        for streams in arguments.streams:
            with duel.pair(arguments, model, context=CONTEXT, parallel=streams) as sides:
                for sampling in arguments.sampling:
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
        for first, second in (_in_order(turns, runs[0].side) for turns in by_round.values())
    )


def _in_order(turns: list[Run], first: str) -> list[Run]:
    return sorted(turns, key=lambda one: one.side != first)


def bars(ratios: dict[Case, float]) -> list[Bar]:
    """The ratios that have a bound."""
    return [
        Bar(
            f"{case.model}, {case.sampling} sampling, {case.streams} streams: ratio", value, "at least", bound
        )
        for case, value in ratios.items()
        if (bound := BARS.get((case.model, case.streams))) is not None
    ]


def _measure(case: Case, sides: list[servers.Server], rounds: int) -> list[Run]:
    per_stream = REQUESTS_PER_STREAM.get(case.model, REQUESTS_PER_STREAM["half"]).get(case.streams, 2)
    found = []
    for server in sides:
        _turn(case, server, 0, case.streams, WARM_UP_TOKENS)
    for number in range(1, rounds + 1):
        for server in sides if number % 2 else reversed(sides):
            found.append(_turn(case, server, number, case.streams * per_stream))
        rates = {one.side: one.figures.tokens_per_s for one in found[-2:]}
        print(
            f"bench: {case.model}, {case.sampling}, {case.streams} streams, round {number}: {rates}",
            file=sys.stderr,
            flush=True,
        )
    return found


def _turn(
    case: Case, server: servers.Server, number: int, n_requests: int, max_tokens: int = MAX_TOKENS
) -> Run:
    work = loadgen.Work(
        n_requests, case.streams, N_WORDS, max_tokens, rng=number, extra=SAMPLING[case.sampling]
    )
    watch = processes.CpuWatch(server.pid)
    replies, wall_s = asyncio.run(loadgen.load(servers.HOST, server.port, work))
    cpu = watch.stop()
    figures = loadgen.figures(replies, wall_s)
    if not figures.n_complete:
        raise Problem(f"{server.name} answered no request: {figures.first_error}; its log: {server.log}")
    return Run(case, number, server.name, figures, cpu)


def _facts(arguments: argparse.Namespace, runs: list[Run], ratios: dict[Case, float]) -> dict[str, Any]:
    disturbed = sum(one.cpu.foreign_share > duel.QUIET for one in runs)
    if disturbed:
        print(
            f"bench: other programs took over {duel.QUIET:.0%} of the processors in {disturbed} runs",
            file=sys.stderr,
        )
    named = {f"{c.model} {c.sampling} {c.streams}": round(value, 4) for c, value in ratios.items()}
    for name, value in named.items():
        print(f"bench: median ratio {name}: {value}", file=sys.stderr)
    settings = {
        "context": CONTEXT,
        "parallel": "as many as streams",
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "kv": arguments.kv,
        "options": arguments.options,
        "rival_flags": arguments.rival_flags,
    }
    return {"ratios": named, "disturbed_runs": disturbed, **settings, "machine": processes.machine()}
