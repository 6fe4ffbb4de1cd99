"""Tool definitions with simpler schemas, for templates that break down on what they do not expect.

Owns what is left out: only the model's picture of the parameters gets coarser, never what is enforced. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_MAX_DEPTH = 8


def plain_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same functions, each parameter with one type and a description."""
    return [
        {**tool, "function": {**function, "parameters": _plain_object(function.get("parameters"), 0)}}
        for tool in tools
        for function in [tool["function"]]
    ]


def _plain_object(schema: Any, depth: int) -> dict[str, Any]:
    schema = schema if isinstance(schema, Mapping) else {}
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) and depth < _MAX_DEPTH else {}
    required = schema.get("required")
    return {
        "type": "object",
        "properties": {name: _plain(schema, depth + 1) for name, schema in properties.items()},
        "required": required if isinstance(required, list) else [],
    }


def _plain(schema: Any, depth: int) -> dict[str, Any]:
    """A parameter's schema: alternatives are reduced to the first that is not null."""
    schema = schema if isinstance(schema, Mapping) else {}
    description = schema.get("description")
    for choice in ("anyOf", "oneOf", "allOf"):
        alternatives = schema.get(choice)
        if isinstance(alternatives, list) and "type" not in schema:
            known = [one for one in alternatives if isinstance(one, Mapping) and one.get("type") != "null"]
            schema = known[0] if known else {}
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), None)
    plain: dict[str, Any] = {
        "type": kind if isinstance(kind, str) else "string",
        "description": description if isinstance(description, str) else "",
    }
    if isinstance(schema.get("enum"), list):
        plain["enum"] = schema["enum"]
    if kind == "array":
        plain["items"] = _plain(schema.get("items"), depth + 1) if depth < _MAX_DEPTH else {"type": "string"}
    return {**plain, **_plain_object(schema, depth)} if kind == "object" else plain
