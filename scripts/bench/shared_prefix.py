"""Sixteen requests at once that begin with the same text: first when nobody has seen it, then again.

Cold: the shared beginning is new in every round. Warm: the same beginning, new endings.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Mapping

from scripts.bench import duel, models
from scripts.bench.loadgen import quantile_ms
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server
from scripts.bench.vocabulary import Words, words_of

CONTEXT = 16384
N_OWN_WORDS = 20
BARS = {"cold s": 1 / 5, "cold first ms": 1 / 7, "warm s": 1.0, "warm first ms": 1.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    duel.add_arguments(parser, models=["half"], rounds=3)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--prefix", type=int, default=755, help="tokens that all prompts begin with")
    parser.add_argument("--max-tokens", type=int, default=32)


def run(arguments: argparse.Namespace) -> Report:
    turns: list[duel.Turn] = []
    bars: list[Bar] = []
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        words = words_of(model)
        with duel.pair(arguments, model, context=CONTEXT, parallel=arguments.streams) as sides:

            def act(server: Server, number: int, words: Words = words) -> Mapping[str, float]:
                return asyncio.run(_act(arguments, words, server, number))

            found = duel.play(model.stem, sides, arguments.rounds, act)
            turns += found
            first, second = (side.name for side in sides)
            bars += [
                Bar(
                    f"{model.stem}: {figure}, ratio",
                    duel.ratio(found, figure, first, second),
                    "at most",
                    bound,
                )
                for figure, bound in BARS.items()
            ]
    facts = {"context": CONTEXT, "streams": arguments.streams, "prefix_tokens": arguments.prefix}
    return duel.report("shared-prefix", turns, bars, arguments, **facts)


async def _act(arguments: argparse.Namespace, words: Words, server: Server, number: int) -> dict[str, float]:
    rng = random.Random(f"shared-prefix {number}")
    prefix = words.prose(rng, arguments.prefix)
    figures: dict[str, float] = {}
    failed = 0
    for phase in ("cold", "warm"):
        prompts = [prefix + words.prose(rng, N_OWN_WORDS) for _ in range(arguments.streams)]
        requests = [duel.body_of(prompt=prompt, max_tokens=arguments.max_tokens) for prompt in prompts]
        start_s = time.perf_counter()
        replies = await asyncio.gather(*(duel.ask(server, request) for request in requests))
        figures[f"{phase} s"] = round(time.perf_counter() - start_s, 3)
        failed += duel.check(server, replies)
        firsts = [reply.first_s for reply in replies if reply.first_s is not None]
        figures[f"{phase} first ms"] = quantile_ms(firsts, 0.5)
        figures[f"{phase} cached"] = duel.cached_tokens(replies)
    return {**figures, "failed": failed}
