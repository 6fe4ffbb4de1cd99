"""Records read from a sentence through a function, as Instructor and LangChain ask for them. Pure."""

# ruff: noqa: SIM905 (a list of words reads best as a sentence)

from __future__ import annotations

from random import Random

from . import values
from .example import pick
from .offers import INTEGER, STRING, Arguments, Ask, Offer, Schema, called
from .words import DAYS, JOBS

_EVENTS = (
    "science fair|birthday party|concert|team meeting|book club|football game|picnic|wedding|dinner|workshop"
).split("|")
_NAMES = (
    "User User UserDetail UserInfo Person UserModel extract_user Contact Character save_person PersonInfo"
).split()
_FORMS = (
    "Extract: {}",
    "Extract: {}",
    "Extract {}",
    "extract {}",
    "{}",
    "{}",
    "Extract the user: {}",
    "Extract the person from this text: {}",
)


def extraction(rng: Random) -> Offer:
    """A record of a person that is read from a sentence, as Instructor and LangChain ask for it."""
    name = rng.choice(_NAMES)
    extra = rng.choice(("", "", "", "city", "job", "email"))
    first, years = pick(rng, "name", "name", "name", "full_name"), "age"
    properties: dict[str, Schema] = {first: STRING, years: INTEGER}
    if extra:
        properties[extra] = STRING

    def ask(rng: Random) -> Ask:
        who, age = values.name(rng), rng.randint(1, 99)
        arguments: Arguments = {first: who, years: age}
        said = pick(
            rng,
            f"{who} is {age} years old",
            f"{who} is {age} years old",
            f"{who} is {age}",
            f"{who}, {age} years old",
            f"My name is {who} and I am {age} years old",
        )
        if extra == "city":
            arguments[extra] = values.city(rng)
            said = pick(
                rng,
                f"{who} is {age} years old and lives in {arguments[extra]}",
                f"{who}, {age}, lives in {arguments[extra]}",
            )
        elif extra == "job":
            job = rng.choice(JOBS)
            arguments[extra] = job
            said = pick(
                rng, f"{who} is a {age} year old {job}", f"{who} is {age} years old and works as a {job}"
            )
        elif extra == "email":
            arguments[extra] = values.address(rng)
            said = f"{who} is {age} years old and has the email {arguments[extra]}"
        return called(
            name,
            arguments,
            rng.choice(_FORMS).format(said) + pick(rng, "", "", "."),
            "saved",
            f"{who} was saved.",
        )

    told = pick(
        rng,
        f"Correctly extracted `{name}` with all the required parameters with correct types",
        "Information about a person",
        "A user",
    )
    return Offer(
        name, told, properties, tuple(properties), ask, "person", ("extract", "name is", "i am", "years old")
    )


def event(rng: Random) -> Offer:
    """The event of OpenAI's structured-output guide, with a list of people."""
    name = pick(rng, "CalendarEvent", "create_event", "add_event", "Event", "create_calendar_event")
    title, day, people = (
        pick(rng, "name", "name", "title"),
        pick(rng, "date", "date", "day"),
        pick(rng, "participants", "participants", "attendees", "people"),
    )
    properties: dict[str, Schema] = {
        title: STRING,
        day: STRING,
        people: {"type": "array", "items": {"type": "string"}},
    }

    def ask(rng: Random) -> Ask:
        who = [values.name(rng).split()[0] for _ in range(rng.randint(1, 3))]
        what, when = rng.choice(_EVENTS), rng.choice(DAYS)
        listed = who[0] if len(who) == 1 else ", ".join(who[:-1]) + " and " + who[-1]
        verb = "is" if len(who) == 1 else "are"
        question = pick(
            rng,
            f"{listed} {verb} going to a {what} on {when}.",
            f"Add a {what} on {when} with {listed}.",
            f"Extract the event: {listed} {verb} going to a {what} on {when}.",
        )
        arguments: Arguments = {title: what, day: when, people: [*who]}
        return called(name, arguments, question, "ok", f"The {what} on {when} was added.")

    return Offer(
        name,
        pick(rng, "Add an event to the calendar", "A calendar event"),
        properties,
        tuple(properties),
        ask,
        "event",
        ("extract", "event", "going to"),
    )


def joke(rng: Random) -> Offer:
    """The joke of LangChain's structured-output guide."""
    properties: dict[str, Schema] = {"setup": STRING, "punchline": STRING}

    def ask(rng: Random) -> Ask:
        thing = pick(rng, "cats", "dogs", "bears", "cows", "ducks", "robots", "parrots", "owls", "computers")
        arguments: Arguments = {
            "setup": f"Why did the {thing} cross the road?",
            "punchline": "To get to the other side!",
        }
        question = pick(
            rng, "Tell me a joke about {}", "Tell me a joke about {}.", "A joke about {}, please."
        )
        return called("Joke", arguments, question.format(thing), "ok", "I hope you like it!")

    return Offer(
        "Joke",
        pick(rng, "Joke to tell user.", "A joke"),
        properties,
        tuple(properties),
        ask,
        "joke",
        ("joke", "funny"),
    )
