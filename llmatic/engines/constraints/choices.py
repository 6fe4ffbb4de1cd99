"""Constants and alternatives: which values fit, which schemas exclude each other. Pure; any thread."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema_rs

from llmatic.engines.constraints.forms import form_error
from llmatic.engines.constraints.keywords import pointed_at, types_of
from llmatic.engines.constraints.merging import Patterns, Unmergeable, patterns_of

# A oneOf of more schemas than this is not compared pair by pair.
_MAX_COMPARED = 200


def fitting_values(values: list[Any], rest: Mapping[str, Any]) -> list[Any]:
    """Those of the values of `enum` that satisfy the other keywords. Raises Unmergeable."""
    if not rest:
        return values
    if "$ref" in json.dumps(rest):
        raise Unmergeable("$ref")
    if isinstance(rest.get("pattern"), Patterns):
        parts = [{"pattern": pattern} for pattern in patterns_of(rest["pattern"])]
        rest = {key: value for key, value in rest.items() if key != "pattern"} | {"allOf": parts}
    try:
        fits = jsonschema_rs.Draft202012Validator(dict(rest), retriever=_nothing).is_valid
        return [value for value in values if fits(value)]
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
        raise Unmergeable(next(iter(rest))) from None


def _nothing(uri: str) -> Any:
    raise ValueError(f"nothing is read from {uri}")


def are_disjoint(options: list[Any], root: Any) -> bool:
    """Whether no value can satisfy two of the schemas, as far as types and constants show."""
    if len(options) > _MAX_COMPARED:
        return False
    shapes = [_Shape.of(_resolved(option, root)) for option in options]
    return all(one.excludes(other) for index, one in enumerate(shapes) for other in shapes[index + 1 :])


def _resolved(option: Any, root: Any) -> Any:
    for _ in range(8):
        if not isinstance(option, Mapping) or not isinstance(option.get("$ref"), str):
            break
        reference = option["$ref"]
        option = pointed_at(root, reference[1:]) if reference.startswith("#") else {}
    return option


class _Shape:
    """What tells values of a schema from others: their types, their own values or those of properties.

    `written`: the types of what is written for it; `allowed`: those that it allows, which are more where
    its keywords imply a type.
    """

    def __init__(
        self,
        written: frozenset[str],
        allowed: frozenset[str],
        values: frozenset[str],
        tags: Mapping[str, frozenset[str]],
    ) -> None:
        self._written = written
        self._allowed = allowed
        self._values = values
        self._tags = tags

    @classmethod
    def of(cls, schema: Any) -> "_Shape":
        if not isinstance(schema, Mapping) or form_error(schema) is not None:
            return cls(_ALL_KINDS, _ALL_KINDS, frozenset(), {})
        values = _constants(schema)
        if values:
            written = _widened({_kind(value) for value in json.loads(f"[{','.join(values)}]")})
            return cls(written, written, values, {})
        written = _widened(types_of(schema)) or _ALL_KINDS
        properties, required = schema.get("properties"), schema.get("required", [])
        tags = {}
        if isinstance(properties, Mapping):
            tags = {name: _constants(properties.get(name)) for name in required}
        allowed = written if "type" in schema else _ALL_KINDS
        return cls(written, allowed, values, {name: found for name, found in tags.items() if found})

    def excludes(self, other: "_Shape") -> bool:
        """Whether nothing that is written for one satisfies the other."""
        return self._stays_out_of(other) and other._stays_out_of(self)

    def _stays_out_of(self, other: "_Shape") -> bool:
        if not self._written & other._allowed:
            return True
        if self._values and other._values:
            return not self._values & other._values
        if self._written != {"object"}:
            return False
        return any(name in other._tags and not tags & other._tags[name] for name, tags in self._tags.items())


def _widened(kinds: Iterable[str]) -> frozenset[str]:
    """With both names of numbers, which may be the same value."""
    found = frozenset(kinds)
    return found | {"number", "integer"} if found & {"number", "integer"} else found


_ALL_KINDS = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


def _constants(schema: Any) -> frozenset[str]:
    if not isinstance(schema, Mapping):
        return frozenset()
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    if not isinstance(values, list):
        return frozenset()
    # 1 and 1.0 are the same number.
    plain = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return frozenset(json.dumps(value, sort_keys=True) for value in plain)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    kinds = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return kinds[type(value)]
