import json
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.constraints.schemas import prepare
from llmatic.engines.constraints.subject import function, response_format
from tests.engines.constraints.schema_cases import CASES
from tests.engines.constraints.walking import Walker

ABOUT = response_format("answer", "response_format")


@pytest.mark.parametrize("name", CASES)
def test_answers_are_possible_exactly_when_the_schema_allows_them(walker: Walker, name: str) -> None:
    schema, good, bad = CASES[name]
    compiled = walker.compile("json_schema", json.dumps(schema))
    for text in good:
        assert walker.accepts(compiled, text), text
    for text in bad:
        assert not walker.accepts(compiled, text), text


def refusal(schema: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        prepare(schema, ABOUT)
    assert caught.value.param == "response_format"
    return caught.value


UNENFORCED: dict[str, Any] = {
    "not": {"type": "null"},
    "if": {"type": "null"},
    "contains": {"const": 1},
    "dependentRequired": {"a": ["b"]},
    "dependentSchemas": {"a": {}},
    "unevaluatedItems": False,
    "uniqueItems": True,
    "minProperties": 2,
    "unevaluatedProperties": {"type": "null"},
    "$dynamicRef": "#x",
}


@pytest.mark.parametrize("keyword", UNENFORCED)
def test_a_keyword_that_cannot_be_enforced_is_refused_by_name_and_place(keyword: str) -> None:
    part = {
        "type": "array" if keyword == "uniqueItems" else "object",
        keyword: UNENFORCED[keyword],
        "then": {},
    }
    error = refusal({"type": "object", "properties": {"p": {"anyOf": [{"type": "null"}, part]}}})
    assert error.message == (
        "Invalid schema for response_format 'answer': "
        f"In context=('properties', 'p', 'anyOf', '1'), '{keyword}' cannot be enforced."
    )
    assert error.code is None


def test_what_cannot_be_enforced_is_dropped_where_that_is_wanted() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
            "b": {"type": "string", "pattern": "(?=x)", "format": "colour"},
            "c": {"oneOf": [{"type": "integer"}, {"type": "number"}], "not": {"const": 3}},
            "d": {"$ref": "https://example.com/d.json"},
        },
    }
    prepared = prepare(schema, function("f", "tools[0].function.parameters"), way="lenient")
    properties = prepared.schema["properties"]
    assert properties["a"] == {"type": "array", "prefixItems": [], "items": {"type": "integer"}}
    assert properties["b"] == {"type": "string"}
    assert properties["c"] == {"anyOf": [{"type": "integer"}, {"type": "number"}]}
    assert properties["d"] == {}
    assert len(prepared.dropped) == 5
    assert prepared.dropped[0] == "In context=('properties', 'a'), 'uniqueItems' cannot be enforced."


REFUSED: dict[str, tuple[Any, str]] = {
    "no schema": (
        {"properties": {"a": 3}},
        "{'a': 3} is not valid for 'properties': it must be an object of schemas.",
    ),
    "list": ([1], "[1] is not of type 'object', 'boolean'."),
    "type": ({"type": "text"}, "'text' is not valid for 'type'"),
    "count": ({"minItems": -1}, "-1 is not valid for 'minItems': it must be a whole number, 0 or more."),
    "empty enum": ({"enum": []}, "[] is not valid for 'enum'"),
    "required": ({"type": "object", "required": True}, "True is not valid for 'required'"),
    "remote": ({"$ref": "https://example.com/x"}, "'$ref' 'https://example.com/x' points outside the schema"),
    "file": ({"$ref": "file:///etc/passwd"}, "points outside the schema, where nothing is read."),
    "missing": ({"$ref": "#/$defs/x"}, "'$ref' '#/$defs/x' points at no schema."),
    "endless": (
        {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}},
        "no finite JSON value satisfies the schema.",
    ),
    "endless object": (
        {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        "no finite JSON value satisfies",
    ),
    "impossible": (
        {"properties": {"a": False}, "required": ["a"]},
        "no finite JSON value satisfies the schema.",
    ),
    "false": (False, "no finite JSON value satisfies the schema."),
    "look-ahead": ({"pattern": "(?=a)"}, "'pattern' cannot be enforced: look-around"),
    "back-reference": (
        {"pattern": r"(a)\1"},
        "'pattern' cannot be enforced: backreferences are not supported.",
    ),
    "bad pattern": ({"pattern": "("}, "'pattern' cannot be enforced: unclosed group."),
    "impossible pattern": (
        {"pattern": "^a$", "minLength": 2},
        "'pattern' cannot be enforced: Unsatisfiable schema",
    ),
    "lengths": ({"minLength": 3, "maxLength": 2}, "'minLength' is greater than 'maxLength'."),
    "items": ({"minItems": 3, "maxItems": 2}, "'minItems' is greater than 'maxItems'."),
    "numbers": ({"minimum": 3, "maximum": 2}, "the limits of the number cannot be enforced"),
    "integers": ({"type": "integer", "minimum": 1.2, "maximum": 1.8}, "there is no such integer"),
    "multiples": ({"minimum": 1, "maximum": 4, "multipleOf": 5}, "no multiple lies between them"),
    "format": ({"format": "colour"}, "'colour' is not a valid format."),
    "constant": ({"type": "string", "enum": [1, 2]}, "no value of 'enum' or 'const' satisfies ['type']."),
    "oneOf of which both allow null": (
        {"oneOf": [{"type": "null"}, {"properties": {"t": {"const": 1}}, "required": ["t"]}]},
        "'oneOf' cannot be enforced",
    ),
    "overlapping oneOf": ({"oneOf": [{"minimum": 1}, {"maximum": 3}]}, "'oneOf' cannot be enforced"),
    "surrogate": ({"const": "\ud800"}, "a string has an unpaired surrogate."),
    "infinite": ({"const": float("inf")}, "inf is not a JSON number."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_told(name: str) -> None:
    schema, words = REFUSED[name]
    assert words in refusal(schema).message


def test_definitions_are_named_in_refusals() -> None:
    schema = {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"not": {"const": 1}}}}}
    assert "In context=('$defs', 'tree', 'items'), 'not' cannot be enforced." in refusal(schema).message
