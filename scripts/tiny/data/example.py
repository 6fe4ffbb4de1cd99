"""The two shapes of a training example: a conversation and a piece of plain text. Pure values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NotRequired, TypedDict

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class FunctionCall(TypedDict):
    """A function's name and the arguments it is called with (an object, not a string)."""

    name: str
    arguments: dict[str, Json]


class ToolCall(TypedDict):
    """A tool call in OpenAI's shape, less the id, which the template does not render."""

    type: str
    function: FunctionCall


class Message(TypedDict):
    """One chat message, as the template reads it."""

    role: str
    content: str | None
    tool_calls: NotRequired[list[ToolCall]]


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation whose last message is the assistant's; every assistant message is learnt."""

    task: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Json], ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text: `completion` is learnt, `prompt` is given; `<|endoftext|>` follows."""

    task: str
    prompt: str
    completion: str


Example = Chat | Text
Maker = Callable[[Random], Example]


def turn(task: str, question: str, answer: str) -> Chat:
    """A conversation of one question and one answer."""
    return Chat(task, ({"role": "user", "content": question}, {"role": "assistant", "content": answer}))


def pick(rng: Random, *choices: str) -> str:
    """One of the choices."""
    return rng.choice(choices)
