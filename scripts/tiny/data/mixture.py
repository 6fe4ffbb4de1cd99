"""Which task comes how often, system messages, long conversations, and the endless stream of it all. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from . import (
    arithmetic,
    assistance,
    completions,
    copying,
    facts,
    language,
    passages,
    records,
    stories,
    structured,
    talk,
    tools,
)
from .example import Chat, Example, Maker, Message, Text

# A task, its weight at first, and its weight later: sums and spelling take longest to learn, and once tools
# are called well their long prompts are better spent on those.
_Row = tuple[Maker, float, float]
CHAT_TASKS: tuple[_Row, ...] = (
    (copying.say, 7, 6),
    (copying.repeat, 9, 9),
    (copying.repeat_long, 1.5, 2),
    (copying.times, 2.5, 4),
    (copying.count, 2.5, 4),
    (copying.case, 2, 4),
    (arithmetic.arithmetic, 16, 26),
    (arithmetic.think, 1, 2),
    (arithmetic.compare, 2, 3),
    (facts.capital, 6, 7),
    (facts.country, 1, 2),
    (talk.talk, 5, 4),
    (talk.unknown, 4, 4),
    (talk.memory, 3, 1.5),
    (stories.story, 1.5, 1.5),
    (stories.haiku, 1, 1),
    (stories.months, 1.5, 3),
    (language.spelling, 5, 9),
    (language.sentiment, 3, 5),
    (language.odd_one, 1, 2),
    (passages.passage, 6, 5),
    (records.record, 5, 4),
    (records.person, 2.5, 2),
    (records.event, 2.5, 2),
)
TOOL_TASKS: tuple[_Row, ...] = (
    (tools.tool_call, 8, 6),
    (tools.tool_two_calls, 1, 1.2),
    (tools.tool_answer, 3.5, 3),
    (tools.tool_unused, 2.5, 2),
)
TEXT_TASKS: tuple[_Row, ...] = (
    (copying.say_text, 2, 3),
    (arithmetic.arithmetic_text, 2.5, 6),
    (facts.capital_text, 2, 3),
    (completions.fill_in, 4, 6),
    (completions.plain, 1, 0.5),
)
ALL_TASKS = CHAT_TASKS + TOOL_TASKS + TEXT_TASKS
# What the second stage adds to the tasks of the first, whose later weights add up to 147.
SECOND_TASKS: tuple[tuple[Maker, float], ...] = (
    (assistance.one_call, 12),
    (assistance.several_calls, 6),
    (assistance.no_call, 3),
    (assistance.call_answer, 2),
    (assistance.several_turns, 20),
    (structured.extract, 3),
    (structured.to_schema, 2),
)

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
_SECOND_CONVERSATION_SHARE = 0.05
_SYSTEM_SHARE = 0.35


def _draw(rng: Random, table: tuple[_Row, ...], later: bool) -> Example:
    makers, first_weights, later_weights = zip(*table, strict=True)
    maker: Maker = rng.choices(makers, later_weights if later else first_weights)[0]
    return maker(rng)


def conversation(rng: Random, turns: int, later: bool = False) -> Chat:
    """Several unrelated questions one after the other in one conversation."""
    messages: list[Message] = []
    for _ in range(turns):
        example = _draw(rng, CHAT_TASKS, later)
        if isinstance(example, Chat):
            messages += [m for m in example.messages if m["role"] != "system"]
    return Chat("conversation", tuple(messages))


def with_system(rng: Random, example: Example) -> Example:
    """Some conversations begin with a system message that changes nothing."""
    if isinstance(example, Text) or example.messages[0]["role"] == "system" or rng.random() > _SYSTEM_SHARE:
        return example
    system: Message = {"role": "system", "content": rng.choice(_SYSTEMS)}
    return Chat(example.task, (system, *example.messages), example.tools)


def second_stream(rng: Random, longest_conversation: int = 6) -> Iterator[Example]:
    """The second stage's examples without end; one seed always gives the same ones."""
    makers, weights = zip(*((row[0], row[-1]) for row in ALL_TASKS + SECOND_TASKS), strict=True)
    while True:
        if rng.random() < _SECOND_CONVERSATION_SHARE:
            example: Example = conversation(rng, rng.randint(2, longest_conversation), later=True)
        else:
            example = rng.choices(makers, weights)[0](rng)
        yield with_system(rng, example)


def stream(rng: Random, longest_conversation: int = 6, later: bool = False) -> Iterator[Example]:
    """Training examples without end; one seed always gives the same ones."""
    while True:
        if rng.random() < _CONVERSATION_SHARE:
            example: Example = conversation(rng, rng.randint(2, longest_conversation), later)
        else:
            example = _draw(rng, ALL_TASKS, later)
        yield with_system(rng, example)
