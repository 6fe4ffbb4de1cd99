"""Conversations in which functions are offered: called where one fits, left alone where none does. Pure."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from . import (
    affairs,
    arithmetic,
    copying,
    everyday,
    extraction,
    facts,
    invented,
    language,
    passages,
    talk,
    values,
    weather,
)
from .example import Chat, Json, Maker, Message, pick
from .offers import Ask, Kind, Offer, definition, joined
from .words import JOBS, article

Kinds = tuple[tuple[Kind, float], ...]
# Functions with names that training has, and functions whose names are drawn.
KNOWN: Kinds = (
    (weather.weather, 10),
    (everyday.sums, 4),
    (everyday.send, 4),
    (everyday.search, 4),
    (everyday.clock, 2.5),
    (everyday.light, 1.5),
    (everyday.remind, 2),
    (everyday.translate, 2),
    (affairs.delivery, 3),
    (affairs.stock, 2),
    (affairs.horoscope, 1),
    (affairs.journey, 2),
    (affairs.timer, 1.5),
    (affairs.shop, 1.5),
    (affairs.convert, 1.5),
    (affairs.file, 1.5),
    (extraction.extraction, 3),
    (extraction.event, 1.5),
    (extraction.joke, 0.5),
)
INVENTED: Kinds = (
    (invented.attribute, 5),
    (invented.action, 3),
    (invented.bare, 1),
    (invented.roll, 1),
    (invented.counted, 0.7),
)
KINDS = KNOWN + INVENTED
_PLAIN: tuple[tuple[Maker, float], ...] = (
    (talk.talk, 5),
    (talk.unknown, 3),
    (copying.say, 3),
    (copying.repeat, 2),
    (facts.capital, 3),
    (facts.country, 0.5),
    (arithmetic.arithmetic, 3),
    (arithmetic.compare, 0.5),
    (language.sentiment, 0.7),
    (passages.passage, 0.5),
)
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a helpful assistant. Use the supplied tools to assist the user.",
    "You are a helpful customer support assistant. Use the supplied tools to assist the user.",
    "You are a helpful assistant with tools.",
    "Use the tools.",
    "Call a tool when one fits.",
    "Be brief.",
)
_SYSTEM_SHARE = 0.3
_OPENINGS = ("Hi! ", "Hello! ", "Please help me: ", "Hey, ", "Hi, ", "OK. ", "Please: ")


def offers(rng: Random, count: int, kinds: Kinds = KINDS) -> list[Offer]:
    """So many functions, none of which could be taken for another."""
    makers, weights = zip(*kinds, strict=True)
    found: list[Offer] = []
    while len(found) < count:
        offer: Offer = rng.choices(makers, weights)[0](rng)
        if all(offer.name != other.name and offer.topic != other.topic for other in found):
            found.append(offer)
    return found


def _fits(ask: Ask, offer: Offer, offered: list[Offer]) -> bool:
    """Whether no other function that is offered claims the question's words."""
    question = ask.question.lower()
    return not any(
        word in question for other in offered if other is not offer for word in other.words if ":" not in word
    )


def ask_of(rng: Random, offer: Offer, offered: list[Offer], again: bool = False) -> Ask | None:
    """A question for this function that none of the others might answer; none if one is hard to find."""
    make = offer.ask_again if again and offer.ask_again else offer.ask
    for _ in range(5):
        ask = make(rng)
        if _fits(ask, offer, offered):
            return replace(ask, question=rng.choice(_OPENINGS) + ask.question) if rng.random() < 0.06 else ask
    return None


def plain_of(rng: Random, offered: list[Offer]) -> tuple[str, str]:
    """A question that no function is for, and its answer."""
    makers, weights = zip(*_PLAIN, strict=True)
    while True:
        chat = rng.choices(makers, weights)[0](rng)
        assert isinstance(chat, Chat)
        question, answer = chat.messages[-2]["content"] or "", chat.messages[-1]["content"] or ""
        marked = f"{chat.task}:{question.lower()} "
        if not any(word in marked for offer in offered for word in offer.words):
            return question, answer


def both(rng: Random, first: Ask, second: Ask) -> Ask:
    """Two questions in one message."""
    link = pick(rng, " ", " ", " Also, ", "\n")
    opening = first.question if first.question[-1] in '.?!"' else first.question + "."
    return joined([first, second], opening + link + second.question)


def calls_of(ask: Ask) -> Message:
    """The assistant's message that makes the calls."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments in ask.calls
        ],
    }


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def answered(ask: Ask) -> list[Message]:
    """The question, the calls, what they return, and the answer."""
    results = [_said("tool", result) for result in ask.results]
    return [_said("user", ask.question), calls_of(ask), *results, _said("assistant", ask.answer)]


def asked_back(rng: Random, ask: Ask) -> list[Message]:
    """A question about an order without its number, which is asked for and then given."""
    vague = pick(
        rng,
        "When will my order arrive?",
        "Hi, can you tell me the delivery date for my order?",
        "Where is my order?",
        "What is the status of my order?",
    )
    known = next(iter(ask.calls[0][1].values()))
    given = pick(rng, f"It is {known}", f"I think it is {known}", f"{known}", f"The order id is {known}.")
    opening = [_said("user", vague), _said("assistant", "What is the number of your order?")]
    return opening + answered(replace(ask, question=given))


def chat(rng: Random, task: str, messages: list[Message], offered: list[Offer]) -> Chat:
    """The conversation with the functions' definitions, and now and then a system message."""
    tools: tuple[dict[str, Json], ...] = tuple(definition(rng, offer) for offer in offered)
    if rng.random() < _SYSTEM_SHARE:
        system = rng.choice(SYSTEMS)
        if rng.random() < 0.3:
            system = f"You are {article(rng.choice(JOBS))}. {values.text(rng, 20)}"
        messages = [_said("system", system), *messages]
    return Chat(task, tuple(messages), tools)


def one_call(rng: Random, kinds: Kinds = KINDS) -> Chat:
    """One to four functions, one of which answers the question with one call."""
    while True:
        offered = offers(rng, rng.choice((1, 1, 2, 2, 3, 4)), kinds)
        ask = ask_of(rng, offered[0], offered)
        if ask and len(ask.calls) == 1:
            rng.shuffle(offered)
            return chat(rng, "one_call", [_said("user", ask.question), calls_of(ask)], offered)


def several_calls(rng: Random, kinds: Kinds = KINDS) -> Chat:
    """A question that takes two or three calls, of one function or of two."""
    while True:
        offered = offers(rng, rng.choice((1, 2, 2, 3)), kinds)
        first = ask_of(rng, offered[0], offered)
        if first and len(first.calls) == 1 and rng.random() < 0.6:
            second = ask_of(rng, offered[min(1, len(offered) - 1)], offered)
            first = both(rng, first, second) if second else None
        if first and 1 < len(first.calls) < 4:
            rng.shuffle(offered)
            return chat(rng, "several_calls", [_said("user", first.question), calls_of(first)], offered)


def no_call(rng: Random, kinds: Kinds = KINDS) -> Chat:
    """Functions are offered, and the question is for none of them."""
    offered = offers(rng, rng.choice((1, 1, 2, 3)), kinds)
    question, answer = plain_of(rng, offered)
    return chat(rng, "no_call", [_said("user", question), _said("assistant", answer)], offered)


def call_answer(rng: Random) -> Chat:
    """The answer made of what a call returned."""
    while True:
        offered = offers(rng, rng.choice((1, 1, 2)))
        ask = ask_of(rng, offered[0], offered)
        if ask:
            return chat(rng, "call_answer", answered(ask), offered)


def several_turns(rng: Random, kinds: Kinds = KINDS) -> Chat:
    """Two to six turns, each of which needs a call, or two, or none; it may end with a call."""
    offered = offers(rng, rng.choice((1, 2, 2, 3, 3, 4)), kinds)
    messages: list[Message] = []
    last: Offer | None = None
    for _ in range(rng.randint(2, 6)):
        if rng.random() < 0.25:
            question, answer = plain_of(rng, offered)
            messages += [_said("user", question), _said("assistant", answer)]
            last = None
            continue
        again = last is not None and last.ask_again is not None and rng.random() < 0.4
        offer = last if again and last is not None else rng.choice(offered)
        ask = ask_of(rng, offer, offered, again)
        if ask and offer.topic == "order" and rng.random() < 0.25:
            messages += asked_back(rng, ask)
            continue
        if ask and not again and len(ask.calls) == 1 and rng.random() < 0.12:
            second = ask_of(rng, rng.choice(offered), offered)
            ask = both(rng, ask, second) if second and len(second.calls) == 1 else ask
        if ask:
            messages += answered(ask)
            last = offer if len(ask.calls) == 1 else None
    if not messages:
        return several_turns(rng, kinds)
    if messages[-2]["role"] == "tool" and rng.random() < 0.5:
        while messages[-1]["role"] != "assistant" or "tool_calls" not in messages[-1]:
            messages.pop()
    rng.shuffle(offered)
    return chat(rng, "several_turns", messages, offered)
