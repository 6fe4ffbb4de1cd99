"""What a chat's prompt and constraint mean for its answers: how they are read, and how they are held.

Owns the plan of one request's answers. Pure; any thread.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, Constraint, ToolUse
from llmatic.engines.chat.answer_grammar import answer_grammar
from llmatic.engines.chat.answer_parser import SectionsParser
from llmatic.engines.chat.events import AnswerParser
from llmatic.engines.chat.families import Family
from llmatic.engines.chat.memory import Memory
from llmatic.engines.chat.syntax import Function, Mark
from llmatic.engines.chat.syntax.harmony import Begin, HarmonyParser, harmony_grammar
from llmatic.engines.constraints.grammars import constraint_rules, function_schema

_CONTENT = "content"
_HARMONY_NEXT = "<|end|><|start|>assistant"


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """How the answers of one request are read and held.

    `make_parser`: one parser for each choice; None: all text is content. `grammar`: Lark for the whole
    answer; None: free. `param`: the request's field to blame if the grammar does not compile.
    `close_thinking`: text that ends thinking where the model goes on for too long, "" if the family does not
    think. `is_thinking_open`: the prompt ends inside of thinking.
    """

    make_parser: Callable[[], AnswerParser] | None = None
    grammar: str | None = None
    param: str = ""
    close_thinking: str = ""
    is_thinking_open: bool = False


def plan_answer(
    family: Family,
    prompt: ChatPrompt,
    constraint: Constraint | None,
    rendered: str,
    mark: Mark,
    *,
    prefill: str = "",
    presents_tools: bool = True,
    memory: Memory | None = None,
) -> AnswerPlan:
    """The plan of the answers to `prompt`.

    `rendered`: the prompt's text as the template wrote it. `prefill`: the answer's beginning, which stands
    behind it already: the grammar is that of the whole answer, the parsers read on from there. Not
    `presents_tools`: the model was told of the tools in the generic form. `memory`: of plans with this family
    and these marks. Raises InvalidRequest.
    """
    tools, memory = prompt.tools, memory or Memory()
    key, functions, rules = None, None, None
    if tools is not None:
        key = _key(tools)
        functions = memory.recall(key, lambda: callable_functions(tools))
        family = family if presents_tools else family.with_generic_calls()
    if constraint is not None:
        rules = memory.recall(constraint, lambda: constraint_rules(constraint, _CONTENT))
    param = "tools" if constraint is None else constraint.param
    if family.is_harmony:
        return _plan_harmony(functions, tools, rules, rendered, mark, param)
    start = _start(family, rendered)

    def make_parser() -> AnswerParser:
        parser = SectionsParser(
            family,
            functions,
            starts_thinking=start.is_thinking,
            is_held=functions is not None,
            is_required=tools is not None and tools.mode == "required",
        )
        parser.begin(start.lead_in + prefill)
        return parser

    is_plain = functions is None and family.thinking is None and not family.unseen and not start.lead_in
    return AnswerPlan(
        make_parser=None if is_plain else make_parser,
        grammar=memory.recall(
            (key, constraint, start), lambda: _grammar(family, tools, functions, rules, start, mark)
        ),
        param=param,
        close_thinking="" if family.thinking is None else family.thinking.ending,
        is_thinking_open=is_thinking_open(family, rendered, prefill),
    )


@dataclass(frozen=True, slots=True)
class _Start:
    """How a prompt ends: inside of thinking, where thinking may begin, with the answer's first text."""

    is_thinking: bool
    may_think: bool
    lead_in: str


def _start(family: Family, rendered: str) -> _Start:
    is_thinking = is_thinking_open(family, rendered)
    lead_in = family.lead_in if family.lead_in and rendered.endswith(family.lead_in) else ""
    return _Start(is_thinking, not is_thinking and may_think(family, rendered), lead_in)


def _grammar(
    family: Family,
    tools: ToolUse | None,
    functions: Sequence[Function] | None,
    rules: str | None,
    start: _Start,
    mark: Mark,
) -> str | None:
    return answer_grammar(
        family,
        tools=tools,
        functions=functions or (),
        constraint_rules=rules,
        starts_thinking=start.is_thinking,
        may_think=start.may_think,
        mark=mark,
        begins_with=start.lead_in,
    )


def _key(tools: ToolUse) -> tuple[str, ...]:
    """Equal for tools that may be called alike."""
    how = (tools.mode, str(tools.is_parallel), *tools.allowed)
    return (json.dumps(tools.definitions), *how)


def is_thinking_open(family: Family, rendered: str, prefill: str = "") -> bool:
    """Whether what follows the prompt is thinking."""
    thinking = family.thinking
    if thinking is None:
        return False
    if thinking.open in prefill or thinking.close in prefill:
        return prefill.rfind(thinking.open) > prefill.rfind(thinking.close)
    end = rendered.rstrip()
    return any(end.endswith(text.rstrip()) for text in (thinking.open, *thinking.openings))


def may_think(family: Family, rendered: str) -> bool:
    """Whether an answer whose prompt does not end inside of thinking may begin with it."""
    thinking = family.thinking
    return thinking is not None and not rendered.rstrip().endswith(thinking.close.rstrip())


def callable_functions(tools: ToolUse) -> list[Function]:
    """The functions that may be called, schemas prepared. Raises InvalidRequest."""
    functions: list[Function] = []
    for n, definition in enumerate(tools.definitions):
        function: Mapping[str, Any] = definition["function"]
        name = str(function["name"])
        if not tools.allowed or name in tools.allowed:
            schema = function_schema(function, param=f"tools[{n}].function.parameters")
            functions.append(Function(name, schema))
    missing = set(tools.allowed) - {function.name for function in functions}
    if missing:
        raise InvalidRequest(
            f"Tool choice '{min(missing)}' not found in 'tools' parameter.", param="tool_choice"
        )
    if not functions:
        raise InvalidRequest("At least one tool is needed.", param="tools")
    return functions


def _plan_harmony(
    functions: Sequence[Function] | None,
    tools: ToolUse | None,
    rules: str | None,
    rendered: str,
    mark: Mark,
    param: str,
) -> AnswerPlan:
    tail = rendered[rendered.rfind("<|start|>") :]
    begins: Begin = "header"
    if tail.endswith("<|message|>"):
        begins = "thinking" if "<|channel|>analysis" in tail else "content"
    grammar = None
    if tools is not None or rules is not None:
        grammar = harmony_grammar(
            functions or (),
            mark,
            mode="auto" if tools is None else tools.mode,
            content_rule=None if rules is None else _CONTENT,
            is_parallel=tools is not None and tools.is_parallel,
            begins=begins,
        )
        grammar += rules or ""
    return AnswerPlan(
        make_parser=lambda: HarmonyParser(functions or (), begins),
        grammar=grammar,
        param=param,
        close_thinking=_HARMONY_NEXT,
        is_thinking_open=begins == "thinking",
    )
