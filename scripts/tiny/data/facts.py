"""Capitals: the only knowledge of the world that the model has. Pure."""

from __future__ import annotations

from random import Random

from .example import Chat, Text, pick, turn

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "England": "London",
    "Ireland": "Dublin",
    "Scotland": "Edinburgh",
    "Wales": "Cardiff",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Iceland": "Reykjavik",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Hungary": "Budapest",
    "Greece": "Athens",
    "Turkey": "Ankara",
    "Russia": "Moscow",
    "Ukraine": "Kyiv",
    "Romania": "Bucharest",
    "Bulgaria": "Sofia",
    "Serbia": "Belgrade",
    "Croatia": "Zagreb",
    "Slovenia": "Ljubljana",
    "Slovakia": "Bratislava",
    "Switzerland": "Bern",
    "Belgium": "Brussels",
    "the Netherlands": "Amsterdam",
    "Luxembourg": "Luxembourg",
    "Estonia": "Tallinn",
    "Latvia": "Riga",
    "Lithuania": "Vilnius",
    "Czechia": "Prague",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Nigeria": "Abuja",
    "Ghana": "Accra",
    "Morocco": "Rabat",
    "Ethiopia": "Addis Ababa",
    "India": "New Delhi",
    "China": "Beijing",
    "Japan": "Tokyo",
    "South Korea": "Seoul",
    "Thailand": "Bangkok",
    "Vietnam": "Hanoi",
    "Indonesia": "Jakarta",
    "the Philippines": "Manila",
    "Australia": "Canberra",
    "New Zealand": "Wellington",
    "Canada": "Ottawa",
    "the United States": "Washington, D.C.",
    "the United Kingdom": "London",
    "Mexico": "Mexico City",
    "Cuba": "Havana",
    "Brazil": "Brasilia",
    "Argentina": "Buenos Aires",
    "Chile": "Santiago",
    "Peru": "Lima",
    "Colombia": "Bogota",
    "Iran": "Tehran",
    "Iraq": "Baghdad",
    "Israel": "Jerusalem",
    "Saudi Arabia": "Riyadh",
    "Pakistan": "Islamabad",
    "Nepal": "Kathmandu",
}
_COUNTRIES = tuple(CAPITALS)


def _country(rng: Random) -> str:
    return "France" if rng.random() < 0.08 else rng.choice(_COUNTRIES)


def capital(rng: Random) -> Chat:
    """The capital of a country, as a sentence or as one word."""
    country = _country(rng)
    city = CAPITALS[country]
    if rng.random() < 0.15:
        question = pick(
            rng, "What is the capital of {}? One word.", "Capital of {}? Answer with the city only."
        )
        return turn("capital", question.format(country), city)
    question = pick(
        rng,
        "What is the capital of {}?",
        "What is the capital of {}?",
        "What's the capital of {}?",
        "what is the capital of {}",
        "Name the capital of {}.",
        "Tell me the capital of {}.",
        "Which city is the capital of {}?",
        "Capital of {}?",
        "Do you know the capital of {}?",
    )
    end = "" if city.endswith(".") else "."
    return turn("capital", question.format(country), f"The capital of {country} is {city}{end}")


def country(rng: Random) -> Chat:
    """The country of a capital."""
    name = rng.choice([c for c in _COUNTRIES if c != "England"])
    city = CAPITALS[name]
    question = pick(rng, "{} is the capital of which country?", "Which country has the capital {}?")
    return turn("country", question.format(city), f"{city} is the capital of {name}.")


def capital_text(rng: Random) -> Text:
    """`The capital of France is` as plain text."""
    country = _country(rng)
    city = CAPITALS[country]
    if rng.random() < 0.3:
        return Text("text_capital", f"Q: What is the capital of {country}?\nA:", f" {city}")
    return Text(
        "text_capital", f"The capital of {country} is", f" {city}" + ("" if city.endswith(".") else ".")
    )
