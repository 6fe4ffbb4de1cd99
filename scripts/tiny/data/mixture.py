"""Which task comes how often, system messages, long conversations, and the endless stream of it all. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from . import arithmetic, completions, copying, facts, language, passages, records, stories, talk, tools
from .example import Chat, Example, Maker, Message, Text

CHAT_TASKS: tuple[tuple[Maker, float], ...] = (
    (copying.say, 7),
    (copying.repeat, 9),
    (copying.repeat_long, 1.5),
    (copying.times, 2.5),
    (copying.count, 2.5),
    (copying.case, 2),
    (arithmetic.arithmetic, 16),
    (arithmetic.think, 1),
    (arithmetic.compare, 2),
    (facts.capital, 6),
    (facts.country, 1),
    (talk.talk, 5),
    (talk.unknown, 4),
    (talk.memory, 3),
    (stories.story, 1.5),
    (stories.haiku, 1),
    (stories.months, 1.5),
    (language.spelling, 5),
    (language.sentiment, 3),
    (language.odd_one, 1),
    (passages.passage, 6),
    (records.record, 5),
    (records.person, 2.5),
    (records.event, 2.5),
)
TOOL_TASKS: tuple[tuple[Maker, float], ...] = (
    (tools.tool_call, 8),
    (tools.tool_two_calls, 1),
    (tools.tool_answer, 3.5),
    (tools.tool_unused, 2.5),
)
TEXT_TASKS: tuple[tuple[Maker, float], ...] = (
    (copying.say_text, 2),
    (arithmetic.arithmetic_text, 2.5),
    (facts.capital_text, 2),
    (completions.fill_in, 4),
    (completions.plain, 1),
)
ALL_TASKS = CHAT_TASKS + TOOL_TASKS + TEXT_TASKS

_SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a helpful assistant",
    "You are llmatic-tiny.",
    "You are a friendly assistant.",
    "Be brief.",
    "You are a helpful AI assistant.",
    "You are a test assistant.",
    "Answer the question.",
)
_CONVERSATION_SHARE = 0.12
_SYSTEM_SHARE = 0.35


def _draw(rng: Random, table: tuple[tuple[Maker, float], ...]) -> Example:
    makers, weights = zip(*table, strict=True)
    maker: Maker = rng.choices(makers, weights)[0]
    return maker(rng)


def conversation(rng: Random, turns: int) -> Chat:
    """Several unrelated questions one after the other in one conversation."""
    messages: list[Message] = []
    for _ in range(turns):
        example = _draw(rng, CHAT_TASKS)
        if isinstance(example, Chat):
            messages += [m for m in example.messages if m["role"] != "system"]
    return Chat("conversation", tuple(messages))


def with_system(rng: Random, example: Example) -> Example:
    """Some conversations begin with a system message that changes nothing."""
    if isinstance(example, Text) or example.messages[0]["role"] == "system" or rng.random() > _SYSTEM_SHARE:
        return example
    system: Message = {"role": "system", "content": rng.choice(_SYSTEMS)}
    return Chat(example.task, (system, *example.messages), example.tools)


def stream(rng: Random, longest_conversation: int = 6) -> Iterator[Example]:
    """Training examples without end; one seed always gives the same ones."""
    while True:
        if rng.random() < _CONVERSATION_SHARE:
            example: Example = conversation(rng, rng.randint(2, longest_conversation))
        else:
            example = _draw(rng, ALL_TASKS)
        yield with_system(rng, example)
