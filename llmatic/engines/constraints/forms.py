"""Whether the keywords of a schema have values of the right form. Pure; any thread."""

import sys
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from llmatic.engines.constraints.budget import MAX_CONSTANT_CHARACTERS
from llmatic.engines.constraints.subject import Path, Subject

_MAX_FLOAT = sys.float_info.max

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


def _is_schema(value: Any) -> bool:
    return isinstance(value, bool | Mapping)


def _is_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _is_schema_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_schema, value.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_FLOAT


def _is_bound(value: Any) -> bool:
    return isinstance(value, bool) or _is_number(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _is_types(value: Any) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return bool(kinds) and all(isinstance(kind, str) and kind in TYPES for kind in kinds)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("minLength", "maxLength"), (_is_count, "a whole number, 0 or more")),
    **dict.fromkeys(("minItems", "maxItems"), (_is_count, "a whole number, 0 or more")),
    **dict.fromkeys(("minProperties", "maxProperties"), (_is_count, "a whole number, 0 or more")),
    **dict.fromkeys(("minimum", "maximum"), (_is_number, "a number")),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), (_is_bound, "a number")),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    **dict.fromkeys(("$ref", "pattern", "format", "$id", "$anchor"), (_is_text, "a string")),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), (_is_schemas, "a list of schemas")),
    **dict.fromkeys(("properties", "patternProperties"), (_is_schema_map, "an object of schemas")),
    **dict.fromkeys(("additionalProperties", "propertyNames", "additionalItems"), (_is_schema, "a schema")),
    "items": (lambda value: _is_schema(value) or value == [] or _is_schemas(value), "a schema"),
    "required": (_is_names, "a list of names"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list with values"),
    "type": (_is_types, "one of " + ", ".join(map(repr, TYPES)) + ", or a list of them"),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
}


def check_form(node: Any, path: Path, subject: Subject) -> None:
    """Raises InvalidRequest if `node` is no schema, or a keyword of its own (not of its parts) is wrong."""
    error = form_error(node)
    if error is not None:
        raise subject.refusal_at(path, error)


def form_error(node: Any) -> str | None:
    """What is wrong with the keywords of `node` itself; None if nothing is."""
    if not _is_schema(node):
        return f"{_shown(node)} is not of type 'object', 'boolean'."
    if isinstance(node, bool):
        return None
    for keyword, value in node.items():
        form = _FORMS.get(keyword)
        if form is not None and not form[0](value):
            return f"{_shown(value)} is not valid for '{keyword}': it must be {form[1]}."
    return None


def check_text(text: str, path: Path, subject: Subject) -> None:
    """Raises InvalidRequest for text that is too long, or holds half a surrogate pair, as no UTF-8 can."""
    if len(text) > MAX_CONSTANT_CHARACTERS:
        words = f"a string has more than {MAX_CONSTANT_CHARACTERS} characters."
        raise subject.refusal_at(path, words)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise subject.refusal_at(path, "a string has an unpaired surrogate.") from None


def check_value(value: Any, path: Path, subject: Subject) -> None:
    """Raises InvalidRequest for a constant that JSON text cannot carry faithfully."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            check_text(value, path, subject)
        elif isinstance(value, float) and not isfinite(value):
            raise subject.refusal_at(path, f"{value} is not a JSON number.")
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, Mapping):
            pending += value.keys()
            pending += value.values()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
