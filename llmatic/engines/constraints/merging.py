"""Two JSON schemas that must both hold, as one: what allOf, and anyOf or $ref beside other keywords, need.

Works on schemas as they were sent. Pure; any thread.
"""

from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]

_JOINED = ("$ref", "allOf", "anyOf", "oneOf")
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
_OPEN: tuple[Any, ...] = (True, {})


class Patterns(str):
    """Several patterns that must all match, where one is usual."""

    all: tuple[str, ...]

    @classmethod
    def of(cls, *patterns: str) -> "Patterns":
        """Flat: patterns may be several themselves."""
        parts = [part for pattern in patterns for part in patterns_of(pattern)]
        result = cls("\n".join(parts))
        result.all = tuple(dict.fromkeys(parts))
        return result


def patterns_of(pattern: str) -> tuple[str, ...]:
    """Each of them."""
    return pattern.all if isinstance(pattern, Patterns) else (pattern,)


class Unmergeable(Exception):
    """Two schemas whose conjunction has no plain form; the message names the keyword."""


def merged(left: Schema, right: Schema) -> dict[str, Any]:
    """A schema for the values that satisfy both; properties keep their order, the left's first.

    Raises Unmergeable.
    """
    _check_arrays(left, right)
    further = _further(left, right)
    result = dict(left)
    for keyword, value in right.items():
        if keyword not in left or left[keyword] == value:
            result[keyword] = value
        elif keyword in _RULES:
            result[keyword] = _RULES[keyword](left[keyword], value)
        elif keyword in _JOINED:
            # Both stay: one of them moves into an allOf beside the other.
            result.setdefault("allOf", [])
            result["allOf"] = [*result["allOf"], {keyword: value}]
        elif keyword in _CONFLICTING:
            raise Unmergeable(keyword)
    if further:
        properties = result["properties"]
        bounded = {name: _both(part, further.get(name, True)) for name, part in properties.items()}
        result["properties"] = bounded
    return result


def _further(left: Schema, right: Schema) -> dict[str, Any]:
    """What each says of the names that only the other describes."""
    found: dict[str, Any] = {}
    for one, other in ((left, right), (right, left)):
        additional = one.get("additionalProperties", True)
        names = [name for name in _names(other) if name not in _names(one)]
        if names and "patternProperties" in one:
            raise Unmergeable("patternProperties")
        found |= {name: additional for name in names if additional not in _OPEN}
    return found


def _names(schema: Schema) -> list[str]:
    properties = schema.get("properties")
    return list(properties) if isinstance(properties, Mapping) else []


def _check_arrays(left: Schema, right: Schema) -> None:
    for one, other in ((left, right), (right, left)):
        if "prefixItems" in one and "items" in other and "items" not in one:
            raise Unmergeable("prefixItems")


def _types(left: Any, right: Any) -> list[Any]:
    one, other = ([kind] if isinstance(kind, str) else list(kind) for kind in (left, right))
    common = [kind for kind in one if kind in other]
    if "integer" in {*one} ^ {*other} and "number" in {*one} ^ {*other}:
        common.append("integer")
    return common


def _properties(left: Any, right: Any) -> dict[str, Any]:
    if not isinstance(left, Mapping) or not isinstance(right, Mapping):
        raise Unmergeable("properties")
    result = dict(left)
    for name, schema in right.items():
        result[name] = schema if name not in left else _both(left[name], schema)
    return result


def _both(left: Any, right: Any) -> Any:
    if left is False or right is False:
        return False
    if left == right or right in _OPEN:
        return left
    return right if left in _OPEN else {"allOf": [left, right]}


def _required(left: Any, right: Any) -> list[Any]:
    return [*left, *(name for name in right if name not in left)]


def _values(left: Any, right: Any) -> list[Any]:
    return [value for value in left if any(_same(value, other) for other in right)]


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


_RULES: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(_LOWER_BOUNDS, max),
    **dict.fromkeys(_UPPER_BOUNDS, min),
    "type": _types,
    "properties": _properties,
    "additionalProperties": _both,
    "required": _required,
    "enum": _values,
    "items": _both,
    "propertyNames": _both,
    "pattern": Patterns.of,
    "uniqueItems": lambda left, right: left or right,
}

# Others that differ are remarks, of which the left's stay.
_CONFLICTING = (
    "const",
    "format",
    "multipleOf",
    "prefixItems",
    "additionalItems",
    "patternProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
)
