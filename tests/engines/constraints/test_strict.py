from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.constraints.grammars import function_schema
from llmatic.engines.constraints.strict import check_strict, check_top
from llmatic.engines.constraints.subject import response_format


def closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    } | more


def check(schema: Any) -> None:
    about = response_format("answer", "response_format")
    check_top(schema, about)
    check_strict(schema, about)


def refusal(schema: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        check(schema)
    assert caught.value.param == "response_format"
    assert caught.value.code is None
    assert caught.value.type == "invalid_request_error"
    return caught.value.message.removeprefix("Invalid schema for response_format 'answer': ")


TEXT = {"type": "string"}
DEEP: dict[str, Any] = TEXT
for _ in range(11):
    DEEP = closed({"a": DEEP})

WRONG: dict[str, tuple[Any, str]] = {
    "open": (
        closed({"a": TEXT}, additionalProperties=True),
        "In context=(), 'additionalProperties' is required to be supplied and to be false.",
    ),
    "open inside": (
        closed({"a": closed({"b": {"type": "object", "properties": {}}})}),
        "In context=('properties', 'a', 'properties', 'b'), 'additionalProperties' is required to be supplied and to be false.",
    ),
    "optional": (
        closed({"a": TEXT}, required=[]),
        "In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing 'a'.",
    ),
    "unknown": (
        closed({"a": TEXT}, required=["a", "b"]),
        "In context=(), 'required' is required to be supplied and to be an array including every key in properties. Extra required key 'b' supplied.",
    ),
    "array": (
        {"type": "array", "items": TEXT},
        "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.",
    ),
    "no type": (
        {"properties": {}},
        "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.",
    ),
    "no object": ([], "[] is not of type 'object'."),
    "union": (
        closed({}, anyOf=[{}]),
        "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level.",
    ),
    "allOf": (closed({"a": {"allOf": [TEXT]}}), "In context=('properties', 'a'), 'allOf' is not permitted."),
    "uniqueItems": (
        closed({"a": {"type": "array", "items": TEXT, "uniqueItems": True}}),
        "In context=('properties', 'a'), 'uniqueItems' is not permitted.",
    ),
    "in a definition": (
        closed({}, **{"$defs": {"d": {"oneOf": [TEXT]}}}),
        "In context=('$defs', 'd'), 'oneOf' is not permitted.",
    ),
    "items": (
        closed({"a": {"type": "array"}}),
        "In context=('properties', 'a'), array schema missing items.",
    ),
    "typeless": (
        closed({"a": {"title": "A"}}),
        "In context=('properties', 'a'), schema must have a 'type' key.",
    ),
    "reference": (
        closed({"a": {"$ref": "#/properties/b"}, "b": TEXT}),
        "In context=('properties', 'a'), reference can only point to definitions defined at the top level of the schema.",
    ),
    "nesting": (DEEP, "11 levels of nesting exceeds limit of 10."),
    "properties": (
        closed({f"p{n}": TEXT for n in range(5001)}),
        "5001 object properties exceeds limit of 5000.",
    ),
    "values": (
        closed({f"p{n}": {"type": "integer", "enum": list(range(101))} for n in range(10)}),
        "1010 enum values exceeds limit of 1000.",
    ),
    "characters": (
        closed({"n" * 120_001: TEXT}),
        "120001 characters of names, enum and const values exceeds limit of 120000.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_strict_schemas_are_held_to_openais_rules_in_openais_words(name: str) -> None:
    schema, words = WRONG[name]
    assert refusal(schema) == words


def test_a_strict_schema_passes() -> None:
    schema = closed(
        {
            "tree": {"$ref": "#/$defs/tree"},
            "unit": {"type": ["string", "null"], "enum": ["C", "F", None]},
            "either": {"anyOf": [TEXT, {"type": "array", "items": {"type": "number"}}]},
        },
        **{"$defs": {"tree": closed({"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}})}},
    )
    check(schema)


def test_functions_are_refused_in_their_own_words() -> None:
    definition = {"name": "look", "strict": True, "parameters": closed({"a": TEXT}, required=[])}
    with pytest.raises(InvalidRequest) as caught:
        function_schema(definition, param="tools[1].function.parameters")
    assert caught.value.message.startswith(
        "Invalid schema for function 'look': In context=(), 'required' is required"
    )
    assert caught.value.param == "tools[1].function.parameters"
    assert caught.value.code == "invalid_function_parameters"


def test_arguments_are_always_an_object() -> None:
    wrong: tuple[Any, ...] = ({"type": "string"}, {"type": "array"}, [], "x")
    for parameters in wrong:
        with pytest.raises(InvalidRequest):
            function_schema({"name": "f", "parameters": parameters}, param="tools[0].function.parameters")


def test_absent_parameters_are_an_object_without_properties() -> None:
    for definition in ({"name": "f"}, {"name": "f", "parameters": None}, {"name": "f", "strict": True}):
        schema = function_schema(definition, param="tools[0].function.parameters")
        assert schema["type"] == "object"
        assert schema["properties"] == {}
        assert "additionalProperties" not in schema


def test_functions_that_are_not_strict_lose_what_cannot_be_enforced() -> None:
    parameters = {"properties": {"a": {"type": "string", "not": {"const": "x"}}}, "required": ["a"]}
    schema = function_schema({"name": "f", "parameters": parameters}, param="tools[0].function.parameters")
    assert schema["properties"] == {"a": {"type": "string"}}
    strict = {
        "name": "f",
        "strict": True,
        "parameters": closed({"a": {"type": "string", "pattern": "(?=x)"}}),
    }
    with pytest.raises(InvalidRequest, match="look-around"):
        function_schema(strict, param="tools[0].function.parameters")
