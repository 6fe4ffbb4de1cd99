"""What a parser finds in the text of an answer.

Owns the vocabulary between the parsers of model families and the engine. Pure; any thread.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the reader; its first character is character `at` of the answer's raw text."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Thought:
    """Text of thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call of function `name` begins; `id` is the model's own name of the call, or empty."""

    name: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class CallArguments:
    """The next characters of the JSON object that holds the begun call's arguments."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The begun call is whole."""


AnswerEvent = Content | Thought | CallBegin | CallArguments | CallEnd


class AnswerParser(Protocol):
    """Reads the text of one choice as it is written, control tokens spelled out.

    However the text is cut into pieces, the concatenated events are the same. Nothing is held back longer
    than needed to tell markup from text. Malformed markup never raises and never swallows text: it becomes
    content, or the calls' arguments as far as they were read.
    """

    @property
    def is_thinking(self) -> bool:
        """Whether what is written now is thinking."""
        ...

    @property
    def is_calling(self) -> bool:
        """Whether what is written now belongs to a call's markup, name or arguments."""
        ...

    def feed(self, text: str) -> list[AnswerEvent]:
        """The events that `text`, the next piece, makes certain."""
        ...

    def finish(self) -> list[AnswerEvent]:
        """No more text: what was held back. An unfinished call gets no CallEnd."""
        ...
