"""Lark grammar of strings that are written as they are, up to a closing text.

Owns how a schema's limits on strings become regular expressions that stop at the closing text. Narrower than
the schema, so that following the grammar stays cheap: a string with a pattern and lengths, or a pattern that
counts, has not the first character of the closing text; one of at least m characters has no beginning of it
in the first m, and no newline there where values stand on lines of their own. Pure; any thread.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import llguidance

from llmatic.engines.chat.syntax import Mark
from llmatic.engines.chat.syntax.parameters import Texts

_ANY = "(?s:.*)"
# The name of a property that the schema does not name.
KEY = "/[A-Za-z_][A-Za-z0-9_-]{0,63}/"
_LONGEST = 1_000_000
_SHORT = 64
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$/&~#-]")
_FIRST_STRING = re.compile(r'("(?:[^"\\]|\\.)*")?\s*(.*)\Z', re.DOTALL)


@dataclass(slots=True)
class Rules:
    """Rules under names that begin with `prefix`. Owns the lines while a grammar is written."""

    prefix: str
    lines: list[str] = field(default_factory=list)
    _n: int = 0

    def name(self) -> str:
        """A new rule's name."""
        self._n += 1
        return f"{self.prefix}{self._n}"

    def rule(self, body: str) -> str:
        """Add a rule; its name."""
        name = self.name()
        self.lines.append(f"{name}: {body}")
        return name

    def terminal(self, body: str) -> str:
        """Add a terminal; its name."""
        name = self.name().upper()
        self.lines.append(f"{name}: {body}")
        return name


def quoted(text: str) -> str:
    """The Lark string of a text."""
    return json.dumps(text, ensure_ascii=False)


def one_of(expressions: Sequence[str]) -> str:
    """Any of the expressions, empty ones left out, as one expression."""
    some = [expression for expression in expressions if expression]
    return some[0] if len(some) == 1 else "( " + " | ".join(some) + " )"


def repeat(expression: str, least: int, most: int | None) -> str:
    """The expression `least` to `most` times, without end if `most` is None."""
    if most is None:
        return f"{expression}*" if least == 0 else f"{expression}{{{least},}}"
    return f"{expression}{{{least},{most}}}" if most else ""


def closed_text(
    rules: Rules, texts: Sequence[Texts], close: str, mark: Mark, *, newline: bool = False, without: str = ""
) -> str:
    """An expression for one of the strings followed by `close`, which they do not contain.

    `newline`: an additional newline may stand before `close`. No string has a character of `without`; if none
    is left, the expression is empty.
    """
    ways = [way for some in texts if (way := _closed(rules, some, close, mark, newline, without))]
    return one_of(ways) if ways else ""


def _closed(rules: Rules, texts: Texts, close: str, mark: Mark, newline: bool, without: str) -> str:
    if texts.values is not None:
        values = [quoted(v) for v in texts.values if close not in v and not set(without) & set(v)]
        end = f'"\\n" {mark(close)}' if newline else mark(close)
        return f"{one_of(values)} {end}" if values else ""
    body = _regex(texts, close, newline, f"[^{escaped(without)}]" if without else "(?s:.)")
    text, rest = _split(mark(close))
    if text and not rest:
        name = rules.name()
        shape = body if body.startswith("/") else rules.terminal(body)
        rules.lines.append(f"{name}[suffix={text}]: {shape}")
        return name
    if text:
        return f"{rules.terminal(f'({body}) {text}')} {rest}"
    if body == "/(?s:.)*/":
        body = f"({body} & {_without(close)})"
    return f"{rules.terminal(body)} {rest}"


def _regex(texts: Texts, close: str, newline: bool, char: str) -> str:
    """A terminal's body. Taken up to the first `close` it matches no text that contains it."""
    low, high = texts.min_length, texts.max_length
    if high is not None and high > _LONGEST:
        high = None
    shapes = [f"(?:{whole(pattern)})" for pattern in texts.patterns]
    is_short = not shapes and low > 1 and high is not None and high <= _SHORT
    if shapes or is_short or (high is not None and high < 2 * low):
        inside = char
        if not is_short and (low or high is not None or "{" in "".join(shapes)):
            inside = f"[^{escaped(close[0])}]"  # to follow counts and the whole closing text is too much
        if low or high is not None or inside != char:
            shapes.append(f"{inside}{{{low},{'' if high is None else max(high, low)}}}")
        end = "\\n" if newline else ""
        parts = [f"/{shape}{end}/" for shape in shapes] + ([_without(close)] if inside == char else [])
        return "(" + " & ".join(parts) + ")"
    end = "\\n?" if newline and high is not None else ""
    return f"/{_loose(low, high, close, newline, char)}{end}/"


def _loose(low: int, high: int | None, close: str, newline: bool, char: str) -> str:
    """A regular expression for strings of these lengths; a little shorter ones than `high` if `low` > 1."""

    def rest(used: int) -> str:
        return f"{char}*" if high is None else f"{char}{{0,{max(high - used, 0)}}}"

    if low == 0:
        return rest(0)
    one, two = _unit(close, newline)
    if low == 1:
        return f"(?:{one}{rest(1)}|{two}{rest(2)})" if two and high != 1 else one + rest(1)
    unit = f"(?:{one}|{two})" if two else one
    return f"{unit}{{{min(low, _LONGEST)}}}{rest(2 * low)}"


def _unit(close: str, newline: bool) -> tuple[str, str]:
    """One character, and two, of a text without the beginning of `close`, nor a newline if that is cut."""
    first, second = escaped(close[0]), escaped(close[1]) if len(close) > 1 else ""
    without = "\\n" if newline else ""
    return f"[^{first}{without}]", f"{first}[^{first}{second}{without}]" if second else ""


def _without(close: str) -> str:
    return f"~/{_ANY}{escaped(close)}{_ANY}/"


def escaped(text: str) -> str:
    """A text as a regular expression inside `/…/`."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], text).replace("\n", "\\n")


def _split(expression: str) -> tuple[str, str]:
    found = _FIRST_STRING.match(expression)
    assert found is not None
    return found[1] or "", found[2]


def whole(pattern: str) -> str:
    """JSON Schema's pattern, which may match anywhere, as an expression for the whole string."""
    shapes = []
    for branch in _branches(pattern):
        begin, end = _ANY, _ANY
        if branch.startswith("^"):
            begin, branch = "", branch[1:]
        if branch.endswith("$") and not _is_escaped(branch, len(branch) - 1):
            end, branch = "", branch[:-1]
        inner = llguidance.regex_to_lark(branch, "dw") if branch else ""
        shapes.append(f"{begin}(?:{inner}){end}")
    return "|".join(shapes)


def _branches(pattern: str) -> list[str]:
    """The alternatives of a regular expression, parentheses around all of it taken off."""
    branches, depth, begin, is_class = [], 0, 0, False
    for at, char in enumerate(pattern):
        if _is_escaped(pattern, at):
            continue
        if is_class:
            is_class = char != "]"
        elif char == "[":
            is_class = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and not depth:
            branches.append(pattern[begin:at])
            begin = at + 1
    return [*branches, pattern[begin:]]


def _is_escaped(text: str, at: int) -> bool:
    n = 0
    while at - n > 0 and text[at - n - 1] == "\\":
        n += 1
    return n % 2 == 1
