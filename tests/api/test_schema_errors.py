"""Every schema of the document, with odd values in every one of its fields: each has its error."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmatic.api.schema_errors import Explainer, Schema
from llmatic.api.validation import Contract
from llmatic.app import contract_path
from llmatic.core.errors import InvalidRequest

CONTRACT = Contract.load(contract_path())
SCHEMAS: Schema = CONTRACT.document["components"]["schemas"]
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, "", "x", "\0", [], [None], ["x"], [{}], [[]], {}),
    *({"x": None}, {"type": "x"}, {"type": None}, {"type": []}, {"type": {}}),
)


@pytest.fixture
def explainer() -> Explainer:
    """Remembers schemas by their identity: none of a test before."""
    return Explainer(CONTRACT.document, compiled)


def compiled(schema: Schema) -> Callable[[Any], bool]:
    return CONTRACT._compile(schema)


def odd_values(explainer: Explainer, schema: Schema) -> Iterator[Any]:
    """What the schema does not expect, and objects of its kind of which one field is so."""
    yield from ODD
    fields = {
        name: explainer.flatten(field)
        for name, field in explainer.flatten(schema).get("properties", {}).items()
    }
    kind = {name: field["const"] for name, field in fields.items() if "const" in field}
    if "type" in fields and "enum" in fields["type"]:
        kind["type"] = fields["type"]["enum"][0]
    for name in fields:
        yield from ({**kind, name: value} for value in ODD)


@pytest.mark.parametrize("name", sorted(name for name in SCHEMAS if not name.startswith("Needs")))
def test_whatever_is_wrong_has_an_error(explainer: Explainer, name: str) -> None:
    inner = {"$ref": f"#/components/schemas/{name}"}
    outer = {"type": "object", "properties": {"x": inner}, "additionalProperties": False}
    is_valid = compiled(outer)
    for value in odd_values(explainer, inner):
        error = explainer.first_error(outer, {"x": value})
        if is_valid({"x": value}):
            assert error is None, value
        elif error is not None:
            assert isinstance(error, InvalidRequest)
            assert error.message
