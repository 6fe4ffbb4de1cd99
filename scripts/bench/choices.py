"""Eight answers to one prompt of 800 tokens, by `n` and as eight requests at once.

Ours always gets `n`. llama-server gets one turn with `n` (which it takes since its tasks have children) and
one in the way of servers that have no `n`: eight requests with the same prompt at the same time.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping

from scripts.bench import duel, models
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server
from scripts.bench.sse import Reply
from scripts.bench.vocabulary import Words, words_of

CONTEXT, PARALLEL = 16384, 16
BARS = {"requests s": 1 / 4, "n s": 1.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    duel.add_arguments(parser, models=["half"], rounds=3)
    parser.add_argument("--choices", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=800, help="tokens of the prompt")
    parser.add_argument("--max-tokens", type=int, default=32)


def run(arguments: argparse.Namespace) -> Report:
    turns: list[duel.Turn] = []
    bars: list[Bar] = []
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        words = words_of(model)
        with duel.pair(arguments, model, context=CONTEXT, parallel=PARALLEL) as sides:
            first, second = (side.name for side in sides)

            def act(
                server: Server, number: int, words: Words = words, first: str = first
            ) -> Mapping[str, float]:
                return asyncio.run(_act(arguments, words, server, number, is_first=server.name == first))

            found = duel.play(model.stem, sides, arguments.rounds, act)
        turns += found
        bars += [
            Bar(f"{model.stem}: n against {what}", duel.ratio(found, figure, first, second), "at most", bound)
            for figure, what in (("requests s", "as many requests"), ("n s", "n"))
            if (bound := BARS[figure])
        ]
    facts = {"context": CONTEXT, "parallel": PARALLEL, "choices": arguments.choices}
    return duel.report("choices", turns, bars, arguments, **facts)


async def _act(
    arguments: argparse.Namespace, words: Words, server: Server, number: int, *, is_first: bool
) -> dict[str, float]:
    """Seconds by `n` and by requests; the first side answers by `n` in both, each time a new prompt."""
    rng = random.Random(f"choices {number}")
    figures: dict[str, float] = {}
    failed = 0
    for way in ("n s", "requests s"):
        prompt = words.prose(rng, arguments.prompt)
        by_n = is_first or way == "n s"
        n_requests, n_each = (1, arguments.choices) if by_n else (arguments.choices, 1)
        fields = {"prompt": prompt, "max_tokens": arguments.max_tokens, "temperature": 0.8, "stream": False}
        requests = [duel.body_of(**fields, n=n_each) for _ in range(n_requests)]
        start_s = time.perf_counter()
        replies = await asyncio.gather(*(duel.ask(server, request) for request in requests))
        figures[way] = round(time.perf_counter() - start_s, 3)
        wrong = [reply for reply in replies if n_choices(reply) != n_each]
        for reply in wrong[:1]:
            print(f"bench: {server.name}, {way}: {reply.error or reply.body[:200]!r}", file=sys.stderr)
        failed += len(wrong)
    return {**figures, "failed": failed}


def n_choices(reply: Reply) -> int:
    """How many answers a reply that was not streamed holds; 0 for one that failed."""
    if reply.status != 200 or reply.error is not None:
        return 0
    try:
        choices = json.loads(reply.body).get("choices", [])
    except ValueError:
        return 0
    return sum(bool(choice.get("finish_reason")) for choice in choices)
