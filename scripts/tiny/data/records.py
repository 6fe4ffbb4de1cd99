"""JSON records: from a list of values and from a sentence. Pure."""

from __future__ import annotations

import json
from random import Random

from .example import Chat, Json, pick, turn
from .words import CITIES, COLOURS, DAYS, JOBS, NAMES, THINGS, any_word, capitalised


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def record(rng: Random) -> Chat:
    """A JSON object with the fields and the values that the request lists."""
    fields: dict[str, Json] = {
        "name": rng.choice(NAMES),
        "age": rng.randint(1, 99),
        "city": rng.choice(CITIES),
        "colour": rng.choice(COLOURS),
        "job": rng.choice(JOBS),
        "day": rng.choice(DAYS),
        "id": rng.randint(1, 9999),
        "title": any_word(rng, 0.5),
        "active": rng.random() < 0.5,
        "count": rng.randint(0, 20),
        "item": rng.choice(THINGS),
        "price": rng.randint(1, 500),
    }
    if rng.random() < 0.3:
        fields["name"] = capitalised(any_word(rng, 0.1))
    keys = rng.sample(list(fields), rng.randint(1, 4))
    if rng.random() < 0.5 and "name" in fields:
        keys = ["name", *[k for k in keys if k != "name"][:3]]
    chosen = {key: fields[key] for key in keys}
    shown = [f"{key} {_dump(v) if isinstance(v, bool) else v}" for key, v in chosen.items()]
    listed = (
        ", ".join(shown)
        if rng.random() < 0.5 or len(shown) < 2
        else ", ".join(shown[:-1]) + " and " + shown[-1]
    )
    question = pick(
        rng,
        "Give me a JSON object with {}.",
        "Write a JSON object with {}.",
        "Make a JSON record: {}",
        "JSON: {}",
        "Return JSON with {}.",
    )
    return turn("record", question.format(listed), _dump(chosen))


def person(rng: Random) -> Chat:
    """A sentence about a person turned into JSON."""
    name, age, city, job = rng.choice(NAMES), rng.randint(1, 99), rng.choice(CITIES), rng.choice(JOBS)
    text, value = rng.choice(
        (
            (f"{name} is {age} years old.", {"name": name, "age": age}),
            (f"{name} is {age} years old and lives in {city}.", {"name": name, "age": age, "city": city}),
            (f"{name}, {age}, lives in {city}.", {"name": name, "age": age, "city": city}),
            (f"{name} lives in {city}.", {"name": name, "city": city}),
            (f"{name} is a {job} from {city}.", {"name": name, "job": job, "city": city}),
        )
    )
    question = pick(
        rng,
        "Extract as JSON: {}",
        "Extract the person as JSON: {}",
        "Extract the data from this text as JSON: {}",
        "Turn this into JSON: {}",
        "{} Answer in JSON.",
        "{}\n\nReply with JSON.",
    )
    return turn("record", question.format(text), _dump(dict(value)))


def event(rng: Random) -> Chat:
    """The event of OpenAI's structured-output example, in many versions."""
    people = rng.sample(NAMES, rng.randint(1, 3))
    day = rng.choice(DAYS)
    name = pick(
        rng,
        "science fair",
        "birthday party",
        "concert",
        "team meeting",
        "book club",
        "football game",
        "picnic",
        "wedding",
        "dinner",
        "workshop",
        "dance class",
        "chess game",
    )
    who = people[0] if len(people) == 1 else ", ".join(people[:-1]) + " and " + people[-1]
    verb = "is" if len(people) == 1 else "are"
    text = f"{who} {verb} going to a {name} on {day}."
    answer = _dump({"name": name, "date": day, "participants": [*people]})
    if rng.random() < 0.6:
        chat = turn("event", text, answer)
        system = pick(rng, "Extract the event information.", "Extract the event information as JSON.")
        return Chat("event", ({"role": "system", "content": system}, *chat.messages))
    return turn("event", f"Extract the event information as JSON: {text}", answer)
