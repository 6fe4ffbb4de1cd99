"""One stream that rewrites a passage: with and without lookup drafts, and llama-server with its best n-grams.

The model "copycat" writes on from the last token along a cycle of words, at the cost of a model of its shape;
the prompt holds a piece of that cycle in which a share of the words was changed. So nearly all of the answer
stands in the prompt, and at every change the drafts are wrong. Every answer is compared with the cycle.
llama-server first tries its ways to draft from n-grams once each, and goes on with the fastest.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts.bench import copycat, duel, models
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server
from scripts.bench.vocabulary import Words, words_of

CONTEXT, PARALLEL = 16384, 4
LOOKUP, OFF = f"{duel.OURS} lookup", f"{duel.OURS} off"
AGAINST_RIVAL, AGAINST_OFF = 1.0, 1.5
VARIANTS = {
    "simple": "--spec-type ngram-simple",
    "simple 4/16": "--spec-type ngram-simple --spec-ngram-simple-size-n 4 --spec-ngram-simple-size-m 16",
    "simple 4/48": "--spec-type ngram-simple --spec-ngram-simple-size-n 4 --spec-ngram-simple-size-m 48",
    "map-k": "--spec-type ngram-map-k",
    "map-k 4/16": "--spec-type ngram-map-k --spec-ngram-map-k-size-n 4 --spec-ngram-map-k-size-m 16",
    "map-k 4/48": "--spec-type ngram-map-k --spec-ngram-map-k-size-n 4 --spec-ngram-map-k-size-m 48",
    "map-k4v 4/16": "--spec-type ngram-map-k4v --spec-ngram-map-k4v-size-n 4 --spec-ngram-map-k4v-size-m 16",
    "mod": "--spec-type ngram-mod",
    "mod 4/4/16": "--spec-type ngram-mod --spec-ngram-mod-n-match 4 --spec-ngram-mod-n-min 4"
    " --spec-ngram-mod-n-max 16",
    "cache 16": "--spec-type ngram-cache --spec-draft-n-max 16",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    duel.add_arguments(parser, models=["copycat"], rounds=3)
    parser.add_argument("--passage", type=int, default=400, help="tokens of the passage in the prompt")
    parser.add_argument("--changed", type=float, default=0.03, help="share of its words that were changed")
    parser.add_argument("--max-tokens", type=int, default=384)
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="of llama-server"
    )


def run(arguments: argparse.Namespace) -> Report:
    turns: list[duel.Turn] = []
    bars: list[Bar] = []
    chosen: dict[str, str] = {}
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        words = words_of(model)

        def act(server: Server, number: int, words: Words = words) -> Mapping[str, float]:
            return asyncio.run(_act(arguments, words, server, number))

        tried = _try_variants(arguments, model, act)
        best = max(tried, key=lambda variant: tried[variant])
        chosen[model.stem] = VARIANTS[best]
        print(f"bench: {model.stem}: llama-server is fastest with {best}", file=sys.stderr)
        size: dict[str, Any] = {"context": CONTEXT, "parallel": PARALLEL}
        with ExitStack() as stack:
            enter = stack.enter_context
            sides = [enter(duel.theirs(arguments, model, flags=VARIANTS[best].split(), **size))]
            if not arguments.self_test:
                for side, way in ((LOOKUP, "lookup"), (OFF, "off")):
                    options = {"speculation": way}
                    sides.append(enter(duel.ours(arguments, model, options=options, name=side, **size)))
            found = duel.play(model.stem, sides, arguments.rounds, act)
        turns += found
        bars += judge(model.stem, found)
    facts = {"passage": arguments.passage, "changed": arguments.changed, "rival_variant": chosen}
    return duel.report("copying", turns, bars, arguments, **facts)


def judge(model: str, turns: list[duel.Turn]) -> list[Bar]:
    """The bars over the rounds."""
    against = {
        "llama-server's": (duel.ratio(turns, "tok/s", LOOKUP, duel.RIVAL), AGAINST_RIVAL),
        "ours without": (duel.ratio(turns, "tok/s", LOOKUP, OFF), AGAINST_OFF),
    }
    return [
        Bar(f"{model}: rate with lookup by {whose}, ratio", value, "at least", bound)
        for whose, (value, bound) in against.items()
    ]


def _try_variants(arguments: argparse.Namespace, model: Path, act: duel.Act) -> dict[str, float]:
    """Tokens per second of llama-server with each way to draft; 0 for one that failed."""
    rates = {}
    for variant in arguments.variants:
        flags = VARIANTS[variant].split()
        with duel.theirs(arguments, model, flags=flags, context=CONTEXT, parallel=PARALLEL) as server:
            duel.warm_up(server)
            figures = act(server, 0)
            rates[variant] = 0.0 if figures["failed"] else figures["tok/s"]
        print(f"bench: {model.stem}: llama-server {variant}: {rates[variant]:.1f} tok/s", file=sys.stderr)
    return rates


async def _act(
    arguments: argparse.Namespace, words: Words, server: Server, number: int
) -> Mapping[str, float]:
    prompt, expected = passage(words, number, arguments.passage, arguments.changed, arguments.max_tokens)
    reply = await duel.ask(server, duel.body_of(prompt=prompt, max_tokens=arguments.max_tokens))
    failed = duel.check(server, [reply])
    if reply.complete and reply.text != expected:
        failed += 1
        at = next((i for i, (a, b) in enumerate(zip(reply.text, expected, strict=False)) if a != b), -1)
        print(f"bench: {server.name} wrote another text from character {at} on", file=sys.stderr)
    took_s = reply.end_s - reply.sent_s
    rate = arguments.max_tokens / took_s
    return {"tok/s": round(rate, 1), "first s": round(reply.first_s or 0.0, 3), "failed": failed}


def passage(words: Words, number: int, n_tokens: int, changed: float, n_answer: int) -> tuple[str, str]:
    """The prompt of a round and its answer: the passage, changed here and there, and then its first word."""
    text_of = dict(zip(words.ids, words.texts, strict=True))
    all_cycles = copycat.cycles(words.ids)
    if not all_cycles or n_tokens >= copycat.CYCLE:
        raise Problem(f"a passage has fewer than {copycat.CYCLE} tokens, and the model as many words")
    cycle = all_cycles[number % len(all_cycles)]
    rng = random.Random(f"copying {number}")
    start = rng.randrange(len(cycle))
    turned = cycle[start:] + cycle[:start]
    shown = [rng.choice(words.ids) if rng.random() < changed else token for token in turned[:n_tokens]]
    answer = [turned[(at + 1) % len(turned)] for at in range(n_answer)]
    prompt = "".join(text_of[token] for token in [*shown, turned[0]])
    return prompt, "".join(text_of[token] for token in answer)
