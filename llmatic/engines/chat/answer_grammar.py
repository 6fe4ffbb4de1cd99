"""One grammar for a whole answer: thinking, then content, calls or both.

Owns the Lark rules (as llguidance reads them) around those of the calls and of the content. A model thinks as
it likes. Free text goes on until the model writes what opens a section of calls; from there on the calls'
rules hold, and behind calls only calls may follow. Pure; any thread.

Text up to an opener is a lexeme that ends where the opener does, which the lexer prefers to going on with
free text; an opener with a control token in it needs no such care, because free text never matches one.
"""

import json
import re
from collections.abc import Iterable, Sequence

from llmatic.core.types import ToolUse
from llmatic.engines.chat.families import Family, Thinking
from llmatic.engines.chat.syntax import Function, Mark, Sections
from llmatic.engines.chat.syntax.json_calls import JsonCalls

_TERM = re.compile(r'"(?:[^"\\]|\\.)*"|<\[[^\]]*\]>')
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$/])")
_HEADER = "%llguidance {}"
_TEXT = r"TEXT: /(?s:.+)/"
_SPACE = r"SPACE: /[ \t\r\n]{1,8}/"


def answer_grammar(
    family: Family,
    *,
    tools: ToolUse | None,
    functions: Sequence[Function],
    constraint_rules: str | None,
    starts_thinking: bool,
    may_think: bool,
    mark: Mark,
    begins_with: str = "",
) -> str | None:
    """The grammar of an answer, None if nothing is to be held.

    `functions`: what may be called, if there are `tools`. `constraint_rules`: Lark rules that define
    `content`, what content must match. `starts_thinking`: the prompt ends inside of thinking; `may_think`:
    the answer may begin with it. `begins_with`: the prompt's end where it is the answer's beginning, see
    `Family.lead_in`.
    """
    if tools is None and constraint_rules is None:
        return None
    writer = _Writer(
        family, functions, mark, has_constraint=constraint_rules is not None, begins_with=begins_with
    )
    if tools is None:
        main = writer.constrained()
    else:
        assert family.calls is not None
        assert functions
        calls = family.calls.sections(functions, mark, prefix="calls_", is_parallel=tools.is_parallel)
        writer.rules.append(calls.rules)
        several = tools.is_parallel and family.calls.is_repeated
        if tools.mode == "required":
            main = writer.required(calls, several=several)
        else:
            main = writer.auto(calls, several=several)
    is_free = tools is not None and tools.mode == "auto" and constraint_rules is None
    start = writer.thinking(main, starts_thinking=starts_thinking, may_think=may_think, is_free=is_free)
    if family.epilogue:
        start = f"({start}) (SPACE? {mark(family.epilogue)})?"
    rules = [_HEADER, f"start: {start}", *writer.rules, constraint_rules or "", _TEXT, _SPACE]
    return "\n".join(rule for rule in rules if rule) + "\n"


class _Writer:
    """Writes the rules of one answer. Owns `rules`."""

    def __init__(
        self,
        family: Family,
        functions: Sequence[Function],
        mark: Mark,
        *,
        has_constraint: bool,
        begins_with: str,
    ) -> None:
        self.rules: list[str] = []
        self._family = family
        self._functions = functions
        self._mark = mark
        self._has_constraint = has_constraint
        self._begins_with = begins_with

    def constrained(self) -> str:
        """Exactly the content."""
        self.rules.append(f"main: {self._lead()} {self._content()}")
        return "main"

    def required(self, calls: Sections, *, several: bool) -> str:
        """Nothing but calls."""
        self._sections(calls)
        if self._begins_with:
            first = _either(body for opener, body in calls.bodies if opener == self._begins_with)
        else:
            first = f"{self._optional(*self._family.preamble)} SPACE? section"
        self.rules.append(f"main: {first}{_more(several)}")
        return "main"

    def auto(self, calls: Sections, *, several: bool) -> str:
        """Text or calls or both; under a constraint the content or calls."""
        more = _more(several)
        if self._has_constraint:
            self._sections(calls, beside_json=True)
            main = f"{self._optional(*self._family.preamble)} ({self._content()} | section{more})"
        else:
            self._sections(calls)
            main = f"found{more} | tail"
            silent = [mark for text in self._family.unseen if (mark := _from_token(self._mark(text)))]
            marks = f"(TEXT? ({' | '.join(silent)}))*" if silent else ""
            openings = [self._found(n, *body) for n, body in enumerate(calls.bodies)]
            self.rules += [f"found: {marks} ({' | '.join(openings)})", f"tail: {marks} TEXT?"]
        if self._begins_with:
            first = _either(body for opener, body in calls.bodies if opener == self._begins_with)
            main = f"{first}{more} | {self._lead()} ({main})"
        self.rules.append(f"main: {main}")
        return "main"

    def thinking(self, main: str, *, starts_thinking: bool, may_think: bool, is_free: bool) -> str:
        """`main` with thinking before it; `is_free`: it may be text."""
        thinking = self._family.thinking
        if thinking is None or not (starts_thinking or may_think):
            return main
        thought = self._text_up_to("thought", thinking.close)
        if starts_thinking:
            return f"{thought} SPACE? {main}"
        return f"({self._think_open(thinking, before_text=is_free)} {thought} SPACE?)? {main}"

    def _think_open(self, thinking: Thinking, *, before_text: bool) -> str:
        """What begins thinking. `before_text`: free text may begin here as well, and take whitespace."""
        expression = self._mark(thinking.open)
        if _from_token(expression):
            return f"SPACE? {expression}"
        space = r"[ \t\r\n]{0,8}" if before_text else ""
        self.rules.append(f"think[lazy]: /{space}{_regex(thinking.open)}/")
        return "think" if before_text else "SPACE? think"

    def _sections(self, calls: Sections, *, beside_json: bool = False) -> None:
        """The rule of one section. `beside_json`: it stands where JSON content may stand as well."""
        sections = [f"{self._mark(opener)} {body}" for opener, body in calls.bodies]
        syntax = self._family.calls
        if beside_json and isinstance(syntax, JsonCalls):
            bare = [opener.startswith("{") for opener, _ in calls.bodies]
            sections = [section for section, is_bare in zip(sections, bare, strict=True) if not is_bare]
            if any(bare):
                rules, call = syntax.as_content(self._functions, prefix="calls_")
                self.rules.append(rules)
                sections.append(call)
        if self._family.call_lead:
            names = (function.name for function in self._functions)
            leads = _either(self._mark(self._family.call_lead.replace("$name", name)) for name in names)
            sections = [f"{leads}? {section}" for section in sections]
        self.rules.append("section: " + " | ".join(sections))

    def _found(self, n: int, opener: str, body: str) -> str:
        """Free text up to `opener`, and its section."""
        if self._family.counts_at_beginning(opener):
            self.rules.append(f"open_{n}[lazy]: /[ \\t\\r\\n]{{0,8}}{_regex(opener)}/")
            return f"open_{n} {body}"
        return f"{self._text_up_to(f'open_{n}', opener)} {body}"

    def _text_up_to(self, name: str, marker: str) -> str:
        """Free text and `marker`, which may be spelled out in characters: parsers see no difference."""
        self.rules.append(f"{name}[suffix={json.dumps(marker, ensure_ascii=False)}]: /(?s:.*)/")
        token = _from_token(self._mark(marker))
        return f"({name} | TEXT? {token})" if token else name

    def _lead(self) -> str:
        family = self._family
        if self._begins_with:
            return self._mark(family.content_lead)
        return self._optional(*family.preamble)

    def _content(self) -> str:
        family = self._family
        return f"{self._optional(family.content_open)} content {self._optional(family.content_close)}"

    def _optional(self, *texts: str) -> str:
        return " ".join(f"({self._mark(text)})?" for text in texts if text)


def _more(several: bool) -> str:
    return " (SPACE? section)*" if several else ""


def _either(bodies: Iterable[str]) -> str:
    return f"({' | '.join(bodies)})"


def _from_token(expression: str) -> str:
    """A mark's expression from its first token reference on; "" without one."""
    terms = _TERM.findall(expression)
    for n, term in enumerate(terms):
        if term.startswith("<["):
            return " ".join(terms[n:])
    return ""


def _regex(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text).replace("\n", "\\n")
