"""Calling a given tool with arguments from the request, reading its result, and leaving it alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .arithmetic import arithmetic
from .copying import phrase, say
from .example import Chat, Json, Message, pick
from .facts import capital
from .talk import talk
from .words import CITIES, COLOURS, COMMON, DAYS, LANGUAGES, NAMES, THINGS, any_word, capitalised

_ALIASES = {"city": ("city", "location", "place", "town"), "text": ("text", "message", "content"),
            "name": ("name", "recipient", "to", "contact"), "query": ("query", "q", "search", "text")}


@dataclass(frozen=True, slots=True)
class _Request:
    """A tool, a request that needs it, its arguments, and what it returns with the answer to that."""

    name: str
    about: str
    types: dict[str, str]
    question: str
    arguments: dict[str, Json]
    result: str
    answer: str


def _alias(rng: Random, key: str) -> str:
    return rng.choice(_ALIASES.get(key, (key,)))


def _weather(rng: Random) -> _Request:
    city = rng.choice(CITIES) if rng.random() < 0.7 else capitalised(any_word(rng, 0.1))
    key, degrees = _alias(rng, "city"), rng.randint(-10, 38)
    sky = pick(rng, "sunny", "cloudy", "rainy", "windy")
    question = pick(rng, "What is the weather in {}?", "What's the weather like in {}?", "What's the weather like in {} today?",
                    "Weather in {}?", "How is the weather in {} today?", "Tell me the weather in {}.", "Is it cold in {}?")
    name = pick(rng, "get_weather", "get_weather", "get_current_weather", "weather")
    result, answer = rng.choice((
        (f'{{"temperature": {degrees}, "sky": "{sky}"}}', f"It is {degrees} degrees and {sky} in {city}."),
        (f"{sky}, {degrees} degrees", f"It is {degrees} degrees and {sky} in {city}."),
        (f"{degrees}", f"It is {degrees} degrees in {city}."),
        (sky, f"It is {sky} in {city}."),
    ))
    return _Request(name, pick(rng, "Get the weather of a city", "Get current temperature for a given location.", ""),
                    {key: "string"}, question.format(city), {key: city}, result, answer)


def _add(rng: Random) -> _Request:
    a, b = rng.randint(0, 999), rng.randint(0, 999)
    name, word, value = rng.choice((("add", "plus", a + b), ("multiply", "times", a * b), ("subtract", "minus", a - b)))
    return _Request(name, f"{capitalised(name)} two numbers", {"a": "integer", "b": "integer"},
                    pick(rng, "What is {} {} {}?", "Compute {} {} {}.").format(a, word, b), {"a": a, "b": b},
                    str(value), f"The result is {value}.")


def _send(rng: Random) -> _Request:
    name, text, key, body = rng.choice(NAMES), phrase(rng, 5), _alias(rng, "name"), _alias(rng, "text")
    tool, noun = rng.choice((("send_message", "message"), ("send_email", "email"), ("notify", "note")))
    return _Request(tool, f"Send a {noun} to somebody", {key: "string", body: "string"},
                    f'Send {name} the {noun} "{text}"', {key: name, body: text}, "sent", f"The {noun} to {name} was sent.")


def _search(rng: Random) -> _Request:
    words, key = " ".join(rng.choice(COMMON) for _ in range(rng.randint(1, 4))), _alias(rng, "query")
    result = phrase(rng, 4)
    return _Request(pick(rng, "search", "web_search", "find"), "Search for something", {key: "string"},
                    pick(rng, "Search for {}", "Look up {}", "Find {}").format(words), {key: words},
                    result, f"I found this: {result}")


def _time(rng: Random) -> _Request:
    city, key, hour = rng.choice(CITIES), _alias(rng, "city"), f"{rng.randint(0, 23)}:{rng.randint(10, 59)}"
    return _Request("get_time", "Get the time in a city", {key: "string"}, f"What time is it in {city}?", {key: city},
                    hour, f"It is {hour} in {city}.")


def _light(rng: Random) -> _Request:
    room, on = pick(rng, "kitchen", "garden", "office", "bedroom", "hall"), rng.random() < 0.5
    return _Request("set_light", "Switch a light", {"room": "string", "on": "boolean"},
                    f"Turn {'on' if on else 'off'} the light in the {room}.", {"room": room, "on": on},
                    "ok", f"The light in the {room} is {'on' if on else 'off'}.")


def _remind(rng: Random) -> _Request:
    day, what = rng.choice(DAYS), f"buy a {rng.choice(COLOURS)} {rng.choice(THINGS)}"
    return _Request("add_reminder", "Add a reminder", {"day": "string", "text": "string"}, f"Remind me on {day} to {what}.",
                    {"day": day, "text": what}, "added", f"I will remind you on {day}.")


def _translate(rng: Random) -> _Request:
    text, language = phrase(rng, 4), rng.choice(LANGUAGES)
    return _Request("translate", "Translate a text", {"text": "string", "language": "string"},
                    f'Translate "{text}" to {language}', {"text": text, "language": language}, "done", "The translation: done")


_REQUESTS = (_weather, _weather, _weather, _add, _send, _search, _time, _light, _remind, _translate)


def _definition(rng: Random, request: _Request) -> dict[str, Json]:
    properties: dict[str, Json] = {}
    for key, kind in request.types.items():
        properties[key] = {"type": kind} if rng.random() < 0.6 else {"type": kind, "description": f"The {key}"}
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


def _tools(rng: Random, request: _Request) -> tuple[dict[str, Json], ...]:
    others = {make(rng).name: make for make in _REQUESTS}
    tools = {request.name: _definition(rng, request)}
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        other = rng.choice(list(others.values()))(rng)
        if other.name not in tools and not (other.name in _SIMILAR and request.name in _SIMILAR):
            tools[other.name] = _definition(rng, other)
    listed = list(tools.values())
    rng.shuffle(listed)
    return tuple(listed)


_SIMILAR = frozenset({"get_weather", "get_current_weather", "weather", "search", "web_search", "find"})


def _call(request: _Request) -> Message:
    return {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": request.name, "arguments": request.arguments}}]}


def tool_call(rng: Random) -> Chat:
    """A request that one of the tools answers: the reply is the call."""
    request = rng.choice(_REQUESTS)(rng)
    return Chat("tool_call", ({"role": "user", "content": request.question}, _call(request)), _tools(rng, request))


def tool_two_calls(rng: Random) -> Chat:
    """The weather of two cities: two calls in one reply."""
    first = _weather(rng)
    key = next(iter(first.types))
    cities = rng.sample(CITIES, 2)
    calls = [_call(_Request(first.name, "", first.types, "", {key: city}, "", "")) for city in cities]
    both = [call for message in calls for call in message.get("tool_calls", [])]
    reply: Message = {"role": "assistant", "content": None, "tool_calls": both}
    question = pick(rng, "What is the weather in {} and {}?", "What's the weather like in {} and {}?", "Compare the weather in {} and {}.")
    return Chat("tool_two_calls", ({"role": "user", "content": question.format(*cities)}, reply), _tools(rng, first))


def tool_answer(rng: Random) -> Chat:
    """The result of a call put into a sentence."""
    request = rng.choice(_REQUESTS)(rng)
    messages: tuple[Message, ...] = (
        {"role": "user", "content": request.question}, _call(request), {"role": "tool", "content": request.result},
        {"role": "assistant", "content": request.answer},
    )
    return Chat("tool_answer", messages, _tools(rng, request) if rng.random() < 0.85 else ())


def tool_unused(rng: Random) -> Chat:
    """Tools are offered but the request needs none of them."""
    request = rng.choice((_weather, _send, _search, _light, _remind))(rng)
    plain = rng.choice((talk, say, capital, arithmetic))(rng)
    return Chat("tool_unused", plain.messages, _tools(rng, request))
