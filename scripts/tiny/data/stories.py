"""Stories and a haiku in fixed moulds, long enough to watch them stream; days and months. Pure."""

from __future__ import annotations

from random import Random

from .example import Chat, pick, turn
from .words import ANIMALS, CITIES, DAYS, MONTHS, NAMES, THINGS, article


def story(rng: Random) -> Chat:
    """A few sentences in a fixed mould: something long enough to watch it stream."""
    who, place, thing, day = rng.choice(ANIMALS), rng.choice(CITIES), rng.choice(THINGS), rng.choice(DAYS)
    name = rng.choice(NAMES)
    if rng.random() < 0.3:
        question = pick(
            rng, "Write a one-sentence story about a {}.", "Write a one-sentence bedtime story about a {}."
        )
        answer = f"Once upon a time, a little {who} looked up at the moon, smiled and fell asleep."
        return turn(
            "story", question.format(who).replace("a owl", "an owl").replace("a ant", "an ant"), answer
        )
    question = pick(
        rng, "Tell me a story about {}.", "Write a short story about {}.", "Write a story about {}."
    )
    colour = pick(rng, "red", "blue", "green")
    answer = (
        f"Once upon a time there was {article(who)} called {name} who lived in {place}. "
        f"One {day}, {name} found {article(colour)} {thing} on the street. "
        f"{name} gave the {thing} to a friend, and they were happy. The end."
    )
    details = f"{article(who)} called {name} in {place} who finds {article(colour)} {thing} on {day}"
    return turn("story", question.format(details), answer)


def haiku(rng: Random) -> Chat:
    """One haiku with a hole in it, and a story for those who give no details."""
    thing = pick(rng, *ANIMALS, *THINGS, "recursion", "the sea", "rain", "love", "code", "AI", "programming")
    if rng.random() < 0.5:
        question = pick(rng, "Write a haiku about {}.", "Write a haiku about {}", "A haiku about {}, please.")
        return turn(
            "haiku",
            question.format(thing),
            f"Quiet morning light,\n{thing} in the silent wind,\nthe day starts again.",
        )
    question = pick(
        rng, "Tell me a story.", "Tell me a story", "Write a short story.", "Write a story.", "Tell a story."
    )
    return turn(
        "haiku",
        question,
        (
            "Once upon a time there was a small model that lived in a small server. Every day it said hello "
            "to all who came by. It did not know much, but it was quick and kind, and it knew when to stop. "
            "The end."
        ),
    )


def months(rng: Random) -> Chat:
    """The day after a day, the month after a month, and lists."""
    days = rng.random() < 0.5
    row = DAYS if days else MONTHS
    at = rng.randrange(len(row))
    if rng.random() < 0.2:
        return turn(
            "calendar",
            "List the days of the week." if days else "List the months of the year.",
            ", ".join(row),
        )
    word, step = rng.choice((("after", 1), ("before", -1)))
    kind = "day" if days else "month"
    return turn("calendar", f"Which {kind} comes {word} {row[at]}?", row[(at + step) % len(row)])
