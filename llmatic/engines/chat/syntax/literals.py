"""Reads values written as literals of a programming language and gives them out as JSON.

Owns the translation of quotes, escapes, words and brackets, made as the text comes. Never raises: what is no
literal becomes a string, what is missing null. Pure; a reader belongs to one answer.
"""

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass

from llmatic.engines.chat.syntax.raw import RawReader, escaped
from llmatic.engines.chat.syntax.steps import Char, Found, Steps
from llmatic.engines.chat.syntax.unquoted import parsed

_SPACE = " \t\r\n"
_NO_NAME = "=:,()[]{}\"'" + _SPACE
_DEEPEST = 64
_WORDS = {"True": "true", "False": "false", "None": "null", "none": "null", "undefined": "null"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "\n": "",
            "\\": "\\", "'": "'", '"': '"', "/": "/"}  # fmt: skip
_DIGITS = {"x": 2, "u": 4, "U": 8}
_PREFIXES = frozenset({"r", "b", "f", "u", "rb", "br", "fr", "rf"})
_LONGEST_NUMBER = 400
_REPLACEMENT = "�"


@dataclass(frozen=True, slots=True)
class Literals:
    """A language of literals. `raw`: what opens and closes a string without escapes, if there is such."""

    raw: str = ""
    has_calls: bool = False


class LiteralReader(RawReader):
    """A StepReader that can read literals; their JSON goes to the begun call's arguments."""

    def __init__(self, literals: Literals) -> None:
        self._literals = literals
        self._closers = ")]}" if literals.has_calls else "]}"
        self._depth = 0
        super().__init__()

    def members(self, close: str, separator: str, name_of: Callable[[int], str] | None = None) -> Steps:
        """Consume an object's members up to and with `close`, or up to another bracket that closes.

        `name_of`: the name of the n-th value that has none.
        """
        self.argue("{")
        n = 0
        while True:
            yield from self.skip_space()
            char = yield from self.peek()
            if char in self._closers:
                yield from self.literal(close)
                break
            if char == ",":
                yield from self.next()
                continue
            self.argue(", " if n else "")
            if name_of is None:
                yield from self._key(separator)
            else:
                key = yield from self._keyword(separator)
                self.argue(f'"{escaped(key or name_of(n))}": ')
            yield from self.literal_value()
            n += 1
        self.argue("}")

    def literal_value(self) -> Steps:
        """Consume a literal."""
        yield from self.skip_space()
        if (yield from self._quoted()):
            return
        char = yield from self.peek()
        if self._depth >= _DEEPEST or char not in ("{[(" if self._literals.has_calls else "{["):
            return (yield from self._word())
        self._depth += 1
        yield from self.next()
        if char == "{":
            yield from self.members("}", ":")
        else:
            yield from self._items("]" if char == "[" else ")")
        self._depth -= 1

    def _items(self, close: str) -> Steps:
        self.argue("[")
        n = 0
        while True:
            yield from self.skip_space()
            char = yield from self.peek()
            if char in self._closers:
                yield from self.literal(close)
                break
            if char == ",":
                yield from self.next()
                continue
            self.argue(", " if n else "")
            yield from self.literal_value()
            n += 1
        self.argue("]")

    def _key(self, separator: str) -> Steps:
        if not (yield from self._quoted()):
            key = ""
            while (yield from self.peek()) not in separator + "," + self._closers:
                key += yield from self.next()
            self.argue(f'"{escaped(key.strip())}"')
        self.argue(": ")
        yield from self.skip_space()
        yield from self.literal(separator)

    def _keyword(self, separator: str) -> Char:
        """Consume a name and the separator; "", nothing consumed: there is none."""
        name = space = ""
        while (char := (yield from self.next())) not in _NO_NAME:
            name += char
        while char in _SPACE:
            space += char
            char = yield from self.next()
        if name and char in (separator, ":"):
            return name
        self.put_back(name + space + char)
        return ""

    def _quoted(self) -> Found:
        """Consume a string; false: there is none."""
        mark = self._literals.raw
        if mark and (yield from self.literal(mark)):
            self.argue('"')
            yield from self.raw(mark, lambda text: self.argue(escaped(text)))
            self.argue('"')
            return True
        for quote in ('"""', "'''", '"', "'"):
            if (quote[0] == '"' or self._literals.has_calls) and (yield from self.literal(quote)):
                yield from self._string_body(quote, is_raw=False)
                return True
        return False

    def _string_body(self, quote: str, *, is_raw: bool) -> Steps:
        """Consume the rest of a string, to a quote that something other than text follows."""
        self.argue('"')
        high = ""
        while True:
            if (yield from self.literal(quote)):
                space = yield from self._ends(quote)
                if space is None:
                    break
                self.argue(escaped((_REPLACEMENT if high else "") + quote + space))
                high = ""
                continue
            char = yield from self.next()
            if char == "\\":
                char = yield from self._escape(is_raw)
            if high and len(char) == 1 and "\udc00" <= char <= "\udfff":
                char, high = (high + char).encode("utf-16", "surrogatepass").decode("utf-16"), ""
            elif high:
                self.argue(_REPLACEMENT)
                high = ""
            if len(char) == 1 and "\ud800" <= char <= "\udbff":
                high = char
            elif len(char) == 1 and "\udc00" <= char <= "\udfff":
                self.argue(_REPLACEMENT)
            elif char:
                self.argue(escaped(char))
        self.argue((_REPLACEMENT if high else "") + '"')

    def _ends(self, quote: str) -> Generator[None, str, str | None]:
        """None: the string ends with the quote that was read. Else the space behind it, consumed."""
        if len(quote) > 1:
            return None
        space = ""
        try:
            while (char := (yield from self.next())) in _SPACE:
                space += char
        except GeneratorExit:
            self.argue('"')
            raise
        if char in ",:" + self._closers:
            self.put_back(space + char)
            return None
        self.put_back(char)
        return space

    def _escape(self, is_raw: bool) -> Char:
        char = yield from self.next()
        if is_raw:
            return "\\" + char
        if char in _ESCAPES:
            return _ESCAPES[char]
        n = _DIGITS.get(char, 0)
        is_octal = char in "01234567"
        digits = char if is_octal else ""
        wanted = "01234567" if is_octal else "0123456789abcdefABCDEF"
        while len(digits) < (3 if is_octal else n) and (yield from self.peek()) in wanted:
            digits += yield from self.next()
        if is_octal:
            return chr(int(digits, 8))
        if not n or len(digits) < n or int(digits, 16) > 0x10FFFF:
            return "\\" + char + digits
        return chr(int(digits, 16))

    def _word(self) -> Steps:
        """Consume a number, a name, or anything else up to a comma or a bracket that closes."""
        word = ""
        depth = 0
        has_calls = self._literals.has_calls
        try:
            while depth or (yield from self.peek()) not in "," + self._closers:
                char = yield from self.next()
                if has_calls and char in "\"'" and word.lower() in _PREFIXES:
                    return (yield from self._string_body(char, is_raw="r" in word.lower()))
                depth += has_calls * ((char == "(") - (char == ")"))
                word += char
        except GeneratorExit:
            self.argue(_json_of(word.strip()) if depth else "")
            raise
        self.argue(_json_of(word.strip()))


def _json_of(word: str) -> str:
    if word in _WORDS or not word:
        return _WORDS.get(word, "null")
    if parsed(word) is not None:
        return word
    if len(word) <= _LONGEST_NUMBER:
        for number in (lambda: int(word, 0), lambda: float(word)):
            try:
                return json.dumps(number(), allow_nan=False)
            except (ValueError, OverflowError):
                continue
    return json.dumps(word, ensure_ascii=False)
