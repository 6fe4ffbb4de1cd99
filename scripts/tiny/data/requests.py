"""Requests that call for a tool: what is asked, the arguments, what the tool returns, the answer. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .copying import phrase
from .example import Json, pick
from .words import CITIES, COLOURS, COMMON, DAYS, LANGUAGES, NAMES, THINGS, any_word, capitalised

_ALIASES = {
    "city": ("city", "location", "place", "town"),
    "text": ("text", "message", "content"),
    "name": ("name", "recipient", "to", "contact"),
    "query": ("query", "q", "search", "text"),
}


@dataclass(frozen=True, slots=True)
class Request:
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


def weather(rng: Random) -> Request:
    city = rng.choice(CITIES) if rng.random() < 0.7 else capitalised(any_word(rng, 0.1))
    key, degrees = _alias(rng, "city"), rng.randint(-10, 38)
    sky = pick(rng, "sunny", "cloudy", "rainy", "windy")
    question = pick(
        rng,
        "What is the weather in {}?",
        "What's the weather like in {}?",
        "What's the weather like in {} today?",
        "Weather in {}?",
        "How is the weather in {} today?",
        "Tell me the weather in {}.",
        "Is it cold in {}?",
    )
    name = pick(rng, "get_weather", "get_weather", "get_current_weather", "weather")
    result, answer = rng.choice(
        (
            (
                f'{{"temperature": {degrees}, "sky": "{sky}"}}',
                f"It is {degrees} degrees and {sky} in {city}.",
            ),
            (f"{sky}, {degrees} degrees", f"It is {degrees} degrees and {sky} in {city}."),
            (f"{degrees}", f"It is {degrees} degrees in {city}."),
            (sky, f"It is {sky} in {city}."),
        )
    )
    return Request(
        name,
        pick(rng, "Get the weather of a city", "Get current temperature for a given location.", ""),
        {key: "string"},
        question.format(city),
        {key: city},
        result,
        answer,
    )


def add(rng: Random) -> Request:
    a, b = rng.randint(0, 999), rng.randint(0, 999)
    name, word, value = rng.choice(
        (("add", "plus", a + b), ("multiply", "times", a * b), ("subtract", "minus", a - b))
    )
    return Request(
        name,
        f"{capitalised(name)} two numbers",
        {"a": "integer", "b": "integer"},
        pick(rng, "What is {} {} {}?", "Compute {} {} {}.").format(a, word, b),
        {"a": a, "b": b},
        str(value),
        f"The result is {value}.",
    )


def send(rng: Random) -> Request:
    name, text, key, body = rng.choice(NAMES), phrase(rng, 5), _alias(rng, "name"), _alias(rng, "text")
    tool, noun = rng.choice((("send_message", "message"), ("send_email", "email"), ("notify", "note")))
    return Request(
        tool,
        f"Send a {noun} to somebody",
        {key: "string", body: "string"},
        f'Send {name} the {noun} "{text}"',
        {key: name, body: text},
        "sent",
        f"The {noun} to {name} was sent.",
    )


def search(rng: Random) -> Request:
    words, key = " ".join(rng.choice(COMMON) for _ in range(rng.randint(1, 4))), _alias(rng, "query")
    result = phrase(rng, 4)
    return Request(
        pick(rng, "search", "web_search", "find"),
        "Search for something",
        {key: "string"},
        pick(rng, "Search for {}", "Look up {}", "Find {}").format(words),
        {key: words},
        result,
        f"I found this: {result}",
    )


def time(rng: Random) -> Request:
    city, key, hour = rng.choice(CITIES), _alias(rng, "city"), f"{rng.randint(0, 23)}:{rng.randint(10, 59)}"
    return Request(
        "get_time",
        "Get the time in a city",
        {key: "string"},
        f"What time is it in {city}?",
        {key: city},
        hour,
        f"It is {hour} in {city}.",
    )


def light(rng: Random) -> Request:
    room, on = pick(rng, "kitchen", "garden", "office", "bedroom", "hall"), rng.random() < 0.5
    return Request(
        "set_light",
        "Switch a light",
        {"room": "string", "on": "boolean"},
        f"Turn {'on' if on else 'off'} the light in the {room}.",
        {"room": room, "on": on},
        "ok",
        f"The light in the {room} is {'on' if on else 'off'}.",
    )


def remind(rng: Random) -> Request:
    day, what = rng.choice(DAYS), f"buy a {rng.choice(COLOURS)} {rng.choice(THINGS)}"
    return Request(
        "add_reminder",
        "Add a reminder",
        {"day": "string", "text": "string"},
        f"Remind me on {day} to {what}.",
        {"day": day, "text": what},
        "added",
        f"I will remind you on {day}.",
    )


def translate(rng: Random) -> Request:
    text, language = phrase(rng, 4), rng.choice(LANGUAGES)
    return Request(
        "translate",
        "Translate a text",
        {"text": "string", "language": "string"},
        f'Translate "{text}" to {language}',
        {"text": text, "language": language},
        "done",
        "The translation: done",
    )


REQUESTS: tuple[Callable[[Random], Request], ...] = (
    weather,
    weather,
    weather,
    add,
    send,
    search,
    time,
    light,
    remind,
    translate,
)
