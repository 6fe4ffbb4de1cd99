"""What text without quotes stands for: a string or another value of JSON.

Owns that guess, from the parameter's schema where there is one. Pure; any thread.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import jsonschema_rs

from llmatic.engines.chat.syntax.parameters import JSON_TYPES, Parameter, type_name

_LONGEST_SCALAR = 400
_LONGEST_LITERAL = 100_000
_NO_SCALAR = re.compile(r"[^-+.0-9eEaflnrstu]")


class Guess:
    """Decides what unquoted text stands for. Owns the compiled schema; one thread at a time."""

    __slots__ = ("_is_valid", "_types")

    def __init__(self, parameter: Parameter | None) -> None:
        """None: nothing is known, so what looks like JSON is JSON."""
        self._types = parameter.types if parameter else JSON_TYPES
        is_known = parameter is not None and parameter.kind == "either"
        self._is_valid = _validator(parameter.schema) if parameter and is_known else _anything

    def decide(self, text: str) -> str:
        """The JSON that `text` is, of the types and values that the schema allows."""
        value = parsed(text)
        if (
            value is not None
            and value[0] != "string"
            and value[0] in self._types
            and self._is_valid(value[1])
        ):
            return text.strip()
        if "string" in self._types and self._is_valid(text):
            return as_string(text)
        return as_json(text)

    def may_be_json(self, begin: str) -> bool:
        """Whether more text could make anything but a string out of `begin`."""
        begin = begin.strip()
        if not begin or begin[0] == '"':
            return True
        if begin[0] in "{[":
            return "object" in self._types or "array" in self._types
        return len(begin) < _LONGEST_SCALAR and not _NO_SCALAR.search(begin)


def as_string(text: str) -> str:
    """The JSON string of a text."""
    return json.dumps(text, ensure_ascii=False)


def as_json(text: str) -> str:
    """The text if it is JSON, a Python literal as JSON, any other as a JSON string; trimmed."""
    text = text.strip()
    if parsed(text) is not None:
        return text
    literal = python_literal(text)
    return as_string(text) if literal is None else literal


def parsed(text: str) -> tuple[str, Any] | None:
    """The JSON type and value of a text; None: it is no JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return type_name(value), value


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _anything(_: Any) -> bool:
    return True


def _validator(schema: Mapping[str, Any]) -> Callable[[Any], bool]:
    try:
        return cast(Callable[[Any], bool], jsonschema_rs.validator_for(_standard(schema)).is_valid)
    except (ValueError, jsonschema_rs.ValidationError):
        return _anything


def python_literal(text: str) -> str | None:
    """The JSON of a Python literal; None: it is none, or JSON has no such value."""
    if len(text) > _LONGEST_LITERAL or not text:
        return None
    try:
        return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _standard(schema: Any) -> Any:
    """A schema in plain forms, where several patterns may stand in a list, as JSON Schema knows it."""
    if isinstance(schema, list):
        return [_standard(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    own = {key: part if key in ("enum", "const") else _standard(part) for key, part in schema.items()}
    if isinstance(own.get("pattern"), list):
        own["allOf"] = [*own.get("allOf", []), *({"pattern": pattern} for pattern in own.pop("pattern"))]
    return own
