"""Bodies of /embeddings made at random, and whether the replies to them have the right form. Pure.

Sound, odd and broken as those of `random_bodies`, whose mutations are used. Everything follows from the seed.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from math import isfinite, sqrt
from random import Random
from typing import Any

from scripts.bench.random_bodies import Body, Case, Kind, broken_data
from scripts.bench.sse import Reply

EMBEDDINGS = "/v1/embeddings"
WORDS = (
    *("red", "green", "house", "naïve", "東京", "🦉", "\n", "x" * 300, "<|endoftext|>", "[CLS]", "\x00"),
    *("{{7*7}}", "\u202e", "e\u0301", "don't", "1e400", "'; DROP TABLE", "\ufeff", "\U0010ffff"),
)
ODD_INPUTS: tuple[Any, ...] = (
    "", [""], [], [[]], ["a", ""], [" "], ["\n"], [0], [[0], [1.0]], [2**31 - 1], [[2**31]], [-1], [1.5],
    ["a", 1], [1, "a"], [["a"]], [[[1]]], [None], {}, {"text": "a"}, 7, True, "a " * 5000, ["a " * 400, "b"],
    ["x"] * 2048, ["x"] * 2049, [[7]] * 2049, list(range(3000)), [list(range(9))] * 2048, "\u0000",
)  # fmt: skip
ODD_FIELDS: tuple[Body, ...] = (
    {"dimensions": 0}, {"dimensions": 2**31 - 1}, {"dimensions": 2**63}, {"dimensions": 1.0},
    {"dimensions": "8"}, {"encoding_format": "hex"}, {"encoding_format": 1}, {"truncate": "START"},
    {"truncate": 1}, {"input_type": "image"}, {"input_type": "query"}, {"user": 5}, {"foo": 1},
    {"service_tier": "x"}, {"input": None},
)  # fmt: skip


def cases(seed: int, number: int, model: str) -> Iterator[Case]:
    """So many cases; each is a function of the seed and its own number."""
    for index in range(number):
        random = Random(f"embeddings {seed} {index}")
        draw = random.random()
        kind: Kind = "sound" if draw < 0.4 else "odd" if draw < 0.7 else "broken"
        body = _sound(random, model)
        if kind == "odd" or (kind == "broken" and random.random() < 0.4):
            body |= random.choice(({"input": random.choice(ODD_INPUTS)}, random.choice(ODD_FIELDS)))
        data = broken_data(random, body) if kind == "broken" else json.dumps(body).encode()
        yield Case(index, kind, EMBEDDINGS, data)


def _sound(random: Random, model: str) -> Body:
    texts = [_text(random) for _ in range(random.choice((1, 1, 2, 5, 70)))]
    body: Body = {"model": model, "input": texts if random.random() < 0.7 else texts[0]}
    if random.random() < 0.5:
        body["encoding_format"] = random.choice(("float", "base64"))
    if random.random() < 0.2:
        body["truncate"] = random.choice((True, "END", False, "NONE"))
    if random.random() < 0.2:
        body |= {"user": "somebody", "service_tier": random.choice(("auto", "flex", "priority"))}
    return body


def _text(random: Random) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(1, 8)))


def complaints(case: Case, reply: Reply) -> Iterator[str]:
    """What is wrong with a reply of status 200."""
    body = json.loads(case.data)
    try:
        answer = json.loads(reply.body)
        vectors = [_numbers(item["embedding"], body.get("encoding_format")) for item in answer["data"]]
        indexes = [item["index"] for item in answer["data"]]
        n_tokens: int = answer["usage"]["total_tokens"]
    except (ValueError, KeyError, TypeError, binascii.Error, struct.error) as error:
        yield f"no reply of the right form: {error!r}"
        return
    wanted = body["input"]
    is_list = isinstance(wanted, list) and isinstance(wanted[0], str | list)
    if indexes != list(range(len(wanted) if is_list else 1)):
        yield f"the indexes are {indexes}"
    if len({len(vector) for vector in vectors}) != 1 or n_tokens < 0:
        yield f"vectors of {[len(vector) for vector in vectors]} components, {n_tokens} tokens"
    for vector in vectors:
        if not all(map(isfinite, vector)) or abs(sqrt(sum(value * value for value in vector)) - 1) > 1e-3:
            yield f"a vector that is not of length 1: {vector[:8]}"
            return


def _numbers(embedding: Any, form: str | None) -> list[float]:
    if form == "base64":
        raw = base64.b64decode(embedding, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return [float(value) for value in embedding]
