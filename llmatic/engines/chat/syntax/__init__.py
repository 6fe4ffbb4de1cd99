"""How families of models write calls: for each syntax a reader of what was written, and its grammar.

A syntax is a frozen table of markers. It makes readers, one for each section of calls in an answer, and
writes the Lark rules (as llguidance reads them) that hold a model to it. Pure; any thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llmatic.engines.chat.events import AnswerEvent

# Text → a Lark expression that matches exactly it, control tokens as token references: `<[7]> "name\n"`.
Mark = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Function:
    """A function that may be called: its name and the JSON schema of its arguments, as it may be enforced."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sections:
    """A grammar of calls. `bodies`: for each text that opens a section, the rule of what follows that text.

    `rules`: Lark rules, one per line, whose names all begin with the given prefix.
    """

    rules: str
    bodies: tuple[tuple[str, str], ...]


class CallReader(Protocol):
    """Reads one section of calls, beginning right behind the text that opened it.

    `Content` out of a reader counts `at` from the first character fed to it. A section without any call was
    none: what opened it was ordinary text.
    """

    def feed(self, text: str) -> tuple[list[AnswerEvent], str | None]:
        """The events of the next piece; and None, or, once the section has ended, the text that follows it.

        If no call was read, that is all the text ever fed, or what follows a section that is empty.
        """
        ...

    def finish(self) -> list[AnswerEvent]:
        """No more text: what was held back."""
        ...


class CallSyntax(Protocol):
    """One way of writing calls."""

    @property
    def opens(self) -> tuple[str, ...]:
        """The texts that open a section of calls, none a beginning of another."""
        ...

    @property
    def is_repeated(self) -> bool:
        """Whether several calls are several sections (else they stand in one)."""
        ...

    def reader(self, opened_by: str, functions: Sequence[Function] = ()) -> CallReader:
        """A fresh reader for a section that `opened_by`, one of `opens`, has opened.

        The schemas of `functions` tell text from numbers where the syntax does not.
        """
        ...

    def sections(
        self, functions: Sequence[Function], mark: Mark, *, prefix: str, is_parallel: bool
    ) -> Sections:
        """The grammar of sections that call these functions, at most one call if not `is_parallel`."""
        ...
