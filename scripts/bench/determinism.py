"""What `deterministic: true` costs: our server with and without it, the same streams turn about."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any

from scripts.bench import duel, loadgen, models, servers
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server

CONTEXT = 16384
PARALLEL = 16
N_WORDS = 52
EXACT, FREE = "deterministic", "default"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    duel.add_arguments(parser, models=["half"], rounds=3)
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--max-tokens", type=int, default=64)


def run(arguments: argparse.Namespace) -> Report:
    turns: list[duel.Turn] = []
    ratios: dict[str, float] = {}
    size: dict[str, Any] = {"context": CONTEXT, "parallel": PARALLEL}
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        exact = {"deterministic": True}
        with (
            duel.ours(arguments, model, name=EXACT, spec=exact, **size) as first,
            duel.ours(arguments, model, name=FREE, **size) as second,
        ):
            for streams in arguments.streams:

                def act(server: Server, number: int, streams: int = streams) -> Mapping[str, float]:
                    work = loadgen.Work(
                        streams, streams, n_prompt_words=N_WORDS, max_tokens=arguments.max_tokens, rng=number
                    )
                    return asyncio.run(_act(server, work))

                label = f"{model.stem} {streams}"
                found = duel.play(label, [first, second], arguments.rounds, act)
                turns += found
                ratios[label] = round(duel.ratio(found, "tok/s", EXACT, FREE), 4)
    bars: list[Bar] = []
    return duel.report("determinism", turns, bars, arguments, ratios=ratios)


async def _act(server: Server, work: loadgen.Work) -> dict[str, float]:
    replies, wall_s = await loadgen.load(servers.HOST, server.port, work)
    failed = duel.check(server, replies)
    found = loadgen.figures(replies, wall_s)
    return {"tok/s": found.tokens_per_s, "first ms": found.first_ms_p50, "failed": failed}
