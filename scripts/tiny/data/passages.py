"""Answering from a passage that is given, and saying so when the passage does not tell. Pure."""

from __future__ import annotations

from random import Random

from .example import Chat, pick, turn
from .words import ANIMALS, CITIES, COLOURS, DAYS, FOODS, JOBS, NAMES, THINGS, any_word, article, capitalised

ABSENT = "The passage does not say."


def _facts(rng: Random, name: str) -> list[tuple[str, str, str]]:
    """Sentences about one person, each with a question and its answer."""
    city, colour, thing = rng.choice(CITIES), rng.choice(COLOURS), rng.choice(THINGS)
    food, day, job, animal = rng.choice(FOODS), rng.choice(DAYS), rng.choice(JOBS), rng.choice(ANIMALS)
    age, pet, code = rng.randint(5, 90), rng.choice(NAMES), any_word(rng, 0.1)
    if rng.random() < 0.3:
        city = capitalised(any_word(rng, 0.2))
    return [
        (f"{name} lives in {city}.", f"Where does {name} live?", city),
        (f"{name} has {article(colour)} {thing}.", f"What does {name} have?", f"{article(colour)} {thing}"),
        (f"{name} likes {food}.", f"What does {name} like?", food),
        (f"{name} is {age} years old.", f"How old is {name}?", str(age)),
        (f"{name} works as {article(job)}.", f"What is the job of {name}?", job),
        (f"{name} arrives on {day}.", f"When does {name} arrive?", day),
        (f"{name} has {article(animal)} called {pet}.", f"What is the {animal} of {name} called?", pet),
        (f"The password of {name} is {code}.", f"What is the password of {name}?", code),
    ]


def passage(rng: Random) -> Chat:
    """Two to five sentences about some people, and a question about one of them."""
    people = rng.sample(NAMES, rng.randint(1, 3))
    facts = [fact for name in people for fact in rng.sample(_facts(rng, name), 2)]
    rng.shuffle(facts)
    facts = facts[: rng.randint(2, 5)]
    text = " ".join(sentence for sentence, _, _ in facts)
    if rng.random() < 0.12:
        _, question, answer = rng.choice(_facts(rng, rng.choice([n for n in NAMES if n not in people])))
        answer = ABSENT
    else:
        _, question, answer = rng.choice(facts)
    form = pick(
        rng,
        "Passage: {p}\nQuestion: {q}",
        "{p}\n\n{q}",
        "Read this: {p}\n{q}",
        "{p} {q}",
        "Answer from the passage.\n\nPassage: {p}\n\nQuestion: {q}",
        "Context:\n{p}\n\nQuestion: {q}",
    )
    return turn("passage", form.format(p=text, q=question), answer)
