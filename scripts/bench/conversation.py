"""Users who talk in turns, with too little cache for all of their histories: time until the first token.

Every turn sends the whole history and some new words. Whose turn it is, is random, the same for both sides,
and nobody speaks before the answer. The memory for computed prompts, cache and RAM together, is the same on
both sides: half of what the final histories of all users need. The sides alternate within a conversation,
after every `--segment` turns. Answers are made of words, so they are read back as the tokens they were.
"""

import argparse
import asyncio
import math
import random
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scripts.bench import duel, models
from scripts.bench.loadgen import quantile_ms
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server
from scripts.bench.vocabulary import Words, words_of

BAR = 0.6
CELL_STEP = 256  # llama.cpp rounds the cells of a sequence up to this


@dataclass
class Talk:
    """One side's conversation with all users, as far as it has come."""

    histories: dict[int, str] = field(default_factory=dict)
    first_s: list[float] = field(default_factory=list)
    n_prompt: int = 0
    n_cached: int = 0
    failed: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    duel.add_arguments(parser, models=["half"], rounds=1)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--user-turns", type=int, default=10, help="turns of each user")
    parser.add_argument("--words", type=int, default=76, help="new words of a turn")
    parser.add_argument("--max-tokens", type=int, default=24, help="tokens of an answer")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--segment", type=int, default=8, help="turns of one side before the other goes on")
    parser.add_argument("--slots", type=int, default=4, help="parallel sequences; at least the concurrency")
    parser.add_argument(
        "--context", type=int, help="cells of both sides; default: half of what all final histories need"
    )
    parser.add_argument(
        "--ram-mib", type=int, default=0, help="the RAM for prompts beside the cells, of both"
    )


def run(arguments: argparse.Namespace) -> Report:
    context = arguments.context or default_context(arguments)
    turns: list[duel.Turn] = []
    bars: list[Bar] = []
    # On a CPU our cells keep no ended texts unless told so, and here they are nearly all the memory there is.
    options = {"cache_ram": arguments.ram_mib * 2**20, "cache_kept": 1.0}
    flags = ["--cache-ram", str(arguments.ram_mib)]
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        words = words_of(model)
        size = {"context": context, "parallel": arguments.slots}
        with duel.pair(arguments, model, options=options, flags=flags, **size) as sides:
            first, second = (side.name for side in sides)
            for side in sides:
                duel.warm_up(side)
            for concurrency in arguments.concurrency:
                found = asyncio.run(_play(arguments, model.stem, words, sides, concurrency))
                turns += found
                value = duel.ratio(found, "prompts s", first, second)
                title = f"{model.stem}: time of all prompts, concurrency {concurrency}, ratio"
                bars.append(Bar(title, value, "at most", BAR))
    facts = {
        "context": context,
        "slots": arguments.slots,
        "ram_mib": arguments.ram_mib,
        "users": arguments.users,
        "user_turns": arguments.user_turns,
        "rival_cache": " ".join(flags),
    }
    return duel.report("conversation", turns, bars, arguments, **facts)


def default_context(arguments: argparse.Namespace) -> int:
    """Half of the cells of all final histories, in whole steps per slot."""
    final: int = arguments.user_turns * (arguments.words + arguments.max_tokens)
    each: int = math.ceil(final * arguments.users / 2 / arguments.slots / CELL_STEP) * CELL_STEP
    slots: int = arguments.slots
    return each * slots


def schedule(rng: random.Random, n_users: int, n_turns: int) -> list[int]:
    """Whose turn it is, every user as often."""
    order = [user for user in range(n_users) for _ in range(n_turns)]
    rng.shuffle(order)
    return order


async def _play(
    arguments: argparse.Namespace, label: str, words: Words, sides: Sequence[Server], concurrency: int
) -> list[duel.Turn]:
    turns = []
    for number in range(1, arguments.rounds + 1):
        name = f"conversation {number} {concurrency}"
        order = schedule(random.Random(name), arguments.users, arguments.user_turns)
        talks = [(side, Talk(), random.Random(name)) for side in sides]
        for at in range(0, len(order), arguments.segment):
            segment = order[at : at + arguments.segment]
            turn_about = talks if at // arguments.segment % 2 == 0 else talks[::-1]
            for server, talk, rng in turn_about:
                said = [(user, words.prose(rng, arguments.words)) for user in segment]
                await _segment(arguments, words, server, talk, said, concurrency)
            sums = ", ".join(f"{side.name} {sum(talk.first_s):.1f} s" for side, talk, _ in talks)
            done = at + len(segment)
            print(
                f"bench: {label}, concurrency {concurrency}, {done} turns: {sums}",
                file=sys.stderr,
                flush=True,
            )
        for server, talk, _ in talks:
            figures = {"concurrency": concurrency, **_figures(talk)}
            turns.append(duel.Turn(label, number, server.name, figures, 0.0))
    return turns


async def _segment(
    arguments: argparse.Namespace,
    words: Words,
    server: Server,
    talk: Talk,
    said: Sequence[tuple[int, str]],
    concurrency: int,
) -> None:
    """These turns, so many at once, and of one user one after the other."""
    waiting = deque(said)
    speaking: set[int] = set()
    freed = asyncio.Condition()

    async def client() -> None:
        while True:
            async with freed:
                while waiting and not any(user not in speaking for user, _ in waiting):
                    await freed.wait()
                if not waiting:
                    return
                user, new = next(item for item in waiting if item[0] not in speaking)
                waiting.remove((user, new))
                speaking.add(user)
            await _speak(arguments, words, server, talk, user, new)
            async with freed:
                speaking.remove(user)
                freed.notify_all()

    await asyncio.gather(*(client() for _ in range(concurrency)))


async def _speak(
    arguments: argparse.Namespace, words: Words, server: Server, talk: Talk, user: int, new: str
) -> None:
    prompt = talk.histories.get(user, "") + new
    request = duel.body_of(prompt=prompt, max_tokens=arguments.max_tokens, logit_bias=words.forced)
    reply = await duel.ask(server, request)
    talk.failed += duel.check(server, [reply])
    talk.histories[user] = prompt + reply.text
    talk.first_s.append(reply.first_s or 0.0)
    talk.n_prompt += reply.usage.get("prompt_tokens", 0)
    talk.n_cached += duel.cached_tokens([reply])


def _figures(talk: Talk) -> Mapping[str, float]:
    return {
        "prompts s": round(sum(talk.first_s), 3),
        "first ms p50": quantile_ms(talk.first_s, 0.5),
        "prompt tokens": talk.n_prompt,
        "cached tokens": talk.n_cached,
        "failed": talk.failed,
    }
