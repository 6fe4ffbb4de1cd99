"""Calls that are a function's name and then a JSON object.

Owns the tables of the families that write calls so, their reader and their grammar. Pure; any thread.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmatic.engines.chat.syntax import CallReader, Function, Mark, Sections
from llmatic.engines.chat.syntax.forms import INDEX, VARIABLE, call_rules, optional_mark, repeated
from llmatic.engines.chat.syntax.steps import Found, StepReader, Steps

MAX_HEAD_CHARACTERS = 512
_PATTERNS = {"name": r"(?P<name>[\w.\-]+?)", "id": "(?P<id>.+?)", "index": f"(?P<index>{INDEX})"}
_TAIL_PIECE = re.compile(r"```|(?:(?!```)\S)+")


@dataclass(frozen=True, slots=True)
class NamedJson:
    """Sections of calls in `form` (see `forms`), `between` between two; `close` stands behind the last one.

    `is_repeated`: one call in a section. `content_name`: what stands in place of a function's name where the
    reader's text follows. `head_is_id`: all that names the call is its id.
    """

    opens: tuple[str, ...]
    form: str
    between: str = ""
    close: str = ""
    id_pattern: str = "[A-Za-z0-9]{9}"
    is_repeated: bool = False
    content_name: str = ""
    head_is_id: bool = False
    prefix: str = field(init=False, compare=False)
    head: re.Pattern[str] = field(init=False, compare=False)
    lead: str = field(init=False, compare=False)
    tail: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        parts = VARIABLE.split(self.form)
        assert parts[-2] == "arguments", "nothing but markers may follow a call's arguments"
        prefix, *middle, lead, _, tail = parts
        cut = max(prefix.rfind(">"), prefix.rfind("]")) + 1 if self.head_is_id else len(prefix)
        prefix, fixed = prefix[:cut], prefix[cut:]
        set_field = object.__setattr__
        set_field(self, "prefix", prefix.strip())
        set_field(self, "head", _head_pattern(fixed, middle))
        set_field(self, "lead", lead.strip() or lead)
        set_field(self, "tail", tuple(_TAIL_PIECE.findall(tail)))

    def reader(self, opened_by: str, functions: Sequence[Function] = ()) -> CallReader:  # noqa: ARG002
        """See CallSyntax."""
        return _Reader(self, frozenset(function.name for function in functions))

    def sections(
        self, functions: Sequence[Function], mark: Mark, *, prefix: str, is_parallel: bool
    ) -> Sections:
        """See CallSyntax."""
        lines, call = call_rules(self.form, functions, mark, prefix=prefix, id_pattern=self.id_pattern)
        calls = repeated(call, self.between, mark, is_parallel=is_parallel and not self.is_repeated)
        body = f"{prefix}body: {calls} {optional_mark(self.close, mark)}".rstrip()
        return Sections(f"{lines}\n{body}", tuple((opened_by, f"{prefix}body") for opened_by in self.opens))


def _head_pattern(fixed: str, middle: list[str]) -> re.Pattern[str]:
    """What names a call: the variables, all but the first with the text before them if they are there."""
    pattern = f"(?:{re.escape(fixed)})?" if fixed else ""
    for n in range(0, len(middle), 2):
        variable = _PATTERNS[middle[n]]
        pattern += variable if n == 0 else f"(?:{re.escape(middle[n - 1])}{variable})?"
    return re.compile(pattern + r"\Z", re.DOTALL)


class _Reader(StepReader):
    """Tolerates other whitespace, missing fences and missing closing marks."""

    def __init__(self, syntax: NamedJson, names: frozenset[str]) -> None:
        self._syntax = syntax
        self._names = names
        self._close = syntax.close.strip()
        super().__init__()

    def steps(self) -> Steps:
        """See StepReader."""
        syntax = self._syntax
        is_section = bool(syntax.close or syntax.prefix)
        while True:
            if is_section:
                yield from self.skip_space()
            if self._close and (yield from self.literal(self._close)):
                return self.settle()
            if syntax.prefix and not (yield from self.literal(syntax.prefix)):
                return self.give_back()
            head: list[str] = []
            if not (yield from self._head(head)):
                return self.give_back()
            text = "".join(head).strip()
            if text == syntax.content_name:
                return self.settle()
            if not (yield from self._call(text)) or not is_section:
                return self.give_back()

    def _head(self, head: list[str]) -> Found:
        """Read what names the call, up to what leads to the arguments or up to the arguments themselves."""
        lead = self._syntax.lead
        while len(head) < MAX_HEAD_CHARACTERS:
            if head and (yield from self.literal(lead)):
                return True
            char = yield from self.next()
            if char == "{":
                self.put_back(char)
                return bool(head)
            head.append(char)
        return False

    def _call(self, head: str) -> Found:
        syntax = self._syntax
        found = syntax.head.match(head)
        name = (found.group("name") or "").strip() if found else ""
        if not found or not name:
            return False
        id = head if syntax.head_is_id else found.groupdict().get("id") or ""
        if syntax.content_name and self._names and name not in self._names:
            return False  # a line of the text that looks like a call's head
        self.begin(name, id.strip())
        yield from self.skip_space()
        if (yield from self.peek()) in '{["':
            yield from self.object_arguments(lambda: None, self.argue)
        else:
            self.argue("{}")
        self.end()
        for piece in syntax.tail:
            yield from self.skip_space()
            if (yield from self.literal(piece)):
                self.settle()
        return True


MISTRAL_NEW = NamedJson(("[TOOL_CALLS]",), "$name[ARGS]$arguments", is_repeated=True)
MISTRAL_CALL_ID = NamedJson(("[TOOL_CALLS]",), "$name[CALL_ID]$id[ARGS]$arguments", is_repeated=True)
DEEPSEEK_R1 = NamedJson(
    ("<｜tool▁calls▁begin｜>",),
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>$name\n```json\n$arguments\n```<｜tool▁call▁end｜>",
    between="\n",
    close="<｜tool▁calls▁end｜>",
)
DEEPSEEK_V3_1 = NamedJson(
    ("<｜tool▁calls▁begin｜>",),
    "<｜tool▁call▁begin｜>$name<｜tool▁sep｜>$arguments<｜tool▁call▁end｜>",
    close="<｜tool▁calls▁end｜>",
)
KIMI_K2 = NamedJson(
    ("<|tool_calls_section_begin|>",),
    "<|tool_call_begin|>functions.$name:$index<|tool_call_argument_begin|>$arguments<|tool_call_end|>",
    close="<|tool_calls_section_end|>",
    head_is_id=True,
)
SOLAR = NamedJson(
    ("<|tool_calls|>",),
    "<|tool_call:begin|>$id<|tool_call:name|>$name<|tool_call:args|>$arguments<|tool_call:end|>",
    id_pattern="[a-z0-9]{10}",
)
FUNCTIONARY_3_1 = NamedJson(("<function=",), "$name>$arguments</function>", is_repeated=True)
FUNCTIONARY_3_2 = NamedJson((">>>",), "$name\n$arguments", is_repeated=True, content_name="all")
