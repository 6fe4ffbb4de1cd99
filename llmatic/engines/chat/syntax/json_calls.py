"""Calls that are JSON objects: one in each section, or a list of them.

Owns the tables of the families that write calls so, their reader and their grammar. Pure; any thread.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmatic.engines.chat.syntax import CallReader, Function, Mark, Sections
from llmatic.engines.chat.syntax.forms import call_rules, optional_mark, repeated
from llmatic.engines.chat.syntax.steps import Found, StepReader, Steps
from llmatic.engines.constraints.grammars import schema_rules

_KEY = re.compile(r'"(\w+)": "?\$(name|arguments|id)')


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """Sections of JSON objects.

    `form`: one call, see `forms`. `lead` and `close` stand before the first call and behind the last one,
    `between` between two in one section. `is_repeated`: one call in a section. `is_single`: one call in an
    answer. An opener that is itself the beginning of the object counts only at the answer's beginning.
    """

    opens: tuple[str, ...]
    form: str = '{"name": "$name", "arguments": $arguments}'
    lead: str = ""
    between: str = ""
    close: str = ""
    id_pattern: str = "[A-Za-z0-9]{9}"
    is_repeated: bool = False
    is_single: bool = False
    keys: dict[str, str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", dict(_KEY.findall(self.form)))

    @property
    def has_leading_id(self) -> bool:
        """Whether a call's id stands before its name."""
        return "$id" in self.form and self.form.index("$id") < self.form.index("$name")

    @property
    def is_keyed(self) -> bool:
        """Whether the function's name is the key of its arguments."""
        return "name" not in self.keys.values()

    def reader(self, opened_by: str, functions: Sequence[Function] = ()) -> CallReader:  # noqa: ARG002
        """See CallSyntax."""
        return _Reader(self, opened_by)

    def sections(
        self, functions: Sequence[Function], mark: Mark, *, prefix: str, is_parallel: bool
    ) -> Sections:
        """See CallSyntax."""
        several = is_parallel and not (self.is_repeated or self.is_single)
        bodies: dict[str, str] = {}
        rules: list[str] = []
        for n, form in enumerate(dict.fromkeys(self._form_behind(opened_by) for opened_by in self.opens)):
            lines, call = call_rules(
                form, functions, mark, prefix=f"{prefix}f{n}_", id_pattern=self.id_pattern
            )
            calls = repeated(call, self.between, mark, is_parallel=several)
            parts = (optional_mark(self.lead, mark), calls, optional_mark(self.close, mark))
            bodies[form] = f"{prefix}body_{n}"
            rules += [lines, f"{bodies[form]}: " + " ".join(part for part in parts if part)]
        return Sections("\n".join(rules), tuple((o, bodies[self._form_behind(o)]) for o in self.opens))

    def as_content(self, functions: Sequence[Function], *, prefix: str) -> tuple[str, str]:
        """(Lark rules, the rule of a call that nothing opens), of the lexemes that other JSON is made of.

        For calls that stand where other JSON may: a lexer does not go back from an opener's middle.
        """
        named = {meaning: key for key, meaning in self.keys.items()}
        rules = [f"{prefix}object: " + " | ".join(f"{prefix}object_{n}" for n in range(len(functions)))]
        for n, function in enumerate(functions):
            arguments = {key: value for key, value in function.schema.items() if key != "$defs"}
            schema: dict[str, Any] = {
                "type": "object",
                "properties": {named["name"]: {"enum": [function.name]}, named["arguments"]: arguments},
                "required": [named["name"], named["arguments"]],
            }
            if "$defs" in function.schema:
                schema["$defs"] = function.schema["$defs"]
            rules.append(schema_rules(schema, f"{prefix}object_{n}"))
        return "\n".join(rules), f"{prefix}object"

    def _form_behind(self, opened_by: str) -> str:
        return self.form[self.form.index("$name") :] if opened_by.startswith("{") else self.form


class _Reader(StepReader):
    """Tolerates other whitespace, keys in another order, further keys, and a list where none is due."""

    def __init__(self, syntax: JsonCalls, opened_by: str) -> None:
        self._syntax = syntax
        self._is_bare = opened_by.startswith("{")
        self._lead = syntax.lead.replace("[", "").strip()
        self._close = syntax.close.strip().removeprefix("]").strip()
        super().__init__(opened_by if self._is_bare else "")

    def steps(self) -> Steps:
        """See StepReader."""
        yield from self.skip_space()
        if self._lead and (yield from self.literal(self._lead)):
            yield from self.skip_space()
        in_list = yield from self.literal("[")
        while True:
            yield from self.skip_space()
            if (yield from self.peek()) == "{":
                if not (yield from self._object()):
                    return self.give_back()
                if not in_list and not self._close:
                    return None
            elif in_list and (yield from self.literal("]")):
                in_list = False
                if not self._close:
                    return self.settle()
            elif not (in_list and self._has_calls and (yield from self.literal(","))):
                break
        if not (self._close and (yield from self.literal(self._close))):
            return self.give_back()
        return self.settle()

    def _object(self) -> Found:
        """Read a call; false: it is none."""
        yield from self.next()
        call = _Call()
        while True:
            yield from self.skip_space()
            char = yield from self.next()
            if char == "}":
                return self._whole(call)
            if char == '"':
                if not (yield from self._member(call)):
                    return False
            elif char != ",":
                return False

    def _member(self, call: "_Call") -> Found:
        key: list[str] = []
        yield from self.string(key.append)
        yield from self.skip_space()
        if not (yield from self.literal(":")):
            return False
        yield from self.skip_space()
        name = "".join(key)
        meaning = self._syntax.keys.get(name, "arguments" if self._syntax.is_keyed else "")
        if meaning == "arguments":
            if self._syntax.is_keyed and not call.has_begun:
                call.name = name
            return (yield from self._arguments(call))
        value: list[str] = []
        if (yield from self.literal('"')):
            yield from self.string(value.append)
        elif meaning == "name":
            return False
        else:
            yield from self.value(value.append)
        if meaning == "name" and not call.name:
            call.name = "".join(value)
        elif meaning == "id" and not call.has_begun:
            call.id = "".join(value)
        waits = self._is_bare or (self._syntax.has_leading_id and not call.id)
        if call.name and not call.has_begun and (not waits or call.has_arguments):
            self._begin(call)
        return True

    def _arguments(self, call: "_Call") -> Found:
        if call.has_arguments:
            yield from self.value(lambda _: None)
            return True
        call.has_arguments = True
        if call.name:
            yield from self.object_arguments(lambda: self._begin(call), self.argue)
        else:
            yield from self.object_arguments(lambda: None, call.held.append)
        return True

    def _begin(self, call: "_Call") -> None:
        if not call.has_begun:
            call.has_begun = True
            self.begin(call.name, call.id)
            self.argue("".join(call.held))

    def _whole(self, call: "_Call") -> bool:
        if not call.name or (self._is_bare and not call.has_begun):
            return False
        self._begin(call)
        if not call.has_arguments:
            self.argue("{}")
        self.end()
        return True


class _Call:
    """What is known of the call that is being read."""

    __slots__ = ("has_arguments", "has_begun", "held", "id", "name")

    def __init__(self) -> None:
        self.name = ""
        self.id = ""
        self.held: list[str] = []
        self.has_begun = False
        self.has_arguments = False


HERMES = JsonCalls(("<tool_call>",), lead="\n", close="\n</tool_call>", is_repeated=True)
MINIMAX_M1 = JsonCalls(("<tool_calls>",), lead="\n", between="\n", close="\n</tool_calls>")
MISTRAL_OLD = JsonCalls(
    ("[TOOL_CALLS]",),
    form='{"name": "$name", "arguments": $arguments, "id": "$id"}',
    lead="[",
    between=", ",
    close="]",
)
GRANITE_3 = JsonCalls(("<|tool_call|>",), lead="[", between=", ", close="]")
PHI_4 = JsonCalls(("<|tool_call|>",), lead="[", between=", ", close="]<|/tool_call|>")
FIREFUNCTION = JsonCalls(("functools",), lead="[", between=", ", close="]")
NEMOTRON_V2 = JsonCalls(("<TOOLCALL>",), lead="[", between=", ", close="]</TOOLCALL>")
APRIEL = JAMBA = JsonCalls(("<tool_calls>",), lead="[", between=", ", close="]</tool_calls>")
APERTUS = JsonCalls(
    ("<|tools_prefix|>",), form='{"$name": $arguments}', lead="[", between=", ", close="]<|tools_suffix|>"
)
COMMAND_R7B = JsonCalls(
    ("<|START_ACTION|>",),
    form='{"tool_call_id": "$id", "tool_name": "$name", "parameters": $arguments}',
    lead="[\n    ",
    between=",\n    ",
    close="\n]<|END_ACTION|>",
    id_pattern="[0-9]{1,3}",
)
COMMAND_R_PLUS = JsonCalls(
    ("Action:",),
    form='{\n        "tool_name": "$name",\n        "parameters": $arguments\n    }',
    lead="\n```json\n[\n    ",
    between=",\n    ",
    close="\n]```",
)
GIGACHAT_3 = JsonCalls(("function call<|role_sep|>\n",), is_single=True)
GIGACHAT_3_1 = JsonCalls(("<|function_call|>",), is_single=True)
LLAMA_3 = JsonCalls(
    ('{"name": "', '{"name":"', '{"type": "function", "name": "', "<|python_tag|>"),
    form='{"name": "$name", "parameters": $arguments}',
    is_single=True,
)
