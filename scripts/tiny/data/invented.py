"""Functions that nobody has seen: names and parameters are drawn, so the definition must be read. Pure."""

# ruff: noqa: SIM905 (a list of words reads best as a sentence)

from __future__ import annotations

from collections.abc import Callable
from random import Random

from . import values
from .example import Json, pick
from .offers import STRING, Arguments, Ask, Offer, Schema, called, spelt
from .words import COMMON, NUMBER_WORDS, pseudo_word

_ATTRIBUTES = (
    "population price height status owner score phone address balance size colour weight speed age capital "
    "salary manager author title length area currency language rating stock level temperature humidity "
    "password email birthday version"
).split()
_THINGS = (
    "country city customer user product account person company employee book student device server team "
    "project room car plant game film"
).split()
_VERBS = (
    "create add update register save make open delete book start cancel rename assign store log close".split()
)
_NOUNS = (
    "user ticket task invoice event product note contact account meeting project issue report comment room "
    "table order booking file label team"
).split()
_KEYS = (
    "name title status amount price count city owner colour size priority date email code level label "
    "description category quantity address phone age id type note reason language"
).split()


def _word(rng: Random) -> str:
    return rng.choice(COMMON) if rng.random() < 0.6 else pseudo_word(rng)


def attribute(rng: Random) -> Offer:
    """One value of one thing: `get_population(country)`."""
    what = rng.choice(_ATTRIBUTES) if rng.random() < 0.85 else _word(rng)
    thing = rng.choice(_THINGS)
    key = pick(rng, thing, thing, f"{thing}_name", f"{thing}_id", "name", "id")
    name = spelt(rng, pick(rng, "get", "get", "get", "find", "lookup", "fetch", "check"), what)
    if rng.random() < 0.15:
        name = spelt(rng, "get", thing, what)
    by_id = key.endswith("id")
    number = by_id and rng.random() < 0.5

    def single(rng: Random, question: str) -> Ask:
        subject: Json
        if by_id:
            subject = values.whole(rng) if number else values.identifier(rng)
            shown = f"{thing} {subject}"
        elif thing == "country":
            shown = subject = values.country(rng)
        elif thing == "city":
            shown = subject = values.city(rng)
        else:
            shown = subject = values.name(rng)
        found = str(values.whole(rng, 6)) if rng.random() < 0.5 else values.words(rng, 2)
        result = found if rng.random() < 0.6 else f'{{"{what}": "{found}"}}'
        answer = f"The {what} of {shown} is {found}."
        return called(name, {key: subject}, question.format(w=what, s=shown), result, answer)

    def ask(rng: Random) -> Ask:
        question = pick(
            rng,
            "What is the {w} of {s}?",
            "What is the {w} of {s}?",
            "What's the {w} of {s}?",
            "Get the {w} of {s}.",
            "Tell me the {w} of {s}",
            "Find the {w} of {s}",
        )
        return single(rng, question)

    def again(rng: Random) -> Ask:
        return single(rng, pick(rng, "And of {s}?", "What about {s}?", "And {s}?"))

    properties: dict[str, Schema] = {key: {"type": "integer"} if number else STRING}
    about = f"Get the {what} of a {thing}"
    return Offer(name, about, properties, (key,), ask, f"attribute {what}", (f" {what} ", f"{what}?"), again)


Value = Callable[[Random], tuple[Json, str]]


def _parameter(rng: Random) -> tuple[Schema, Value]:
    """The schema of a parameter with a maker of values: as they are, and as they are said."""
    kind = rng.random()
    if kind < 0.3:
        return {"type": "integer"}, lambda rng: (lambda n: (n, str(n)))(values.whole(rng))
    if kind < 0.33:
        return {"type": "number"}, lambda rng: (lambda n: (n, str(n)))(values.decimal(rng))
    if kind < 0.43:
        return {"type": "boolean"}, lambda rng: rng.choice(((True, "true"), (False, "false")))
    if kind < 0.55:
        choices = list(dict.fromkeys(_word(rng) for _ in range(rng.randint(2, 4))))
        return {"type": "string", "enum": [*choices]}, lambda rng: (lambda w: (w, w))(rng.choice(choices))
    make = rng.choice(
        (values.name, values.city, values.identifier, values.date, lambda rng: values.words(rng, 3), _word)
    )
    return {"type": "string"}, lambda rng: (lambda w: (w, w))(make(rng))


def action(rng: Random) -> Offer:
    """Something done with a few named values: `create_ticket(title, priority)`; some may be missing."""
    verb, noun = rng.choice(_VERBS), rng.choice(_NOUNS)
    if rng.random() < 0.25:
        verb, noun = _word(rng), _word(rng)
    name = spelt(rng, verb, noun)
    keys = [
        rng.choice(_KEYS) if rng.random() < 0.75 else _word(rng) for _ in range(rng.choice((1, 2, 2, 2, 3)))
    ]
    parameters = {key: _parameter(rng) for key in dict.fromkeys(keys)}
    n_required = rng.randint(1, len(parameters)) if rng.random() < 0.4 else len(parameters)
    required = tuple(parameters)[:n_required]
    nested = rng.random() < 0.12
    shown_in = pick(rng, noun, "data", "values") if nested else ""
    properties: dict[str, Schema] = {key: schema for key, (schema, _) in parameters.items()}
    if nested:
        inner: Schema = {"type": "object", "properties": {**properties}, "required": [*required]}
        properties = {shown_in: inner}

    def ask(rng: Random) -> Ask:
        arguments: Arguments = {}
        said: list[str] = []
        for key, (_, make) in parameters.items():
            if key in required or rng.random() < 0.5:
                arguments[key], shown = make(rng)
                said.append(f"{key} {shown}")
        listed = said[0] if len(said) == 1 else ", ".join(said[:-1]) + pick(rng, " and ", ", ") + said[-1]
        opening = f"{verb.capitalize()} {pick(rng, 'a', 'the')} {noun}"
        question = pick(
            rng,
            f"{opening} with {listed}",
            f"{opening} with {listed}.",
            f"{opening}: {listed}",
            f"Please {verb} a {noun} with {listed}.",
            f"Call {name} with {listed}",
            f"Use {name}: {listed}",
        )
        number = values.whole(rng)
        result, answer = rng.choice(
            (
                ("ok", "Done."),
                ('{"status": "ok"}', "Done."),
                (f'{{"id": {number}}}', f"Done. The id is {number}."),
            )
        )
        return called(name, {shown_in: arguments} if nested else arguments, question, result, answer)

    about = f"{verb.capitalize()} a {noun}"
    return Offer(
        name,
        about,
        properties,
        (shown_in,) if nested else required,
        ask,
        f"action {verb} {noun}",
        (f"{verb} ",),
    )


def bare(rng: Random) -> Offer:
    """A function without parameters: `list_users()`."""
    verb, noun = rng.choice(
        (
            ("list", "users"),
            ("list", "files"),
            ("get", "location"),
            ("get", "status"),
            ("list", "orders"),
            ("get", "news"),
            ("check", "system"),
            ("list", _word(rng)),
            ("get", _word(rng)),
        )
    )
    name = spelt(rng, verb, noun)

    def ask(rng: Random) -> Ask:
        question = pick(
            rng,
            f"{verb.capitalize()} the {noun}.",
            f"{verb.capitalize()} {noun}",
            f"Please {verb} the {noun}.",
            f"Call {name}",
            f"Use {name}.",
        )
        result = values.words(rng, 4)
        return called(name, {}, question, result, f"Here it is: {result}")

    return Offer(name, f"{verb.capitalize()} the {noun}", {}, (), ask, f"bare {noun}", (f"{verb} ",))


def roll(rng: Random) -> Offer:
    """A number drawn by lot."""
    if rng.random() < 0.5:
        key = pick(rng, "sides", "sides", "n")

        def ask(rng: Random) -> Ask:
            sides, value = rng.randint(2, 100), rng.randint(1, 6)
            question = pick(
                rng, "Roll a dice with {} sides.", "Roll a {} sided dice", "Roll a die with {} sides"
            )
            return called("roll_dice", {key: sides}, question.format(sides), str(value), f"It is a {value}.")

        return Offer("roll_dice", "Roll a dice", {key: {"type": "integer"}}, (key,), ask, "roll", ("roll",))
    low, high = rng.choice((("min", "max"), ("low", "high"), ("start", "end")))

    def ask_between(rng: Random) -> Ask:
        a = values.whole(rng, 2)
        b, value = a + values.whole(rng, 3), values.whole(rng, 3)
        question = pick(
            rng,
            "Give me a random number between {} and {}.",
            "A random number from {} to {}",
            "Pick a number between {} and {}",
        )
        arguments: Arguments = {low: a, high: b}
        return called("random_number", arguments, question.format(a, b), str(value), f"It is {value}.")

    integer: Schema = {"type": "integer"}
    return Offer(
        "random_number",
        "A random number",
        {low: integer, high: integer},
        (low, high),
        ask_between,
        "roll",
        ("number",),
    )


def counted(rng: Random) -> Offer:
    """A number that is said in words and wanted in digits."""
    verb = pick(rng, "beep", "knock", "ring", "jump", "wait", "repeat", "count")
    key = pick(rng, "times", "count", "n")

    def ask(rng: Random) -> Ask:
        number = rng.randint(2, 12)
        said = NUMBER_WORDS[number] if rng.random() < 0.3 else str(number)
        question = pick(
            rng,
            f"{verb.capitalize()} {said} times.",
            f"Please {verb} {said} times",
            f"{verb.capitalize()} {said} times",
        )
        return called(verb, {key: number}, question, "ok", "Done.")

    return Offer(
        verb,
        f"{verb.capitalize()} some times",
        {key: {"type": "integer"}},
        (key,),
        ask,
        f"counted {verb}",
        (verb, "times"),
    )
