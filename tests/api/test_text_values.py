from typing import Any

import pytest

from llmatic.api.text_values import as_object, query_pairs

SCHEMA: dict[str, Any] = {
    "properties": {
        "limit": {"type": "integer"},
        "ratio": {"type": ["number", "null"]},
        "deep": {"type": "boolean"},
        "name": {"type": "string"},
        "include": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "expires_after": {"$ref": "ExpiresAfter"},
    }
}
EXPIRES = {"type": "object", "properties": {"seconds": {"type": "integer"}, "anchor": {"type": "string"}}}


def flatten(schema: Any) -> Any:
    return EXPIRES if "$ref" in schema else schema


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"", {}),
        (b"limit=3&ratio=0.5&deep=true&name=7", {"limit": 3, "ratio": 0.5, "deep": True, "name": "7"}),
        (b"limit=-3&deep=false", {"limit": -3, "deep": False}),
        (b"limit=3.0&ratio=many&deep=1", {"limit": "3.0", "ratio": "many", "deep": "1"}),
        (b"limit=" + b"9" * 40, {"limit": "9" * 40}),
        (b"limit=1&limit=2", {"limit": 2}),
        (b"include=a&include=b", {"include": ["a", "b"]}),
        (b"include[]=a&sizes%5B%5D=2", {"include": ["a"], "sizes": [2]}),
        (b"metadata[a]=1&metadata[b]=x%20y+z", {"metadata": {"a": "1", "b": "x y z"}}),
        (
            b"expires_after[seconds]=5&expires_after[anchor]=5",
            {"expires_after": {"seconds": 5, "anchor": "5"}},
        ),
        (b"expires_after=x&expires_after[seconds]=5", {"expires_after": "x"}),
        (b"name[a]=1&limit[]=2&other=3", {"name[a]": "1", "limit[]": 2, "other": "3"}),
        (b"name=&name[", {"name": "", "name[": ""}),
        (b"name=%D1%8F&other=%ff", {"name": "я", "other": "�"}),
    ],
)
def test_texts_become_the_values_that_are_due(query: bytes, found: dict[str, Any]) -> None:
    assert as_object(query_pairs(query), SCHEMA, flatten) == found
