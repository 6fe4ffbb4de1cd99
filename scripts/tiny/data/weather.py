"""The weather: the function that every example of calling functions has. Pure."""

from __future__ import annotations

from random import Random

from . import values
from .example import pick
from .offers import Arguments, Ask, Offer, Schema, called, in_order, joined, shuffled
from .words import CITIES, capitalised

_UNITS = ("celsius", "fahrenheit")
_NAMES = ("get_weather", "get_weather", "get_current_weather", "weather", "getWeather", "GetWeather")
_PLACES = (
    "The city",
    "The city and state, e.g. San Francisco, CA",
    "City and country e.g. Bogotá, Colombia",
)
_ABOUT = (
    "Get the weather of a city",
    "Get current temperature for a given location.",
    "Get the current weather in a given location",
    "Get the weather for a location.",
)
_WORDS = ("weather", "cold", "temperature", "rain")
_OF_ONE = (
    "What is the weather in {}?",
    "What is the weather in {}?",
    "What's the weather in {}?",
    "What is the weather like in {}?",
    "What's the weather like in {}?",
    "What is the weather like in {} today?",
    "What's the weather like in {} today?",
    "what is the weather in {}",
    "How is the weather in {} today?",
    "How's the weather in {}?",
    "Weather in {}?",
    "Tell me the weather in {}.",
    "Is it cold in {}?",
    "What is the temperature in {}?",
    "What is the current weather in {}?",
    "What's the temperature in {} right now?",
    "What's the weather like in {} right now?",
    "What is the weather in {} today?",
    "Can you tell me the weather in {}?",
    "I want to know the weather in {}.",
    "Get the weather in {}",
    "Check the weather in {}.",
    "Will it rain in {} tomorrow?",
    "What is the weather forecast for {}?",
)
_OF_SEVERAL = (
    "What is the weather in {}?",
    "What's the weather like in {}?",
    "What's the weather like in {} today?",
    "What is the weather like in {}?",
    "Compare the weather in {}.",
    "Weather in {}?",
)


def _report(rng: Random, city: str) -> tuple[str, str]:
    degrees, sky = rng.randint(-10, 38), pick(rng, "sunny", "cloudy", "rainy", "windy")
    both = f"It is {degrees} degrees and {sky} in {city}."
    return rng.choice(
        (
            (f'{{"temperature": {degrees}, "sky": "{sky}"}}', both),
            (f"{sky}, {degrees} degrees", both),
            (f'{{"location": "{city}", "temperature": {degrees}}}', f"It is {degrees} degrees in {city}."),
            (f"{degrees}", f"It is {degrees} degrees in {city}."),
            (f"{degrees}°C", f"It is {degrees} degrees in {city}."),
            (
                f'{{"location": "{city}", "temperature": "{degrees}", "unit": "celsius"}}',
                f"It is {degrees} degrees in {city}.",
            ),
            (f'{{"temperature": {degrees}, "unit": "celsius", "description": "{sky}"}}', both),
            (sky, f"It is {sky} in {city}."),
        )
    )


def weather(rng: Random) -> Offer:
    """The weather of one place or of several; the unit is said, left out, or required."""
    name = rng.choice(_NAMES)
    if rng.random() < 0.15:
        name = pick(rng, "get_temperature", "fetch_weather", "current_weather", "weather_report", "forecast")
    key = pick(rng, "city", "location", "location", "place", "town", "city_name", "where", "area")
    properties: dict[str, Schema] = {key: {"type": "string", "description": rng.choice(_PLACES)}}
    unit = pick(rng, "unit", "unit", "units") if rng.random() < 0.4 else ""
    needed = bool(unit) and rng.random() < 0.3
    if unit:
        properties[unit] = {"type": "string", "enum": [*_UNITS]}
    properties = shuffled(rng, properties)
    required = (key, unit) if needed else (key,)

    def single(rng: Random, question: str) -> Ask:
        city = values.city(rng)
        arguments: Arguments = {key: city}
        said = rng.choice(_UNITS)
        if unit and rng.random() < 0.5:
            arguments[unit] = said
            question = question.rstrip("?.") + f" in {pick(rng, said, said, capitalised(said))}?"
        elif needed:
            arguments[unit] = _UNITS[0]
        return called(
            name, in_order(properties, arguments), question.replace("{}", city), *_report(rng, city)
        )

    def several(rng: Random) -> Ask:
        if rng.random() < 0.5:
            cities = rng.sample(CITIES, 2)
        else:
            cities = [values.city(rng) for _ in range(rng.choice((2, 2, 3)))]
        asks: list[Ask] = []
        for city in cities:
            arguments: Arguments = {key: city, unit: _UNITS[0]} if needed else {key: city}
            asks.append(called(name, in_order(properties, arguments), "", *_report(rng, city)))
        last = pick(rng, " and ", " and ", ", and " if len(cities) > 2 else " and ") + cities[-1]
        question = rng.choice(_OF_SEVERAL)
        return joined(asks, question.format(", ".join(cities[:-1]) + last))

    def ask(rng: Random) -> Ask:
        if rng.random() < 0.25:
            return several(rng)
        return single(rng, rng.choice(_OF_ONE))

    def again(rng: Random) -> Ask:
        return single(rng, pick(rng, "And in {}?", "What about {}?", "And {}?", "How about {}?"))

    return Offer(name, rng.choice(_ABOUT), properties, required, ask, "weather", _WORDS, again)
