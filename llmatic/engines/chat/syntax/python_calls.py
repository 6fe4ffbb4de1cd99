"""Calls written as Python: `[weather(city="Paris", days=2), now()]`.

Owns the tables of the families that write calls so, their reader and their grammar. Pure; any thread. What
the grammar does not enforce: see `literal_rules`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from llmatic.engines.chat.syntax import CallReader, Function, Mark, Sections
from llmatic.engines.chat.syntax.literal_rules import LiteralRules, Style
from llmatic.engines.chat.syntax.literals import LiteralReader, Literals
from llmatic.engines.chat.syntax.parameters import parameters
from llmatic.engines.chat.syntax.steps import Found, Steps
from llmatic.engines.chat.syntax.texts import Rules

_LITERALS = Literals(has_calls=True)
_PYTHON = Style(true="True", false="False", null="None", comma=", ", colon=": ", has_apostrophes=True)
_JSON = Style(comma=", ", colon=": ")
_NO_NAME = "()[]{}<>=,:;\"' \t\r\n"
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class PythonCalls:
    """A section is: its opener, `begin`, calls with `between` between them, `end`, `close`.

    `has_json_words`: true, false and null are written so. `is_whole_answer`: the opener counts only where the
    answer begins, and only names of functions that were offered make a call.
    """

    opens: tuple[str, ...]
    begin: str = "["
    between: str = ", "
    end: str = "]"
    close: str = ""
    has_json_words: bool = False
    is_whole_answer: bool = False
    is_repeated: bool = False

    def reader(self, opened_by: str, functions: Sequence[Function] = ()) -> CallReader:  # noqa: ARG002
        """See CallSyntax."""
        return _Reader(self, functions)

    def sections(
        self, functions: Sequence[Function], mark: Mark, *, prefix: str, is_parallel: bool
    ) -> Sections:
        """See CallSyntax."""
        rules = Rules(f"{prefix}r")
        literals = LiteralRules(rules, _JSON if self.has_json_words else _PYTHON, mark)
        calls = [
            rules.rule(f'{mark(function.name + "(")} {literals.members(function, "=")} ")"')
            for function in functions
        ]
        call = rules.rule(" | ".join(calls))
        several = f"({mark(self.between)} {call})*" if is_parallel else ""
        parts = [self.begin and mark(self.begin), call, several]
        parts += [mark(text) for text in (self.end, self.close) if text]
        body = rules.rule(" ".join(part for part in parts if part))
        return Sections("\n".join(rules.lines), tuple((opener, body) for opener in self.opens))


class _Reader(LiteralReader):
    """Tolerates missing brackets around the calls, other whitespace, and arguments without names."""

    def __init__(self, syntax: PythonCalls, functions: Sequence[Function]) -> None:
        self._syntax = syntax
        self._names = {function.name: [p.name for p in parameters(function)] for function in functions}
        super().__init__(_LITERALS)

    def steps(self) -> Steps:
        """See StepReader."""
        begin, end, close = (
            text.strip() for text in (self._syntax.begin, self._syntax.end, self._syntax.close)
        )
        yield from self.skip_space()
        has_begun = not begin or (yield from self.literal(begin))
        while True:
            yield from self.skip_space()
            if end and has_begun and (yield from self.literal(end)):
                if not close:
                    return self.settle()
                yield from self.skip_space()
            if close and (yield from self.literal(close)):
                return self.settle()
            if self._has_calls and (yield from self.literal(",")):
                continue
            if not (yield from self._call()):
                return self.give_back()

    def _call(self) -> Found:
        name = ""
        while (char := (yield from self.next())) not in _NO_NAME and len(name) < _LONGEST_NAME:
            name += char
        is_offered = not self._syntax.is_whole_answer or not self._names or name in self._names
        if char != "(" or not name or not is_offered:
            return False
        self.begin(name)
        names = self._names.get(name, [])
        yield from self.members(")", "=", lambda n: names[n] if n < len(names) else f"argument_{n + 1}")
        self.end()
        return True


LFM2 = PythonCalls(opens=("<|tool_call_start|>",), close="<|tool_call_end|>")
PYTHONIC = PythonCalls(opens=("[",), begin="", is_whole_answer=True)
OLMO3 = PythonCalls(
    opens=("<function_calls>",),
    begin="",
    between="\n",
    end="",
    close="</function_calls>",
    has_json_words=True,
)
