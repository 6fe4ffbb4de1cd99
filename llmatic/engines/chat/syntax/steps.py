"""Readers that take one character at a time.

Owns the machinery under the readers of JSON-like calls: a generator asks for characters, so that how the text
was cut cannot matter, and JSON values are passed on as they are written. Knows no family. Pure; a reader
belongs to one answer.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator

from llmatic.engines.chat.events import AnswerEvent, CallArguments, CallBegin, CallEnd, Content

Steps = Generator[None, str, None]
Found = Generator[None, str, bool]
Char = Generator[None, str, str]

_SPACE = " \t\r\n"
_SCALAR_ENDS = ",}]" + _SPACE
_REPLACEMENT = "�"


class StepReader(ABC):
    """A CallReader whose `steps`, a generator, are given one character after the other.

    The generator ends where the section ends, and puts back what it has read beyond. Owns what of the section
    may still prove to be no markup.
    """

    def __init__(self, seed: str = "") -> None:
        """`seed`: characters that are read before the first one that is fed."""
        self._events: list[AnswerEvent] = []
        self._pieces: list[str] = []
        self._back: list[str] = list(reversed(seed))
        self._n_seed = len(seed)
        self._undecided: list[str] = []  # read since the last whole call, while no other has begun
        self._is_deciding = True
        self._has_calls = False
        self._steps = self.steps()
        next(self._steps)

    @abstractmethod
    def steps(self) -> Steps:
        """Reads the section."""

    def feed(self, text: str) -> tuple[list[AnswerEvent], str | None]:
        """See CallReader."""
        for n, char in enumerate(text):
            try:
                self._steps.send(char)
            except StopIteration:
                return self._take(), "".join(reversed(self._back)) + text[n + 1 :]
        return self._take(), None

    def finish(self) -> list[AnswerEvent]:
        """See CallReader."""
        self._steps.close()
        if self._is_deciding and not self._has_calls:
            raw = "".join(self._undecided) + "".join(reversed(self._back))
            self._events.append(Content(raw[self._n_seed :], 0))
        return self._take()

    def _take(self) -> list[AnswerEvent]:
        self._flush()
        events, self._events = self._events, []
        return events

    def _flush(self) -> None:
        if self._pieces:
            self._events.append(CallArguments("".join(self._pieces)))
            self._pieces.clear()

    def begin(self, name: str, id: str = "") -> None:
        """A call has begun: what was read is markup."""
        self._flush()
        self._events.append(CallBegin(name, id))
        self._undecided.clear()
        self._is_deciding = False
        self._has_calls = True

    def argue(self, text: str) -> None:
        """More of the arguments of the call that has begun."""
        if text:
            self._pieces.append(text)

    def end(self) -> None:
        """The call that has begun is whole."""
        self._flush()
        self._events.append(CallEnd())
        self._is_deciding = True

    def give_back(self) -> None:
        """What was read since the last whole call is no call."""
        self._back += reversed(self._undecided)
        self._undecided.clear()
        if self._n_seed and not self._has_calls:
            del self._back[-self._n_seed :]

    def settle(self) -> None:
        """What was read so far is markup, though no call has begun by it."""
        self._undecided.clear()

    def next(self) -> Char:
        """Consume a character."""
        if self._back:
            char = self._back.pop()
        else:
            char = yield
        if self._is_deciding:
            self._undecided.append(char)
        return char

    def put_back(self, text: str) -> None:
        """Unread what was read last."""
        self._back += reversed(text)
        if self._is_deciding and text:
            del self._undecided[-len(text) :]

    def peek(self) -> Char:
        """The character that comes next."""
        char = yield from self.next()
        self.put_back(char)
        return char

    def skip_space(self) -> Steps:
        """Consume whitespace; needs the character behind it."""
        while (yield from self.peek()) in _SPACE:
            yield from self.next()

    def literal(self, text: str) -> Found:
        """Consume `text` if it comes next."""
        for n, wanted in enumerate(text):
            char = yield from self.next()
            if char != wanted:
                self.put_back(text[:n] + char)
                return False
        return True

    def value(self, sink: Callable[[str], None]) -> Steps:
        """Consume a JSON value, each character given to `sink` as it stands."""
        first = yield from self.peek()
        if first in '"{[':
            yield from self.next()
            sink(first)
            yield from self._raw_string(sink) if first == '"' else self._raw_container(sink)
        else:
            while (char := (yield from self.next())) not in _SCALAR_ENDS:
                sink(char)
            self.put_back(char)

    def _raw_string(self, sink: Callable[[str], None]) -> Steps:
        while True:
            char = yield from self.next()
            sink(char)
            if char == '"':
                return
            if char == "\\":
                sink((yield from self.next()))

    def _raw_container(self, sink: Callable[[str], None]) -> Steps:
        depth = 1
        while depth:
            char = yield from self.next()
            sink(char)
            if char == '"':
                yield from self._raw_string(sink)
            elif char in "{[":
                depth += 1
            elif char in "}]":
                depth -= 1

    def string(self, sink: Callable[[str], None]) -> Steps:
        """Consume the rest of a JSON string whose opening quote was read, decoded characters to `sink`."""
        high = ""
        while True:
            char = yield from self.next()
            escape = ""
            if char == "\\":
                char = yield from self.next()
                escape = "\\" + char
                if char == "u":
                    for _ in range(4):
                        escape += yield from self.next()
            elif char == '"':
                sink(_REPLACEMENT if high else "")
                return
            text = _decode(escape) if escape else char
            if high and not ("\udc00" <= text <= "\udfff"):
                sink(_REPLACEMENT)
            elif high:
                text = (high + text).encode("utf-16", "surrogatepass").decode("utf-16")
            elif "\udc00" <= text <= "\udfff":
                text = _REPLACEMENT
            high = text if "\ud800" <= text <= "\udbff" else ""
            sink("" if high else text)

    def object_arguments(self, begun: Callable[[], None], sink: Callable[[str], None]) -> Steps:
        """Consume the value of a call's arguments: an object as it stands, the object in a string decoded."""
        first = yield from self.peek()
        begun()
        pieces: list[str] = []
        if first == '"':
            yield from self.next()
            is_empty = True

            def decoded(text: str) -> None:
                nonlocal is_empty
                is_empty = is_empty and not text.strip()
                sink(text)

            yield from self.string(decoded)
            if is_empty:
                sink("{}")
        elif first in "{[":
            yield from self.value(sink)
        else:
            yield from self.value(pieces.append)
            text = "".join(pieces)
            sink("{}" if text in ("", "null") else text)


def _decode(escape: str) -> str:
    try:
        return str(json.loads(f'"{escape}"'))
    except ValueError:
        return escape
