"""Calls as Gemma writes them: `call:weather{city:<|"|>Paris<|"|>,days:2}`.

Owns the tables of Gemma 4 and FunctionGemma, their reader and their grammar. Pure; any thread. What the
grammar does not enforce: see `literal_rules`. Keys come in alphabetical order, as the template writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from llmatic.engines.chat.syntax import CallReader, Function, Mark, Sections
from llmatic.engines.chat.syntax.literal_rules import LiteralRules, Style
from llmatic.engines.chat.syntax.literals import LiteralReader, Literals
from llmatic.engines.chat.syntax.steps import Steps
from llmatic.engines.chat.syntax.texts import Rules

_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class GemmaCalls:
    """A section: its opener, `lead`, a name, `{`, members, `}`, `close`. Strings stand between `quote`s."""

    opens: tuple[str, ...]
    close: str
    quote: str
    lead: str = "call:"
    is_repeated: bool = True

    def reader(self, opened_by: str, functions: Sequence[Function] = ()) -> CallReader:  # noqa: ARG002
        """See CallSyntax."""
        return _Reader(self)

    def sections(
        self,
        functions: Sequence[Function],
        mark: Mark,
        *,
        prefix: str,
        is_parallel: bool,  # noqa: ARG002 -- several calls are several sections
    ) -> Sections:
        """See CallSyntax."""
        rules = Rules(f"{prefix}r")
        literals = LiteralRules(rules, Style(quote=self.quote, is_sorted=True), mark)
        calls = [
            rules.rule(f'{mark(function.name + "{")} {literals.members(function, ":")} "}}"')
            for function in functions
        ]
        body = rules.rule(f"{mark(self.lead)} {rules.rule(' | '.join(calls))} {mark(self.close)}")
        return Sections("\n".join(rules.lines), tuple((opener, body) for opener in self.opens))


class _Reader(LiteralReader):
    """Tolerates whitespace, quoted keys and JSON's strings."""

    def __init__(self, syntax: GemmaCalls) -> None:
        self._syntax = syntax
        super().__init__(Literals(raw=syntax.quote))

    def steps(self) -> Steps:
        """See StepReader."""
        yield from self.skip_space()
        yield from self.literal(self._syntax.lead)
        name = ""
        while (char := (yield from self.next())) not in "{}<>\n" and len(name) < _LONGEST_NAME:
            name += char
        if char != "{" or not name.strip():
            return self.give_back()
        self.begin(name.strip())
        yield from self.members("}", ":")
        self.end()
        yield from self.skip_space()
        if (yield from self.literal(self._syntax.close)):
            self.settle()
        else:
            self.give_back()


GEMMA4 = GemmaCalls(opens=("<|tool_call>",), close="<tool_call|>", quote='<|"|>')
FUNCTION_GEMMA = GemmaCalls(opens=("<start_function_call>",), close="<end_function_call>", quote="<escape>")
