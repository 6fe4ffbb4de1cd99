"""The plan of a chat's answers."""

from collections.abc import Iterator
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, Constraint, ToolUse
from llmatic.engines.chat.answer import AnswerPlan, callable_functions, is_thinking_open, plan_answer
from llmatic.engines.chat.detection import family_named
from llmatic.engines.chat.events import AnswerParser
from tests.engines.chat.held import Grammars, grammars
from tests.engines.chat.reading import Answer, Call, read_in_every_way

USER = {"role": "user", "content": "Hi"}
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("now", "then")
)
PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
JSON = Constraint("json_object")


@pytest.fixture(scope="module")
def tiny() -> Iterator[Grammars]:
    yield from grammars()


def plan(
    name: str = "hermes",
    source: str = "",
    rendered: str = PROMPT,
    *,
    tools: ToolUse | None = None,
    constraint: Constraint | None = None,
    **more: Any,
) -> AnswerPlan:
    """The plan of a chat of one question."""
    prompt = ChatPrompt((USER,), tools=tools)
    return plan_answer(family_named(name, source), prompt, constraint, rendered, repr_mark, **more)


def repr_mark(text: str) -> str:
    """A vocabulary without control tokens."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def parser_of(made: AnswerPlan) -> AnswerParser:
    assert made.make_parser is not None
    return made.make_parser()


def test_plain_chats_need_nothing() -> None:
    assert plan("hermes") == plan("generic") == plan("llama-3") == AnswerPlan(param="tools")


def test_families_that_think_are_read_though_nothing_is_held() -> None:
    made = plan("hermes", "<think>")
    assert made.grammar is None
    assert (made.close_thinking, made.is_thinking_open) == ("\n</think>\n\n", False)
    raw = f"<think>so</think>\n\nHi {CALL}"
    assert read_in_every_way(lambda: parser_of(made), raw) == Answer(f"Hi {CALL}", "so")


def test_the_prompt_tells_whether_thinking_is_open(tiny: Grammars) -> None:
    begun = plan("hermes", "<think>", PROMPT + "<think>\n", constraint=JSON)
    assert begun.is_thinking_open
    assert begun.grammar is not None
    assert begun.param == "response_format"
    assert tiny.allows(begun.grammar, 'so\n</think>\n\n{"a":1}')
    assert not tiny.allows(begun.grammar, '{"a":1}')
    assert read_in_every_way(lambda: parser_of(begun), "so\n</think>\n\nHi") == Answer("Hi", "so")
    done = plan("hermes", "<think>", PROMPT + "<think>\n\n</think>\n\n", constraint=JSON)
    assert not done.is_thinking_open
    assert done.grammar is not None
    assert not tiny.allows(done.grammar, '<think>so</think>{"a":1}')
    assert tiny.allows(done.grammar, '{"a":1}')


def test_words_of_the_user_do_not_open_thinking() -> None:
    family = family_named("hermes", "<think>")
    assert not is_thinking_open(family, f"<|im_start|>user\n<think>{PROMPT}")
    assert not is_thinking_open(family_named("hermes"), "<think>")


def test_an_answer_that_was_begun(tiny: Grammars) -> None:
    made = plan("hermes", "<think>", constraint=JSON, prefill='{"a":')
    assert made.grammar is not None
    assert tiny.allows(made.grammar, '{"a":1}')
    assert read_in_every_way(lambda: parser_of(made), "1}") == Answer("1}")
    assert plan("hermes", "<think>", prefill="<think>so").is_thinking_open
    assert not plan("hermes", "<think>", PROMPT + "<think>\n", prefill="so</think>").is_thinking_open


def test_calls_are_read_and_held(tiny: Grammars) -> None:
    made = plan(tools=ToolUse(TOOLS))
    assert made.grammar is not None
    assert tiny.allows(made.grammar, f"Hi {CALL}")
    assert not tiny.allows(made.grammar, CALL.replace("now", "never"))
    assert read_in_every_way(lambda: parser_of(made), f"Hi {CALL}") == Answer("Hi", "", (Call("now", "{}"),))


def test_only_what_is_allowed_may_be_called(tiny: Grammars) -> None:
    made = plan(tools=ToolUse(TOOLS, "required", ("then",)))
    assert made.grammar is not None
    assert tiny.allows(made.grammar, CALL.replace("now", "then"))
    assert not tiny.allows(made.grammar, CALL)


def test_families_without_a_place_for_tools_call_in_the_generic_form(tiny: Grammars) -> None:
    made = plan("deepseek-r1", "<think>", tools=ToolUse(TOOLS, "required"), presents_tools=False)
    assert made.grammar is not None
    assert tiny.allows(made.grammar, f"<think>so</think>{CALL}")
    answer = read_in_every_way(lambda: parser_of(made), f"<think>so</think>{CALL}")
    assert answer == Answer("", "so", (Call("now", "{}"),))


def test_functionarys_prompt_begins_the_answer(tiny: Grammars) -> None:
    made = plan("functionary-v3.2", "", ">>>", tools=ToolUse(TOOLS), constraint=JSON)
    assert made.grammar is not None
    assert tiny.allows(made.grammar, "now\n{}")
    assert tiny.allows(made.grammar, 'all\n{"a":1}')
    answer = read_in_every_way(lambda: parser_of(made), "now\n{}>>>then\n{}")
    assert [call.name for call in answer.calls] == ["now", "then"]
    assert read_in_every_way(lambda: parser_of(plan("functionary-v3.2", "", ">>>")), "all\nHi") == Answer(
        "Hi"
    )


def test_gpt_oss(tiny: Grammars) -> None:
    prompt = "<|start|>user<|message|>Hi<|end|><|start|>assistant"
    made = plan("gpt-oss", "", prompt, tools=ToolUse(TOOLS, "required"))
    assert made.grammar is not None
    raw = (
        "<|channel|>analysis<|message|>so<|end|><|start|>assistant to=functions.now<|channel|>commentary json"
        "<|message|>{}"
    )
    assert read_in_every_way(lambda: parser_of(made), raw).thought == "so"
    assert [call.name for call in read_in_every_way(lambda: parser_of(made), raw).calls] == ["now"]
    assert tiny.allows(made.grammar, raw)
    assert not tiny.allows(made.grammar, raw.replace("now", "never"))
    assert plan("gpt-oss", "", prompt).grammar is None
    final = plan("gpt-oss", "", prompt + "<|channel|>final<|message|>", constraint=JSON)
    assert final.grammar is not None
    assert tiny.allows(final.grammar, '{"a":1}')
    assert read_in_every_way(lambda: parser_of(final), '{"a":1}') == Answer('{"a":1}')
    thinking = plan("gpt-oss", "", prompt + "<|channel|>analysis<|message|>", constraint=JSON)
    assert thinking.is_thinking_open
    assert thinking.grammar is not None
    ended = f"so{thinking.close_thinking}<|channel|>final<|message|>"
    assert tiny.allows(thinking.grammar, ended + "{}")
    assert read_in_every_way(lambda: parser_of(thinking), ended + "{}") == Answer("{}", "so")


def test_functions_that_cannot_be_called_are_refused() -> None:
    with pytest.raises(InvalidRequest) as unknown:
        callable_functions(ToolUse(TOOLS, "required", ("never",)))
    assert unknown.value.param == "tool_choice"
    with pytest.raises(InvalidRequest) as none:
        callable_functions(ToolUse(()))
    assert none.value.param == "tools"
    bad = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}
    with pytest.raises(InvalidRequest) as strict:
        callable_functions(ToolUse((TOOLS[0], bad)))
    assert strict.value.param == "tools[1].function.parameters"
