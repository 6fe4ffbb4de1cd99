"""What a whole answer may look like, over the embedded model's vocabulary."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest

from llmatic.core.types import Constraint, ToolUse
from llmatic.engines.chat.answer_grammar import answer_grammar
from llmatic.engines.chat.detection import family_named
from llmatic.engines.chat.families import Family, Thinking
from llmatic.engines.chat.syntax import Function
from llmatic.engines.chat.syntax.json_calls import JsonCalls
from llmatic.engines.constraints.grammars import constraint_rules, function_schema
from tests.engines.chat.held import Grammars, grammars

WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TIME = {"name": "now", "parameters": {"type": "object", "properties": {}}}
DEFINITIONS = ({"type": "function", "function": WEATHER}, {"type": "function", "function": TIME})
FUNCTIONS = [
    Function(str(function["name"]), function_schema(function, param="tools")) for function in (WEATHER, TIME)
]
FORM = Constraint(
    "json_schema", '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
)
HERMES = family_named("hermes", "<think>")
LLAMA = family_named("llama-3")
FUNCTIONARY = family_named("functionary-v3.2")

WEATHER_CALL = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln ☂", "days": 3}}\n</tool_call>'
)
TIME_CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
BOTH = f"{WEATHER_CALL}\n{TIME_CALL}"
WRONG_NAME = WEATHER_CALL.replace("get_weather", "get_wether")
WRONG_ARGUMENT = WEATHER_CALL.replace("3", "10")


@pytest.fixture(scope="module")
def grammars_of_tiny() -> Iterator[Grammars]:
    yield from grammars()


@pytest.fixture
def tiny(grammars_of_tiny: Grammars) -> Grammars:
    return grammars_of_tiny


def grammar(
    tiny: Grammars,
    family: Family = HERMES,
    mode: Literal["auto", "required"] | None = "auto",
    *,
    parallel: bool = True,
    constraint: Constraint | None = None,
    thinking: Literal["no", "may", "open"] = "no",
    begins_with: str = "",
) -> str:
    """The grammar of an answer."""
    written = answer_grammar(
        family,
        tools=None if mode is None else ToolUse(DEFINITIONS, mode, is_parallel=parallel),
        functions=FUNCTIONS,
        constraint_rules=None if constraint is None else constraint_rules(constraint, "content"),
        starts_thinking=thinking == "open",
        may_think=thinking == "may",
        mark=tiny.mark,
        begins_with=begins_with,
    )
    assert written is not None
    return written


def check(tiny: Grammars, lark: str, allowed: list[str], refused: list[str]) -> None:
    """Exactly the allowed texts are whole answers."""
    assert [text for text in allowed if not tiny.allows(lark, text)] == []
    assert [text for text in refused if tiny.allows(lark, text)] == []


def test_nothing_to_hold() -> None:
    held = answer_grammar(
        HERMES,
        tools=None,
        functions=(),
        constraint_rules=None,
        starts_thinking=False,
        may_think=True,
        mark=repr,
    )
    assert held is None


def test_required_calls(tiny: Grammars) -> None:
    lark = grammar(tiny, mode="required")
    check(
        tiny,
        lark,
        [WEATHER_CALL, BOTH],
        ["", "Hi", f"Hi {TIME_CALL}", WRONG_NAME, WRONG_ARGUMENT, BOTH + "Hi"],
    )


def test_one_required_call(tiny: Grammars) -> None:
    check(tiny, grammar(tiny, mode="required", parallel=False), [WEATHER_CALL, TIME_CALL], [BOTH, ""])


def test_auto(tiny: Grammars) -> None:
    allowed = ["", "Hi", "a <tool b", TIME_CALL, f"Hi\n{BOTH}", "Hi <think> there"]
    refused = [
        WRONG_NAME,
        f"Hi {WRONG_ARGUMENT}",
        f"{TIME_CALL} Hi",
        "Hi <tool_call> there",
        f"{BOTH}<tool_call>",
    ]
    check(tiny, grammar(tiny), allowed, refused)


def test_auto_with_one_call(tiny: Grammars) -> None:
    check(tiny, grammar(tiny, parallel=False), ["Hi", f"Hi {TIME_CALL}"], [BOTH, f"Hi {BOTH}", WRONG_NAME])


def test_a_constraint(tiny: Grammars) -> None:
    lark = grammar(tiny, mode=None, constraint=FORM)
    check(tiny, lark, ['{"a": 1}', '{"a":1}'], ["", "{}", 'Hi {"a": 1}', '{"a": 1} Hi', "<think>so</think>"])


def test_a_constraint_and_calls(tiny: Grammars) -> None:
    lark = grammar(tiny, constraint=FORM)
    check(tiny, lark, ['{"a": 1}', BOTH], ["Hi", "{}", WRONG_NAME, '{"a": 1}' + TIME_CALL])


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_thinking_is_free(tiny: Grammars, mode: Literal["auto", "required"]) -> None:
    lark = grammar(tiny, mode=mode, thinking="may")
    so = "<think>\nso <tool_call> or {so\n</think>\n\n"
    check(tiny, lark, [so + BOTH, BOTH], [so + WRONG_NAME, "<think>" + BOTH, so + "<tool_call>"])
    assert tiny.allows(lark, so + "Hi") == (mode == "auto")
    assert tiny.begins(lark, "<think>" + WRONG_NAME)


def test_the_prompt_may_have_begun_the_thinking(tiny: Grammars) -> None:
    lark = grammar(tiny, mode=None, constraint=FORM, thinking="open")
    check(tiny, lark, ['so\n</think>\n\n{"a": 1}', '</think>{"a": 1}'], ['{"a": 1}', "so", "so</think>Hi"])


def test_bare_json(tiny: Grammars) -> None:
    call = '{"name": "get_weather", "parameters": {"city": "Köln"}}'
    wrong = call.replace("get_weather", "get_wether")
    check(tiny, grammar(tiny, LLAMA, "required"), [call, f"<|python_tag|>{call}"], [wrong, "Hi", call + call])
    check(
        tiny,
        grammar(tiny, LLAMA),
        [call, "Hi", '{"age": 3}', f"Hi {wrong}"],
        [wrong, f"<|python_tag|>{wrong}"],
    )
    lark = grammar(tiny, LLAMA, constraint=FORM)
    check(tiny, lark, ['{"a": 1}', call], [wrong, "Hi", '{"name": 1}'])


def test_an_answer_that_begins_in_the_prompt(tiny: Grammars) -> None:
    call, wrong = 'get_weather\n{"city": "Köln"}', 'get_wether\n{"city": "Köln"}'
    lark = grammar(tiny, FUNCTIONARY, "required", begins_with=">>>")
    check(tiny, lark, [call, f"{call}>>>now\n{{}}"], [wrong, "all\nHi", f">>>{call}"])
    lark = grammar(tiny, FUNCTIONARY, begins_with=">>>")
    check(tiny, lark, [call, "all\nHi", f"all\nHi\n>>>{call}"], [wrong, "Hi", f"all\nHi>>>{wrong}"])
    lark = grammar(tiny, FUNCTIONARY, constraint=FORM, begins_with=">>>")
    check(tiny, lark, [call, 'all\n{"a": 1}'], [wrong, "all\nHi", '{"a": 1}'])


MARKED = Family(
    "marked",
    JsonCalls(("<<|fim_prefix|>calls>",), lead="[", between=", ", close="]<|fim_suffix|>"),
    Thinking("<|fim_middle|>think", "<|im_start|>so"),
    content_open="<|im_start|>",
    content_close="<|im_start|>.",
)


def test_markers_that_are_control_tokens(tiny: Grammars) -> None:
    call = '<<|fim_prefix|>calls>[{"name": "now", "arguments": {}}]<|fim_suffix|>'
    two = call.replace("}]", '}, {"name": "now", "arguments": {}}]')
    wrong = call.replace("now", "never")
    so = "<|fim_middle|>think < so <|im_start|>so"
    lark = grammar(tiny, MARKED, thinking="may")
    allowed = ["Hi", call, two, f"Hi < {two}", so + "Hi", so + f" Hi{call}", "<|im_start|>Hi<|im_start|>."]
    check(tiny, lark, allowed, [wrong, so + wrong, f"Hi{wrong}", so + call[:-14], so[:-14]])
    lark = grammar(tiny, MARKED, "required", thinking="may", parallel=False)
    check(tiny, lark, [call, so + call, f"{so}\n{call}"], [two, so + "Hi", "Hi", "<|im_start|>"])
    lark = grammar(tiny, MARKED, None, constraint=FORM)
    check(tiny, lark, ['{"a": 1}', '<|im_start|>{"a": 1}<|im_start|>.'], ["<|im_start|>Hi"])


@pytest.mark.parametrize(
    ("constraint", "right", "wrong"),
    [
        (Constraint("regex", "[a-c]{3}|<no>"), "abc", "abd"),
        (Constraint("regex", "<no>"), "<no>", "no"),
        (Constraint("gbnf", 'root ::= "yes" | "no " [0-9]+'), "no 12", "no"),
        (Constraint("lark", 'start: TEXT "!"\nTEXT: /[a-z]+/'), "so!", "so"),
        (Constraint("json_object"), '{"a":[1,{}]}', "[]"),
    ],
)
def test_constraints_of_every_kind_beside_thinking_and_calls(
    tiny: Grammars, constraint: Constraint, right: str, wrong: str
) -> None:
    so = "<think>so</think>\n"
    lark = grammar(tiny, mode=None, constraint=constraint, thinking="may")
    check(tiny, lark, [right, so + right, f"\n{so}{right}"], [wrong, so + wrong, so, so + WEATHER_CALL])
    lark = grammar(tiny, constraint=constraint, thinking="may")
    check(tiny, lark, [right, so + right, so + BOTH, BOTH], [wrong, so + wrong, so, right + TIME_CALL])
    lark = grammar(tiny, LLAMA, constraint=constraint)
    assert tiny.allows(lark, right)
    assert not tiny.allows(lark, wrong)


def test_markers_spelled_out_are_markers(tiny: Grammars) -> None:
    """A parser cannot tell a control token from its name in ordinary characters, so neither must the grammar."""
    lark = grammar(tiny, MARKED, thinking="open")
    spelled = tiny.vocabulary.tokenize("so <|im_start|>so Hi <<|fim_prefix|>calls>", parse_special=False)
    matcher = tiny.compiler.compile(lark, param="tools").start()
    assert all(matcher.accepts(token) for token in spelled)
    assert not matcher.is_complete
    assert not matcher.accepts(tiny.vocabulary.tokenize("x", parse_special=False)[0])


def test_a_marker_that_begins_with_text(tiny: Grammars) -> None:
    family = replace(MARKED, thinking=Thinking(" to=self<|fim_middle|>", "<|im_start|>so"))
    so = " to=self<|fim_middle|>so<|im_start|>so"
    call = '<<|fim_prefix|>calls>[{"name": "now", "arguments": {}}]<|fim_suffix|>'
    wrong = so + call.replace("now", "never")
    check(tiny, grammar(tiny, family, thinking="may"), [so + call, call], [wrong])
    check(tiny, grammar(tiny, family, "required", thinking="may"), [so + call, call], [wrong])
