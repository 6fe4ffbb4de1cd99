"""JSON on request without functions: from a sentence alone, or after a schema in the system message. Pure."""

from __future__ import annotations

import json
from random import Random

from . import extraction, invented, values
from .example import Chat, Json, Message, pick, turn
from .offers import definition

_GENIUS = """
        As a genius expert, your task is to understand the content and provide
        the parsed objects in json that match the following json_schema:


        {schema}

        Make sure to return an instance of the JSON, not the schema itself
"""
_SCHEMAS = (
    _GENIUS,
    "Answer in JSON with this schema:\n{schema}",
    "Reply with a JSON object that fits this JSON schema: {schema}",
    "Return JSON only.\n\n{schema}",
)


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def extract(rng: Random) -> Chat:
    """`Extract: Jason is 25 years old` is answered with an object of name and age."""
    who, age, place = values.name(rng), rng.randint(1, 99), values.city(rng)
    text, value = rng.choice(
        (
            (f"{who} is {age} years old", {"name": who, "age": age}),
            (f"{who} is {age} years old", {"name": who, "age": age}),
            (f"{who} is {age}", {"name": who, "age": age}),
            (f"{who} is {age} years old and lives in {place}", {"name": who, "age": age, "city": place}),
            (f"{who} lives in {place}", {"name": who, "city": place}),
        )
    )
    form = pick(
        rng,
        "Extract: {}",
        "Extract {}",
        "extract {}",
        "Extract the user: {}",
        "JSON: {}",
        "Extract as JSON: {}",
    )
    return turn("extract", form.format(text) + pick(rng, "", "."), _dump(dict(value)))


def to_schema(rng: Random) -> Chat:
    """The schema is in the system message, the values are in the question."""
    offer = rng.choice((extraction.extraction, extraction.extraction, extraction.event, invented.action))(rng)
    function = definition(rng, offer)["function"]
    assert isinstance(function, dict)
    schema: Json = function["parameters"]
    ask = offer.ask(rng)
    messages: tuple[Message, ...] = (
        {"role": "system", "content": rng.choice(_SCHEMAS).format(schema=_dump(schema))},
        {"role": "user", "content": ask.question},
        {"role": "assistant", "content": _dump(ask.calls[0][1])},
    )
    return Chat("to_schema", messages)
