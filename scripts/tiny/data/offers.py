"""Functions that a request may offer, what is asked of them, and how clients write them down. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .example import Json
from .words import capitalised

Schema = dict[str, Json]
Arguments = dict[str, Json]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, the calls that answer it, what each of them returns, and the answer made of that."""

    question: str
    calls: tuple[tuple[str, Arguments], ...]
    results: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Offer:
    """One function with its parameters in order, and a maker of questions that need it.

    Functions of one topic are not offered together, and a plain question in which one of `words` occurs is
    not asked beside the function: either would leave it open which answer is right. `ask_again` makes
    questions that only make sense after one that the function has answered.
    """

    name: str
    about: str
    properties: dict[str, Schema]
    required: tuple[str, ...]
    ask: Callable[[Random], Ask]
    topic: str
    words: tuple[str, ...] = ()
    ask_again: Callable[[Random], Ask] | None = None


Kind = Callable[[Random], Offer]


def called(name: str, arguments: Arguments, question: str, result: str, answer: str) -> Ask:
    """A question that one call answers."""
    return Ask(question, ((name, arguments),), (result,), answer)


def joined(asks: list[Ask], question: str) -> Ask:
    """One question that several calls answer together."""
    return Ask(
        question,
        tuple(call for ask in asks for call in ask.calls),
        tuple(result for ask in asks for result in ask.results),
        " ".join(ask.answer for ask in asks),
    )


def shuffled(rng: Random, properties: dict[str, Schema]) -> dict[str, Schema]:
    """The parameters, now and then in another order."""
    items = list(properties.items())
    if rng.random() < 0.3:
        rng.shuffle(items)
    return dict(items)


def in_order(properties: dict[str, Schema], arguments: Arguments) -> Arguments:
    """The arguments in the order of the parameters."""
    return {key: arguments[key] for key in properties if key in arguments}


def _described(rng: Random, key: str, schema: Schema, share: float) -> Schema:
    kept = {name: value for name, value in schema.items() if name != "description"}
    if rng.random() < share:
        kept["description"] = schema.get("description") or f"The {key.replace('_', ' ')}"
    return kept


def _titled(key: str, schema: Schema) -> Schema:
    kind = schema.get("type")
    rest = {name: value for name, value in schema.items() if name != "type"}
    return {**rest, "title": key.replace("_", " ").title(), "type": kind}


def definition(rng: Random, offer: Offer) -> dict[str, Json]:
    """The function as an entry of `tools`: by hand, from a Pydantic model, or as LangChain writes it."""
    style, share = (
        rng.choice(("hand", "hand", "hand", "pydantic", "langchain")),
        rng.choice((0.0, 0.0, 0.3, 1.0)),
    )
    properties: dict[str, Json] = {
        key: _described(rng, key, schema, share) for key, schema in offer.properties.items()
    }
    about, name = offer.about if rng.random() < 0.75 else "", offer.name
    required: list[Json] = [*offer.required]
    strict = required == [*offer.properties] and not any("properties" in p for p in offer.properties.values())
    if style == "pydantic":
        titled: dict[str, Json] = {
            key: _titled(key, _described(rng, key, schema, share)) for key, schema in offer.properties.items()
        }
        parameters: dict[str, Json] = {
            "properties": titled,
            "required": required,
            "title": name,
            "type": "object",
            "additionalProperties": False,
        }
        function: dict[str, Json] = {
            "name": name,
            **({"strict": True} if strict else {}),
            "parameters": parameters,
        }
        if about:
            function["description"] = about
        return {"type": "function", "function": function}
    parameters = {"type": "object", "properties": properties}
    if style == "langchain":
        parameters = {"properties": properties, "required": required, "type": "object"}
    elif required and rng.random() < 0.85:
        parameters["required"] = required
    if style == "hand" and rng.random() < 0.3:
        parameters["additionalProperties"] = False
    function = {"name": name}
    if about:
        function["description"] = about
    if offer.properties or rng.random() < 0.5:
        function["parameters"] = parameters
    if strict and parameters.get("additionalProperties") is False and rng.random() < 0.5:
        function["strict"] = True
    return {"type": "function", "function": function}


def spelt(rng: Random, *words: str) -> str:
    """A function's name of these words: `get_price`, `getPrice`, `GetPrice` or `get-price`."""
    style = rng.random()
    if style < 0.75:
        return "_".join(words)
    if style < 0.9:
        return words[0] + "".join(capitalised(word) for word in words[1:])
    if style < 0.96:
        return "".join(capitalised(word) for word in words)
    return "-".join(words)
