"""Calling a given tool with arguments from the request, reading its result, and leaving it alone. Pure."""

from __future__ import annotations

from random import Random

from .arithmetic import arithmetic
from .copying import say
from .example import Chat, Json, Message, pick
from .facts import capital
from .requests import REQUESTS, Request, light, remind, search, send, weather
from .talk import talk
from .words import CITIES


def _definition(rng: Random, request: Request) -> dict[str, Json]:
    properties: dict[str, Json] = {}
    for key, kind in request.types.items():
        properties[key] = (
            {"type": kind} if rng.random() < 0.6 else {"type": kind, "description": f"The {key}"}
        )
    parameters: dict[str, Json] = {"type": "object", "properties": properties}
    if rng.random() < 0.7:
        parameters["required"] = [*request.types]
    if rng.random() < 0.3:
        parameters["additionalProperties"] = False
    function: dict[str, Json] = {"name": request.name}
    if request.about and rng.random() < 0.8:
        function["description"] = request.about
    function["parameters"] = parameters
    if rng.random() < 0.2:
        function["strict"] = True
    return {"type": "function", "function": function}


def _tools(rng: Random, request: Request) -> tuple[dict[str, Json], ...]:
    others = {make(rng).name: make for make in REQUESTS}
    tools = {request.name: _definition(rng, request)}
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        other = rng.choice(list(others.values()))(rng)
        if other.name not in tools and not (other.name in _SIMILAR and request.name in _SIMILAR):
            tools[other.name] = _definition(rng, other)
    listed = list(tools.values())
    rng.shuffle(listed)
    return tuple(listed)


_SIMILAR = frozenset({"get_weather", "get_current_weather", "weather", "search", "web_search", "find"})


def _call(request: Request) -> Message:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"type": "function", "function": {"name": request.name, "arguments": request.arguments}}
        ],
    }


def tool_call(rng: Random) -> Chat:
    """A request that one of the tools answers: the reply is the call."""
    request = rng.choice(REQUESTS)(rng)
    return Chat(
        "tool_call", ({"role": "user", "content": request.question}, _call(request)), _tools(rng, request)
    )


def tool_two_calls(rng: Random) -> Chat:
    """The weather of two cities: two calls in one reply."""
    first = weather(rng)
    key = next(iter(first.types))
    cities = rng.sample(CITIES, 2)
    calls = [_call(Request(first.name, "", first.types, "", {key: city}, "", "")) for city in cities]
    both = [call for message in calls for call in message.get("tool_calls", [])]
    reply: Message = {"role": "assistant", "content": None, "tool_calls": both}
    question = pick(
        rng,
        "What is the weather in {} and {}?",
        "What's the weather like in {} and {}?",
        "Compare the weather in {} and {}.",
    )
    return Chat(
        "tool_two_calls", ({"role": "user", "content": question.format(*cities)}, reply), _tools(rng, first)
    )


def tool_answer(rng: Random) -> Chat:
    """The result of a call put into a sentence."""
    request = rng.choice(REQUESTS)(rng)
    messages: tuple[Message, ...] = (
        {"role": "user", "content": request.question},
        _call(request),
        {"role": "tool", "content": request.result},
        {"role": "assistant", "content": request.answer},
    )
    return Chat("tool_answer", messages, _tools(rng, request) if rng.random() < 0.85 else ())


def tool_unused(rng: Random) -> Chat:
    """Tools are offered but the request needs none of them."""
    request = rng.choice((weather, send, search, light, remind))(rng)
    plain = rng.choice((talk, say, capital, arithmetic))(rng)
    return Chat("tool_unused", plain.messages, _tools(rng, request))
