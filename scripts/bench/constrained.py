"""Streams that are held to a JSON schema, beside the same streams without it and beside llama-server.

A random-weight model tries every wrong path, so that nearly every token has to be masked: the dearest case.
The schema allows more than the budget of tokens can hold, so that all streams are equally long; what was
written is checked to be the beginning of a fitting answer by its form alone (it opens as the schema says).
"""

import argparse
import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from scripts.bench import duel, loadgen, models
from scripts.bench.report import Bar, Report
from scripts.bench.servers import HOST, Server

FREE, HELD = "free tok/s", "held tok/s"
OF_FREE, OF_RIVAL = 0.9, 1.2
_RECORD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string", "maxLength": 40},
        "kind": {"type": "string", "enum": ["person", "place", "thing", "event"]},
        "price": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 5},
        "is_new": {"type": "boolean"},
    },
    "required": ["id", "name", "kind", "price", "tags", "is_new"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"records": {"type": "array", "items": _RECORD, "minItems": 100}},
    "required": ["records"],
    "additionalProperties": False,
}
_BEGINNING = re.compile(r'\s*\{\s*"records"')
FORMAT = {"type": "json_schema", "json_schema": {"name": "records", "strict": True, "schema": SCHEMA}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    duel.add_arguments(parser, models=["half"], rounds=3)
    parser.add_argument("-c", "--concurrency", type=int, default=16)
    parser.add_argument("--prompt-words", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=96)


def run(arguments: argparse.Namespace) -> Report:
    turns: list[duel.Turn] = []
    bars: list[Bar] = []
    n = arguments.concurrency
    size = {"context": 512 * n, "parallel": n}
    for name in arguments.models:
        model = models.find(name, arguments.cache)

        def act(server: Server, number: int) -> Mapping[str, float]:
            free = _rate(arguments, server, number, None)
            held = _rate(arguments, server, number, FORMAT)
            failed = free.pop("failed") + held.pop("failed")
            return {
                FREE: free["tok/s"],
                HELD: held["tok/s"],
                "held / free": held["tok/s"] / free["tok/s"],
            } | {
                "gap p99 ms": held["gap p99 ms"],
                "failed": failed,
            }

        flags = ["--jinja"]
        with duel.theirs(arguments, model, flags=flags, **size) as second:
            spec = {"chat_template": "chatml"}
            with duel.ours(arguments, model, spec=spec, **size) as first:
                mine = duel.play(model.stem, [first, second], arguments.rounds, act)
        turns += mine
        bars += [
            Bar(
                f"{model.stem}: {n} held streams of our own free ones",
                duel.median(mine, "held / free", duel.OURS),
                "at least",
                OF_FREE,
            ),
            Bar(
                f"{model.stem}: {n} held streams of llama-server's",
                duel.ratio(mine, HELD, duel.OURS, duel.RIVAL),
                "at least",
                OF_RIVAL,
            ),
        ]
    return duel.report("constrained", turns, bars, arguments, schema_bytes=len(json.dumps(SCHEMA)))


def _rate(
    arguments: argparse.Namespace, server: Server, number: int, form: Mapping[str, Any] | None
) -> dict[str, float]:
    extra: dict[str, Any] = {"ignore_eos": True} if form is None else {"ignore_eos": False}
    if form is not None:
        extra["response_format"] = form
    work = loadgen.Work(
        n_requests=arguments.concurrency,
        concurrency=arguments.concurrency,
        n_prompt_words=arguments.prompt_words,
        max_tokens=arguments.max_tokens,
        endpoint="chat/completions",
        rng=number * 2 + (form is not None),
        extra=extra,
    )
    replies, wall_s = asyncio.run(loadgen.load(HOST, server.port, work))
    failed = duel.check(server, replies)
    found = loadgen.figures(replies, wall_s)
    if form is not None:
        failed += sum(reply.complete and not _BEGINNING.match(reply.text) for reply in replies)
    return {"tok/s": found.tokens_per_s, "gap p99 ms": found.gap_ms_p99, "failed": failed}
