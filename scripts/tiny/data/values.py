"""What the arguments of calls are made of: places, people, texts, numbers and identifiers. Pure."""

# ruff: noqa: SIM905 (a list of words reads best as a sentence)

from __future__ import annotations

from random import Random

from .copying import phrase
from .example import pick
from .facts import CAPITALS
from .words import CITIES, COMMON, NAMES, any_word, capitalised, pseudo_word

_MORE_CITIES = (
    "San Francisco|New York|Los Angeles|San Diego|Las Vegas|Hong Kong|Rio de Janeiro|Cape Town|"
    "Buenos Aires|San Francisco, CA|Boston, MA|New York, NY|Austin, TX|Paris, France|London, UK|"
    "Tokyo, Japan|Berlin, Germany|Singapore|Barcelona|Beijing|Moscow|Istanbul|Bangkok|Shanghai|"
    "Philadelphia|Phoenix|Atlanta|Portland|Glasgow|Manchester|Frankfurt|Cologne|Stuttgart|Hanoi|Manila|"
    "Jakarta|Melbourne|Vancouver|Montreal|Honolulu"
).split("|")
_MORE_NAMES = (
    "Jason Sarah Emily Michael Robert James Linda Susan Laura Kevin Brian George Edward Daniel Matthew "
    "Andrew Thomas William Sophie Charlotte Amelia Olivia Noah Liam Ethan Mason Lucas Harry Oliver Jacob "
    "Hannah Julia Martin Stefan Jürgen José Zoë Ada Grace Alan Linus Guido Ken Dennis Barbara Margaret"
).split()
_SURNAMES = (
    "Smith Jones Brown Miller Davis Wilson Moore Taylor Clark Lewis Young King Hill Green Baker Doe".split()
)
_DOMAINS = ("example.com", "example.org", "test.com", "mail.com", "gmail.com", "company.com")


def city(rng: Random) -> str:
    """A place: most often one that exists."""
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(CITIES)
    if kind < 0.88:
        return rng.choice(_MORE_CITIES)
    return capitalised(pseudo_word(rng) if rng.random() < 0.7 else any_word(rng, 0.5))


def country(rng: Random) -> str:
    """A country of those whose capital the model knows."""
    return rng.choice(list(CAPITALS))


def name(rng: Random) -> str:
    """A first name, sometimes invented, sometimes with a family name."""
    kind = rng.random()
    first = (
        rng.choice(NAMES)
        if kind < 0.4
        else rng.choice(_MORE_NAMES)
        if kind < 0.8
        else capitalised(pseudo_word(rng))
    )
    return f"{first} {rng.choice(_SURNAMES)}" if rng.random() < 0.12 else first


def address(rng: Random) -> str:
    """An electronic mail address."""
    return f"{name(rng).split()[0].lower()}@{rng.choice(_DOMAINS)}"


def words(rng: Random, longest: int = 5) -> str:
    """One to `longest` words without punctuation, most of them common."""
    return " ".join(any_word(rng, 0.9) for _ in range(rng.randint(1, longest)))


def text(rng: Random, longest: int = 6) -> str:
    """A short text: ordinary words with a full stop or none, or something odder."""
    if rng.random() < 0.12:
        return phrase(rng, longest)
    said = " ".join(rng.choice(COMMON) for _ in range(rng.randint(1, longest)))
    return (capitalised(said) if rng.random() < 0.5 else said) + pick(rng, "", "", "", ".", "!", "?")


def whole(rng: Random, most: int = 4) -> int:
    """A number of one to `most` digits."""
    return rng.randint(0, 10 ** rng.randint(1, most) - 1)


def decimal(rng: Random) -> float:
    """A number with one or two digits after the point, neither of which is a closing nought."""
    places = rng.randint(1, 2)
    return float(f"{rng.randint(0, 99)}.{rng.randint(0, 9) if places == 2 else ''}{rng.randint(1, 9)}")


def identifier(rng: Random) -> str:
    """Something like `order_12345`, `A-1234` or `4512`."""
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(3, 6)))
    kind = rng.random()
    if kind < 0.3:
        return digits
    if kind < 0.7:
        return pick(rng, "order", "id", "user", "item", "ref", "cust") + pick(rng, "_", "-") + digits
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTVXZ") for _ in range(rng.randint(1, 2)))
    return letters + pick(rng, "-", "") + digits


def day_time(rng: Random) -> str:
    """A time of day, such as `7:30` or `18:05`."""
    return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02}"


def date(rng: Random) -> str:
    """A date, such as `2025-03-14`."""
    return f"{rng.randint(2020, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
