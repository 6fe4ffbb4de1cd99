"""Readers of text that stands as it is, up to a closing text.

Owns what is held back because it may belong to the closing text. Pure; a reader belongs to one answer.
"""

import json
from collections.abc import Callable, Generator

from llmatic.engines.chat.syntax.steps import StepReader, Steps

Sink = Callable[[str], None]
Word = Generator[None, str, str | None]

LONGEST_WORD = 300


def escaped(text: str) -> str:
    """The text as it stands inside a JSON string."""
    if len(text) == 1 and text >= " " and text not in '"\\':
        return text
    return json.dumps(text, ensure_ascii=False)[1:-1]


class RawReader(StepReader):
    """A StepReader that can read raw text. If nothing more comes, what was held back is given out."""

    def word(self, end: str) -> Word:
        """Consume text on one line up to and with `end`; None, nothing consumed: it comes too late."""
        text = ""
        while not text.endswith(end):
            if len(text) > LONGEST_WORD or text.endswith("\n"):
                self.put_back(text)
                return None
            text += yield from self.next()
        return text.removesuffix(end)

    def raw(self, close: str, sink: Sink, *, newline: bool = False) -> Steps:
        """Consume text up to and with `close`; `newline`: a newline right before it belongs to it."""
        held = ""
        firsts = close[0] + "\n" if newline else close[0]
        try:
            while True:
                held += yield from self.next()
                if len(held) == 1 and held not in firsts:
                    sink(held)
                    held = ""
                    continue
                if held.endswith(close):
                    text = held[: -len(close)]
                    sink(text.removesuffix("\n") if newline else text)
                    return
                certain = len(held) - _overlap(held, close, newline)
                if certain:
                    sink(held[:certain])
                    held = held[certain:]
        except GeneratorExit:
            sink(held)
            raise

    def raw_json(self, close: str, sink: Sink) -> Steps:
        """Consume JSON up to and with `close`, which counts only outside of strings.

        Of text that is no JSON the first `close` counts, wherever it stands.
        """
        yield from self.skip_space()
        is_json = (yield from self.peek()) in '{["'
        while is_json:
            if (yield from self.literal(close)):
                return
            char = yield from self.next()
            sink(char)
            if char == '"':
                yield from self._rest_of_json_string(sink)
            is_json = char != "'"
        yield from self.raw(close, sink)

    def _rest_of_json_string(self, sink: Sink) -> Steps:
        char = ""
        while char != '"':
            char = yield from self.next()
            sink(char)
            if char == "\\":
                sink((yield from self.next()))


def _overlap(held: str, close: str, newline: bool) -> int:
    """So many characters at the end of `held` may belong to the closing text."""
    closes = (close, "\n" + close) if newline else (close,)
    longest = 0
    for text in closes:
        for n in range(min(len(held), len(text) - 1), longest, -1):
            if held.endswith(text[:n]):
                longest = n
                break
    return longest
