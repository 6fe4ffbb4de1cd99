"""What `response_format`, `grammar` and `regex` mean."""

from typing import Any

import pytest

from llmatic.api.formats import constraint
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import Constraint

SCHEMA = {"type": "object", "properties": {"b": {"const": "ä"}, "a": {"maximum": 9007199254740991}}}
TEXT = '{"type":"object","properties":{"b":{"const":"ä"},"a":{"maximum":9007199254740991}}}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Constraint("json_object")),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, Constraint("json_schema", TEXT)),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": None}}},
            Constraint("json_schema", TEXT, name="n"),
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
            Constraint("json_schema", "{}", is_strict=True, name="n"),
        ),
        ({"grammar": 'root ::= "a"'}, Constraint("gbnf", 'root ::= "a"', param="grammar")),
        (
            {"grammar": {"syntax": "lark", "definition": "start: /a/"}, "response_format": {"type": "text"}},
            Constraint("lark", "start: /a/", param="grammar"),
        ),
        ({"regex": "a+"}, Constraint("regex", "a+", param="regex")),
    ],
)  # fmt: skip
def test_one_form(body: Any, expected: Constraint | None) -> None:
    assert constraint(body) == expected


def test_a_schema_without_a_bottom() -> None:
    schema: dict[str, Any] = {}
    for _ in range(400):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        constraint({"response_format": {"type": "json_object", "schema": schema}})
