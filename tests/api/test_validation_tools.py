# A line of a table is one case, however long its sentence.
"""Tools, forms of answers and thinking: what bodies are refused, and in which words."""

import pytest

from llmatic.api.validation import Contract
from llmatic.app import contract_path
from tests.api.words import (
    CHAT,
    Body,
    bad_type,
    chat,
    empty_array,
    missing,
    out_of_range,
    refusal,
)

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"name": "n", "schema": {"type": "object"}}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.load(contract_path())


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"tools": []}, empty_array("tools")),
        ({"tools": "none"}, bad_type("tools", "an array of objects", "a string")),
        ({"tools": [TOOL] * 129}, ("Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 129 instead.", "tools", "array_above_max_length")),
        ({"tools": [{}]}, missing("tools[0].type")),
        ({"tools": [{"type": "function"}]}, missing("tools[0].function")),
        ({"tools": [{"type": "function", "name": "f"}]}, missing("tools[0].function")),
        ({"tools": [TOOL, {"type": "function", "function": {}}]}, missing("tools[1].function.name")),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, ("Invalid 'tools[0].function.name': empty string. Expected a string with minimum length 1, but got an empty string instead.", "tools[0].function.name", "empty_string")),
        ({"tools": [{"type": "function", "function": {"name": "a.b"}}]}, ("Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", "tools[0].function.name", "invalid_value")),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, bad_type("tools[0].function.parameters", "an object", "an array")),
        ({"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}, ("Unknown parameter: 'tools[0].function.x'.", "tools[0].function.x", "unknown_parameter")),
        ({"tools": [TOOL], "tool_choice": "bogus"}, ("Invalid value: 'bogus'. Supported values are: 'none', 'auto', and 'required'.", "tool_choice", "invalid_value")),
        ({"tools": [TOOL], "tool_choice": 7}, bad_type("tool_choice", "one of a string or object", "an integer")),
        ({"tools": [TOOL], "tool_choice": {}}, missing("tool_choice.type")),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {}}}, missing("tool_choice.function.name")),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": 1}}}, bad_type("tool_choice.function.name", "a string", "an integer")),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}}}, ("Invalid value: 'none'. Supported values are: 'auto' and 'required'.", "tool_choice.allowed_tools.mode", "invalid_value")),
        ({"tools": [TOOL], "functions": [{"name": "f"}]}, ("Invalid value for 'functions': 'functions' is only allowed when 'tools' are not specified.", "functions", None)),
        ({"functions": []}, empty_array("functions")),
        ({"functions": [{}]}, missing("functions[0].name")),
        ({"functions": [{"name": "f"}], "function_call": {}}, missing("function_call.name")),
        ({"functions": [{"name": "f"}], "function_call": "required"}, ("Invalid value: 'required'. Supported values are: 'none' and 'auto'.", "function_call", "invalid_value")),
        ({"response_format": {}}, missing("response_format.type")),
        ({"response_format": "json"}, bad_type("response_format", "an object", "a string")),
        ({"response_format": {"type": "bogus"}}, ("Invalid value: 'bogus'. Supported values are: 'text', 'json_object', and 'json_schema'.", "response_format.type", "invalid_value")),
        ({"response_format": {"type": "json_schema"}}, missing("response_format.json_schema")),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, missing("response_format.json_schema.name")),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}, missing("response_format.json_schema.schema")),
        ({"response_format": {"type": "json_schema", "schema": {}}}, missing("response_format.json_schema")),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": True}}}, bad_type("response_format.json_schema.schema", "an object", "a boolean")),
        ({"response_format": {"type": "json_schema", "json_schema": SCHEMA | {"strict": "yes"}}}, bad_type("response_format.json_schema.strict", "a boolean", "a string")),
        ({"response_format": {"type": "json_object", "json_schema": SCHEMA}}, ("Unknown parameter: 'response_format.json_schema'.", "response_format.json_schema", "unknown_parameter")),
        ({"grammar": ""}, ("Invalid 'grammar': empty string. Expected a string with minimum length 1, but got an empty string instead.", "grammar", "empty_string")),
        ({"grammar": 7}, bad_type("grammar", "one of a string or object", "an integer")),
        ({"grammar": {"definition": "x"}}, missing("grammar.syntax")),
        ({"grammar": {"syntax": "ebnf", "definition": "x"}}, ("Invalid value: 'ebnf'. Supported values are: 'gbnf' and 'lark'.", "grammar.syntax", "invalid_value")),
        ({"grammar": "g", "regex": "r"}, ("Invalid value for 'grammar': 'grammar' is only allowed without 'regex' and with no 'response_format' but text.", "grammar", None)),
        ({"regex": "r", "response_format": {"type": "json_object"}}, ("Invalid value for 'regex': 'regex' is only allowed without 'grammar' and with no 'response_format' but text.", "regex", None)),
        ({"reasoning_effort": "bogus"}, ("Invalid value: 'bogus'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'.", "reasoning_effort", "invalid_value")),
        ({"thinking_budget_tokens": -2}, out_of_range("thinking_budget_tokens", "integer", ">= -1", "-2")),
        ({"continue_final_message": "yes"}, bad_type("continue_final_message", "a boolean", "a string")),
    ],
)  # fmt: skip
def test_tools_and_forms_get_openais_words(
    contract: Contract, fields: Body, error: tuple[str, str | None, str | None]
) -> None:
    assert refusal(contract, CHAT, chat(**fields)) == error
