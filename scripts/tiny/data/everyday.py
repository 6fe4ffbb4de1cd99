"""Functions that everybody's examples have: sums, messages, reminders, lights and the like. Pure."""

from __future__ import annotations

from random import Random

from . import values
from .example import Json, pick
from .offers import STRING, Arguments, Ask, Offer, Schema, called, in_order, shuffled
from .words import COLOURS, DAYS, LANGUAGES, THINGS, capitalised

_SUMS = {
    "add": ("+", "plus", ("add", "add", "sum", "add_numbers", "plus")),
    "multiply": ("*", "times", ("multiply", "multiply", "multiply_numbers", "product", "mul")),
    "subtract": ("-", "minus", ("subtract", "subtract", "minus")),
    "divide": ("/", "divided by", ("divide", "div")),
}


def _value(sign: str, a: float, b: float) -> str:
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a / (b or 1)}[sign]
    return f"{value:.4f}".rstrip("0").rstrip(".")


def sums(rng: Random) -> Offer:
    """`add(a, b)` and its like; the numbers are copied, the function does the sum."""
    word = rng.choice(list(_SUMS))
    sign, said, names = _SUMS[word]
    name = rng.choice(names)
    first, second = rng.choice(
        (("a", "b"), ("a", "b"), ("x", "y"), ("first", "second"), ("num1", "num2"), ("left", "right"))
    )
    kind = pick(rng, "integer", "integer", "number")
    properties: dict[str, Schema] = {first: {"type": kind}, second: {"type": kind}}

    def number(rng: Random) -> float:
        if kind == "number" and rng.random() < 0.3:
            return values.decimal(rng)
        return values.whole(rng, 3)

    def single(rng: Random, question: str) -> Ask:
        a, b = number(rng), number(rng)
        arguments: Arguments = {first: a, second: b}
        value = _value(sign, a, b)
        return called(
            name, arguments, question.format(a=a, b=b, s=sign, w=said), value, f"The result is {value}."
        )

    def ask(rng: Random) -> Ask:
        verb = {
            "+": "Add {a} and {b}.",
            "*": "Multiply {a} by {b}.",
            "-": "Calculate {a} {s} {b}.",
            "/": "Divide {a} by {b}.",
        }
        question = pick(
            rng,
            "What is {a} {w} {b}?",
            "What is {a} {w} {b}?",
            "What's {a} {w} {b}?",
            "What is {a} {s} {b}?",
            "What is {a}{s}{b}?",
            "Compute {a} {w} {b}.",
            "Calculate {a} {s} {b}",
            "How much is {a} {w} {b}?",
            verb[sign],
            verb[sign],
        )
        return single(rng, question)

    return Offer(
        name,
        f"{capitalised(word)} two numbers",
        properties,
        (first, second),
        ask,
        f"sum {sign}",
        (sign, said),
    )


def send(rng: Random) -> Offer:
    """A message to a person or an address, with or without a subject."""
    noun, names = rng.choice(
        (
            ("message", ("send_message", "send_message", "message", "sendMessage")),
            ("email", ("send_email", "send_email", "email", "sendEmail", "SendEmail")),
            ("note", ("notify", "send_note")),
            ("text", ("send_text", "send_sms")),
        )
    )
    name = rng.choice(names)
    to = pick(rng, "to", "to", "recipient", "name", "contact", "receiver", "person", "user")
    body = pick(rng, "text", "message", "content", "body", "body", "msg")
    properties: dict[str, Schema] = {to: STRING, body: STRING}
    subject = noun == "email" and rng.random() < 0.4
    if subject:
        properties = {to: STRING, "subject": STRING, body: STRING}
    properties = shuffled(rng, properties)
    result, done = rng.choice((("sent", "sent"), ("ok", "sent"), ('{"status": "sent"}', "sent")))

    def ask(rng: Random) -> Ask:
        who, said = (values.address(rng) if rng.random() < 0.35 else values.name(rng)), values.text(rng)
        arguments: Arguments = {to: who, body: said}
        if subject:
            title = values.words(rng, 3)
            arguments["subject"] = title
            question = f'Send an email to {who} with the subject "{title}" and the text "{said}"'
        else:
            article = "an" if noun == "email" else "a"
            question = pick(
                rng,
                f'Send {who} the {noun} "{said}"',
                f'Send {article} {noun} to {who}: "{said}"',
                f"Send {article} {noun} to {who}: {said}",
                f'Send {article} {noun} to {who} saying "{said}"',
                f'Tell {who} "{said}"',
                f"Please send {article} {noun} to {who} saying {said}",
            )
        return called(
            name, in_order(properties, arguments), question, result, f"The {noun} to {who} was {done}."
        )

    return Offer(
        name,
        f"Send {'an' if noun == 'email' else 'a'} {noun} to somebody",
        properties,
        tuple(properties),
        ask,
        "send",
        ("send", "tell"),
    )


def search(rng: Random) -> Offer:
    """Looking something up by a few words, with a limit now and then."""
    name = pick(
        rng,
        "search",
        "search",
        "web_search",
        "find",
        "search_web",
        "lookup",
        "search_documents",
        "search_knowledge_base",
        "google",
    )
    key = pick(rng, "query", "query", "query", "q", "search", "text", "search_query", "term", "keywords")
    limit = pick(rng, "limit", "max_results", "n", "top_k") if rng.random() < 0.25 else ""
    properties: dict[str, Schema] = {key: STRING}
    if limit:
        properties[limit] = {"type": "integer"}

    def ask(rng: Random) -> Ask:
        query, found = values.words(rng, 5), values.words(rng, 5)
        arguments: Arguments = {key: query}
        question = pick(
            rng,
            "Search for {}",
            "Search for {}.",
            "Look up {}",
            "Find {}",
            'Search for "{}"',
            "Search the web for {}",
            "search {}",
            "Google {}",
        )
        question = question.format(query)
        if limit and rng.random() < 0.6:
            arguments[limit] = rng.randint(1, 50)
            question = question.rstrip(".") + f" and give me {arguments[limit]} results"
        return called(name, arguments, question, found, f"I found this: {found}")

    told = pick(rng, "Search for something", "Search the web", "Search the knowledge base.")
    return Offer(
        name, told, properties, (key,), ask, "search", ("unknown:", "search", "find", "look", "google")
    )


def clock(rng: Random) -> Offer:
    """The time in a place, or here and now with no arguments at all."""
    name = pick(rng, "get_time", "get_current_time", "current_time", "time", "getTime", "get_time_in_city")
    key = pick(rng, "city", "location", "place", "timezone", "zone")
    here = rng.random() < 0.25
    properties: dict[str, Schema] = {} if here else {key: STRING}

    def single(rng: Random, question: str) -> Ask:
        city, hour = values.city(rng), values.day_time(rng)
        if here:
            question = pick(
                rng, "What time is it?", "What time is it now?", "What's the time?", "Tell me the time."
            )
            return called(name, {}, question, hour, f"It is {hour}.")
        return called(name, {key: city}, question.format(city), hour, f"It is {hour} in {city}.")

    def ask(rng: Random) -> Ask:
        return single(
            rng,
            pick(
                rng,
                "What time is it in {}?",
                "What time is it in {} now?",
                "What is the time in {}?",
                "Time in {}?",
                "What's the time in {}?",
            ),
        )

    def again(rng: Random) -> Ask:
        return single(rng, pick(rng, "And in {}?", "What about {}?"))

    told = "Get the current time" if here else "Get the time in a city"
    return Offer(name, told, properties, tuple(properties), ask, "time", ("time",), None if here else again)


def light(rng: Random) -> Offer:
    """A light that is switched on or off."""
    name = pick(rng, "set_light", "set_light", "switch_light", "control_light", "light", "turn_light")
    room_key, on_key = (
        pick(rng, "room", "room", "location", "place"),
        pick(rng, "on", "on", "state", "enabled"),
    )
    worded = rng.random() < 0.3
    properties: dict[str, Schema] = {room_key: STRING, on_key: {"type": "boolean"}}
    if worded:
        properties[on_key] = {"type": "string", "enum": ["on", "off"]}
    properties = shuffled(rng, properties)

    def ask(rng: Random) -> Ask:
        room, on = (
            pick(rng, "kitchen", "garden", "office", "bedroom", "hall", "bathroom", "living room", "garage"),
            rng.random() < 0.5,
        )
        word = "on" if on else "off"
        state: Json = word if worded else on
        question = pick(
            rng,
            "Turn {w} the light in the {r}.",
            "Turn the {r} light {w}.",
            "Turn {w} the {r} light",
            "Switch {w} the light in the {r}.",
            "Please turn {w} the lights in the {r}.",
        )
        arguments = in_order(properties, {room_key: room, on_key: state})
        return called(
            name,
            arguments,
            question.format(w=word, r=room),
            pick(rng, "ok", "done"),
            f"The light in the {room} is {word}.",
        )

    return Offer(
        name,
        pick(rng, "Switch a light", "Turn a light on or off"),
        properties,
        (room_key, on_key),
        ask,
        "light",
        ("light",),
    )


def remind(rng: Random) -> Offer:
    """A reminder or an entry of a list of things to do."""
    name = pick(rng, "add_reminder", "set_reminder", "remind", "create_reminder", "remind_me")
    when, what = pick(rng, "day", "day", "date", "when"), pick(rng, "text", "text", "task", "what", "title")
    properties = shuffled(rng, {when: STRING, what: STRING})

    def ask(rng: Random) -> Ask:
        day = rng.choice(DAYS) if rng.random() < 0.8 else values.date(rng)
        task = (
            f"buy a {rng.choice(COLOURS)} {rng.choice(THINGS)}"
            if rng.random() < 0.4
            else values.words(rng, 4)
        )
        question = pick(
            rng, "Remind me on {d} to {t}.", "Set a reminder for {d}: {t}", "Add a reminder to {t} on {d}."
        )
        arguments = in_order(properties, {when: day, what: task})
        return called(
            name,
            arguments,
            question.format(d=day, t=task),
            pick(rng, "added", "ok"),
            f"I will remind you on {day}.",
        )

    return Offer(name, "Add a reminder", properties, (when, what), ask, "remind", ("remind",))


def translate(rng: Random) -> Offer:
    """A text to be put into another language."""
    name = pick(rng, "translate", "translate", "translate_text", "translation")
    text, language = (
        pick(rng, "text", "text", "content", "input"),
        pick(rng, "language", "language", "target_language", "target", "to"),
    )
    properties = shuffled(rng, {text: STRING, language: STRING})

    def ask(rng: Random) -> Ask:
        said, into = values.text(rng, 6), rng.choice(LANGUAGES)
        question = pick(
            rng,
            'Translate "{t}" to {l}',
            'Translate "{t}" into {l}.',
            "Translate to {l}: {t}",
            'How do you say "{t}" in {l}?',
        )
        arguments = in_order(properties, {text: said, language: into})
        result = values.words(rng, 4)
        return called(name, arguments, question.format(t=said, l=into), result, f"The translation: {result}")

    return Offer(
        name,
        "Translate a text",
        properties,
        (text, language),
        ask,
        "translate",
        ("translate", "how do you say"),
    )
