"""What `tools` and `tool_choice`, and their older forms, mean."""

from typing import Any

import pytest

from llmatic.api.chat_tools import CallStyle, Offer, offer
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ToolUse


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


TOOLS = [tool("f", parameters={"type": "object"}, strict=True), tool("g")]
NAMED = {"type": "function", "function": {"name": "g"}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool(name) for name in names]}}


@pytest.mark.parametrize(
    ("fields", "use", "style"),
    [
        ({}, ToolUse(tuple(TOOLS)), CallStyle()),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, ToolUse(tuple(TOOLS), is_parallel=False), CallStyle()),
        ({"tool_choice": "none"}, None, CallStyle()),
        ({"tool_choice": "required"}, ToolUse(tuple(TOOLS), "required"), CallStyle(is_certain=True)),
        (
            {"tool_choice": NAMED},
            ToolUse(tuple(TOOLS), "required", ("g",), is_parallel=False),
            CallStyle(is_named=True, is_certain=True),
        ),
        ({"tool_choice": allowed("auto", "g", "g")}, ToolUse(tuple(TOOLS), "auto", ("g",)), CallStyle()),
        (
            {"tool_choice": allowed("required", "g", "f")},
            ToolUse(tuple(TOOLS), "required", ("g", "f")),
            CallStyle(is_certain=True),
        ),
    ],
)  # fmt: skip
def test_choices(fields: Any, use: Any, style: CallStyle) -> None:
    assert offer({"tools": TOOLS, **fields}) == Offer(use, style)


def test_the_older_form() -> None:
    functions = [{"name": "f", "parameters": {}}, {"name": "g", "description": None}]
    definitions = (tool("f", parameters={}), tool("g"))
    assert offer({}) == Offer()
    assert offer({"functions": functions, "function_call": "none"}) == Offer()
    assert offer({"functions": functions}) == Offer(
        ToolUse(definitions, is_parallel=False), CallStyle(is_function=True)
    )
    assert offer({"functions": functions, "function_call": {"name": "g"}}) == Offer(
        ToolUse(definitions, "required", ("g",), is_parallel=False),
        CallStyle(is_function=True, is_named=True, is_certain=True),
    )


def test_nulls_are_left_out() -> None:
    given = offer({"tools": [tool("f", description=None, parameters=None, strict=None)]})
    assert given.use is not None
    assert given.use.definitions == (tool("f"),)


@pytest.mark.parametrize(
    ("body", "words", "param", "code"),
    [
        (
            {"tools": [tool("f"), tool("f")]},
            "Invalid 'tools[1].function.name': the name 'f' is there twice. Names must be unique.",
            "tools[1].function.name",
            "invalid_value",
        ),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "h"}}},
            "Invalid value for 'tool_choice': no function named 'h' was specified in the 'tools' parameter.",
            "tool_choice",
            None,
        ),
        (
            {"tools": TOOLS, "tool_choice": allowed("auto", "f", "h")},
            "Invalid value for 'tool_choice': no function named 'h' was specified in the 'tools' parameter.",
            "tool_choice",
            None,
        ),
        (
            {"functions": [{"name": "f"}], "function_call": {"name": "h"}},
            "Invalid value for 'function_call': no function named 'h' was specified in the 'functions' parameter.",
            "function_call",
            None,
        ),
        (
            {"tools": [tool("f", parameters={"type": "array"})]},
            "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.",
            "tools[0].function.parameters",
            "invalid_function_parameters",
        ),
        (
            {"functions": [{"name": "f", "parameters": {"type": ["object"]}}]},
            "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.",
            "functions[0].parameters",
            "invalid_function_parameters",
        ),
    ],
)
def test_mistakes(body: Any, words: str, param: str, code: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        offer(body)
    assert (refused.value.message, refused.value.param, refused.value.code) == (words, param, code)


def test_reasons_in_the_words_of_the_request() -> None:
    assert CallStyle().finish_reason("tool_calls") == "tool_calls"
    assert CallStyle(is_function=True).finish_reason("tool_calls") == "function_call"
    assert CallStyle(is_function=True, is_named=True).finish_reason("tool_calls") == "stop"
    assert CallStyle(is_named=True).finish_reason("length") == "length"
    assert CallStyle().finish_reason(None) is None
