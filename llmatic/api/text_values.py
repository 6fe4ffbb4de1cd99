"""Texts as the values that a schema wants: of a query string, and of the fields of a form.

Owns the reading of names (`limit`, `expires_after[seconds]`, `include[]`) and of numbers and booleans. Never
refuses: what cannot be read stays a text, for the schema to refuse. Pure; event loop's thread.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

Flatten = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_NAME = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_BOOLEANS = {"true": True, "false": False}


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Names and values in order; what is no UTF-8 becomes a replacement character."""
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")


def as_object(
    pairs: Iterable[tuple[str, str]], schema: Mapping[str, Any], flatten: Flatten
) -> dict[str, Any]:
    """The object that the pairs spell for an object schema, whose `$ref`s `flatten` resolves.

    `a[b]=c` is a field of an object, `a[]=c` or a repeated `a=c` an item where a list is due; of other
    repeated names the last one counts.
    """
    fields = {name: flatten(field) for name, field in flatten(schema)["properties"].items()}
    found: dict[str, Any] = {}
    for name, text in pairs:
        parts = _NAME.fullmatch(name)
        outer, inner = (parts[1], parts[2]) if parts else (name, None)
        field = fields.get(outer, {})
        if _takes(field, "array") and not inner:
            found.setdefault(outer, []).append(_value(flatten(field.get("items", {})), text))
        elif inner and _takes(field, "object"):
            properties = field.get("properties", {})
            held = found.setdefault(outer, {})
            if isinstance(held, dict):
                held[inner] = _value(flatten(properties.get(inner, {})), text)
        else:
            found[name] = _value(field, text)
    return found


def _value(field: Mapping[str, Any], text: str) -> Any:
    if _takes(field, "integer") and _INTEGER.fullmatch(text):
        return int(text)
    if _takes(field, "number") and _NUMBER.fullmatch(text):
        return float(text)
    if _takes(field, "boolean"):
        return _BOOLEANS.get(text, text)
    return text


def _takes(field: Mapping[str, Any], kind: str) -> bool:
    kinds = field.get("type", ())
    return kind == kinds if isinstance(kinds, str) else kind in kinds
