"""What long prompts do to streams that are running: gaps between their tokens, and the prompts' first token.

Four streams write words; when all of them run, three prompts of 1200 words arrive together. Gaps count from
then until the last of the three has its first token; then everybody hangs up. The streams are made to write
whole words (`logit_bias`), so that every token shows at once.
"""

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Mapping, Sequence

from scripts.bench import duel, models
from scripts.bench.loadgen import quantile_ms
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server
from scripts.bench.sse import Reply
from scripts.bench.vocabulary import Words, words_of

CONTEXT, PARALLEL = 16384, 8
RUNNING_S = 1.0
P99_MS, MAX_MS, FIRST_RATIO = 300.0, 600.0, 1.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    duel.add_arguments(parser, models=["half"], rounds=3)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=400, help="of each stream")
    parser.add_argument("--long", type=int, default=3, help="prompts that arrive together")
    parser.add_argument("--words", type=int, default=1200, help="tokens of each of these")


def run(arguments: argparse.Namespace) -> Report:
    turns: list[duel.Turn] = []
    bars: list[Bar] = []
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        words = words_of(model)
        gaps: dict[str, list[float]] = {}
        with duel.pair(arguments, model, context=CONTEXT, parallel=PARALLEL) as sides:

            def act(
                server: Server, number: int, words: Words = words, gaps: dict[str, list[float]] = gaps
            ) -> Mapping[str, float]:
                figures, found = asyncio.run(_act(arguments, words, server, number))
                gaps.setdefault(server.name, []).extend(found)
                return figures

            found = duel.play(model.stem, sides, arguments.rounds, act)
        turns += found
        bars += judge(model.stem, found, gaps, *(side.name for side in sides))
    facts = {"context": CONTEXT, "parallel": PARALLEL, "streams": arguments.streams, "long": arguments.long}
    return duel.report("stalls", turns, bars, arguments, **facts)


def judge(
    model: str, turns: Sequence[duel.Turn], gaps: Mapping[str, Sequence[float]], first: str, second: str
) -> list[Bar]:
    """The bars, over the gaps of all rounds together."""
    firsts = duel.ratio(turns, "first ms", first, second)
    return [
        Bar(
            f"{model}: gap, 99th percentile of all rounds",
            quantile_ms(gaps[first], 0.99),
            "at most",
            P99_MS,
            "ms",
        ),
        Bar(f"{model}: longest gap of all rounds", quantile_ms(gaps[first], 1.0), "at most", MAX_MS, "ms"),
        Bar(f"{model}: first token of the long prompts, ratio", firsts, "at most", FIRST_RATIO),
    ]


def gaps_between(reply: Reply, start_s: float, end_s: float) -> list[float]:
    """Seconds between neighbouring pieces of text, of the gaps that touch this stretch of time.

    A stream that was still silent at the end counts with the silence so far.
    """
    times = [at for at, event in reply.parsed for c in event.get("choices", ()) if c.get("text")]
    if times and reply.cut and times[-1] < end_s:
        times.append(end_s)
    return [b - a for a, b in itertools.pairwise(times) if b > start_s and a < end_s]


async def _act(
    arguments: argparse.Namespace, words: Words, server: Server, number: int
) -> tuple[dict[str, float], list[float]]:
    rng = random.Random(f"stalls {number}")
    forced = {"temperature": 0.8, "logit_bias": words.forced}
    begun = [asyncio.Event() for _ in range(arguments.streams)]
    over = asyncio.Event()
    running = [
        asyncio.create_task(
            duel.ask(
                server,
                duel.body_of(prompt=words.prose(rng, 20), max_tokens=arguments.max_tokens, **forced),
                on_start=event,
                until=over,
            )
        )
        for event in begun
    ]
    try:
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in begun)), duel.TIMEOUT_S)
        await asyncio.sleep(RUNNING_S)
        start_s = time.perf_counter()
        requests = [
            duel.body_of(prompt=words.prose(rng, arguments.words), max_tokens=1, **forced)
            for _ in range(arguments.long)
        ]
        long = await asyncio.gather(*(duel.ask(server, request) for request in requests))
    except TimeoutError:
        raise Problem(f"the streams on {server.name} did not begin; its log: {server.log}") from None
    finally:
        over.set()
        streams = await asyncio.gather(*running)
    failed = duel.check(server, long) + sum(not (reply.cut or reply.complete) for reply in streams)
    firsts = [reply.first_s for reply in long if reply.first_s is not None]
    end_s = max(reply.sent_s + (reply.first_s or 0.0) for reply in long)
    gaps = [gap for reply in streams for gap in gaps_between(reply, start_s, end_s)]
    quantiles = {f"gap p{q:g}": quantile_ms(gaps, q / 100) for q in (50, 99)}
    figures = {**quantiles, "gap max": quantile_ms(gaps, 1.0), "first ms": quantile_ms(firsts, 0.5)}
    ended = sum(reply.complete for reply in streams)
    return {**figures, "gaps": len(gaps), "ended early": ended, "failed": failed}, gaps
