"""Why a body does not fit its schema.

Owns the walk from a refused body to its one most telling error, for the part of JSON Schema that
`openapi.yaml` uses; the sentences are in `schema_words`. Never decides whether a body is valid: `validation`
does, and hands in the compiled tests, which also keep this walk on the failing branch, so that a large body
costs little. Runs on the event loop, after a failure only.

Order: missing fields, unknown fields, then field by field in the order of the schema, as OpenAI answers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmatic.api import schema_words as words
from llmatic.api.schema_words import Path
from llmatic.core.errors import InvalidRequest

Schema = Mapping[str, Any]
IsValid = Callable[[Any], bool]


class Explainer:
    """Explains failures against the schemas of one document. Stateless but for compiled tests."""

    def __init__(self, document: Mapping[str, Any], compile_schema: Callable[[Schema], IsValid]) -> None:
        self._schemas: Mapping[str, Schema] = document["components"]["schemas"]
        self._compile = compile_schema
        self._tests: dict[tuple[int, bool], IsValid] = {}

    def first_error(self, schema: Schema, body: Mapping[str, Any]) -> InvalidRequest | None:
        """The error to answer with; None if the walk finds nothing wrong."""
        flat = self.flatten(schema)
        return (
            self._missing(flat, body, ())
            or self._unknown(flat, body, ())
            or self._properties(flat, body, ())
            or self._dependencies(flat, body)
        )

    def flatten(self, schema: Schema) -> dict[str, Any]:
        """The schema with `$ref` and `allOf` merged in; its own keywords win."""
        merged: dict[str, Any] = {}
        if "$ref" in schema:
            merged |= self.flatten(self._schemas[schema["$ref"].rpartition("/")[2]])
        for part in schema.get("allOf", ()):
            merged |= self.flatten(part)
        return merged | {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}

    def without_unknown(self, schema: Schema, value: Any) -> Any:
        """`value` without the fields that closed objects of `schema` do not know."""
        flat = self._chosen(self.flatten(schema), value) or {}
        if isinstance(value, dict) and "anyOf" in flat:
            branches = map(self.flatten, flat["anyOf"])
            flat = next((branch for branch in branches if _holds_objects(branch)), {})
            flat = self._chosen(flat, value) or {}
        if isinstance(value, list) and "items" in flat:
            return [self.without_unknown(flat["items"], item) for item in value]
        if isinstance(value, dict) and flat.get("additionalProperties") is False:
            known = flat["properties"]
            return {name: self.without_unknown(known[name], value[name]) for name in value if name in known}
        return value

    def _error(self, schema: Schema, value: Any, path: Path, siblings: Schema) -> InvalidRequest | None:
        if (value is None or isinstance(value, dict | list)) and self._test(schema)(value):
            return None
        flat = self.flatten(schema)
        types = [flat["type"]] if isinstance(flat.get("type"), str) else flat.get("type", [])
        if "x-llmatic-absent" in flat and (value is None or (value == "" and flat.get("minLength"))):
            return words.absent(flat, path)
        if "x-llmatic-refused" in flat and (refusal := _refusal(flat, types, value, path, siblings)):
            return refusal
        if "discriminator" in flat:
            return self._by_kind(flat, value, path)
        if "x-llmatic-older-words" in flat:
            return words.older_error(flat, value, path)
        if types and not any(words.is_type(value, name) for name in types):
            return words.wrong_type(self._expected(flat, types), value, path)
        allowed = [flat["const"]] if "const" in flat else flat.get("enum")
        if allowed is not None and not any(type(value) is type(item) and value == item for item in allowed):
            return words.wrong_value(allowed, value, path)
        return self._inside(schema, flat, value, path) or self._any_of(flat, value, path, siblings)

    def _inside(self, schema: Schema, flat: Schema, value: Any, path: Path) -> InvalidRequest | None:
        if isinstance(value, list):
            return words.array_error(flat, value, path) or self._items(flat, value, path)
        if isinstance(value, dict):
            return words.object_error(flat, value, path) or self._fields(flat, value, path)
        if isinstance(value, str):
            error = words.string_error(flat, value, path)
            if error is None and "pattern" in flat and not self._test(schema)(value):
                return words.pattern_error(flat["pattern"], path)
            return error
        if isinstance(value, int | float) and not isinstance(value, bool):
            return words.number_error(flat, value, path)
        return None

    def _fields(self, flat: Schema, value: Schema, path: Path) -> InvalidRequest | None:
        """Below the top level what is there comes first: a part's `type` tells more than what it lacks."""
        return (
            self._properties(flat, value, path)
            or self._missing(flat, value, path)
            or self._unknown(flat, value, path)
            or self._others(flat, value, path)
        )

    def _missing(self, flat: Schema, value: Schema, path: Path) -> InvalidRequest | None:
        for name in flat.get("required", ()):
            if name not in value:
                return words.absent(self.flatten(flat["properties"][name]), (*path, name))
        return None

    def _unknown(self, flat: Schema, value: Schema, path: Path) -> InvalidRequest | None:
        if flat.get("additionalProperties") is not False:
            return None
        unknown = sorted(value.keys() - flat["properties"].keys())
        is_newer = "x-llmatic-newer-words" in flat
        return words.unknown_fields(unknown, path, is_newer=is_newer) if unknown else None

    def _properties(self, flat: Schema, value: Schema, path: Path) -> InvalidRequest | None:
        for name, field in flat.get("properties", {}).items():
            if name in value and (error := self._error(field, value[name], (*path, name), value)):
                return error
        return None

    def _others(self, flat: Schema, value: Schema, path: Path) -> InvalidRequest | None:
        field = flat.get("additionalProperties")
        if not isinstance(field, dict):
            return None
        for name in value:
            if error := self._error(field, value[name], (*path, name), value):
                return error
        return None

    def _items(self, flat: Schema, value: list[Any], path: Path) -> InvalidRequest | None:
        """The error of the first bad item, found by halving with the compiled test."""
        items: Schema | None = flat.get("items")
        if items is None or (is_valid := self._test(items, of_list=True))(value):
            return None
        low, high = 0, len(value)
        while high - low > 1:
            middle = (low + high) // 2
            if is_valid(value[low:middle]):
                low = middle
            else:
                high = middle
        return self._error(items, value[low], (*path, low), {})

    def _by_kind(self, flat: dict[str, Any], value: Any, path: Path) -> InvalidRequest | None:
        """An object that a field of its own tells apart: a message and its role."""
        name, kinds = flat["discriminator"]["propertyName"], tuple(flat["discriminator"]["mapping"])
        if not isinstance(value, dict):
            return words.wrong_type("an object", value, path)
        if _implied_kind(flat, value) is not None:
            chosen = self._chosen(flat, value)
            return None if chosen is None else self._fields(chosen, value, path)
        if name not in value:
            return words.absent({}, (*path, name))
        if not isinstance(value[name], str):
            return words.wrong_type(f"one of {words.quoted_list(kinds, 'or')}", value[name], (*path, name))
        chosen = self._chosen(flat, value)
        if chosen is None:
            reason = flat.get("x-llmatic-refused-kinds", {}).get(value[name])
            if reason is not None:
                return words.refused_value(value[name], (*path, name), reason)
            return words.wrong_value(kinds, value[name], (*path, name))
        return self._fields(chosen, value, path)

    def _chosen(self, flat: dict[str, Any], value: Any) -> dict[str, Any] | None:
        """The branch that the discriminator picks; `flat` itself where there is none to pick from."""
        if "discriminator" not in flat:
            return flat
        kind = value.get(flat["discriminator"]["propertyName"]) if isinstance(value, dict) else None
        kind = kind or _implied_kind(flat, value)
        target = flat["discriminator"]["mapping"].get(kind) if isinstance(kind, str) else None
        return None if target is None else self.flatten({"$ref": target})

    def _any_of(self, flat: Schema, value: Any, path: Path, siblings: Schema) -> InvalidRequest | None:
        """The error of the branch that comes nearest to the value: that branch was meant."""
        errors: list[InvalidRequest] = []
        for branch in flat.get("anyOf", ()):
            error = self._error(branch, value, path, siblings)
            if error is None:
                return None
            errors.append(error)
        return max(errors, key=_reach, default=None)

    def _dependencies(self, flat: Schema, body: Schema) -> InvalidRequest | None:
        for name, rule in flat.get("dependentSchemas", {}).items():
            if name in body and not self._test(rule)(body):
                return InvalidRequest(self.flatten(rule)["x-llmatic-message"], param=name)
        return None

    def _expected(self, flat: Schema, types: Sequence[str]) -> str:
        """The noun of a wrong type: `an integer`, `one of a string or array of objects`."""
        names = [name for name in types if name != "null"]
        if not names:
            return "null"
        if names == ["string"] and "enum" in flat:
            return f"one of {words.quoted_list(flat['enum'], 'or')}"
        nouns: list[str] = []
        for name in names:
            lists = [flat, *map(self.flatten, flat.get("anyOf", ()))] if name == "array" else []
            nouns += [f"array of {self._plural(branch['items'])}" for branch in lists if "items" in branch]
            if not nouns or not lists:
                nouns.append({"number": "decimal"}.get(name, name))
        if len(nouns) == 1:
            return f"{'an' if nouns[0][0] in 'aeio' else 'a'} {nouns[0]}"
        comma = "," if len(nouns) > 2 else ""
        return f"one of a {', '.join(nouns[:-1])}{comma} or {nouns[-1]}"

    def _plural(self, items: Schema) -> str:
        flat = self.flatten(items)
        if flat.get("type") == "array":
            return f"{self.flatten(flat['items'])['type']} arrays"
        kinds = flat.get("type", "object")
        return " or ".join(f"{kind}s" for kind in ([kinds] if isinstance(kinds, str) else kinds))

    def _test(self, schema: Schema, *, of_list: bool = False) -> IsValid:
        """The compiled test of a schema that is part of the document, or of lists of it; compiled once."""
        slot = (id(schema), of_list)
        if slot not in self._tests:
            self._tests[slot] = self._compile({"type": "array", "items": schema} if of_list else schema)
        return self._tests[slot]


def _refusal(
    flat: Schema, types: Sequence[str], value: Any, path: Path, siblings: Schema
) -> InvalidRequest | None:
    """The reason that the document gives for not serving a field, or this value of it."""
    if value is None:
        return None
    if types == ["null"]:
        needed = flat.get("x-llmatic-needs")
        if needed is not None and needed not in siblings:
            return words.needs(path, needed)
        return words.refused_parameter(path, flat["x-llmatic-refused"])
    if any(type(value) is type(item) and value == item for item in flat["x-llmatic-refused-values"]):
        return words.refused_value(value, path, flat["x-llmatic-refused"])
    return None


def _implied_kind(flat: Schema, value: Any) -> str | None:
    """The kind of an object that does not say it, but has a field that only one kind has."""
    if not isinstance(value, dict) or value.get(flat["discriminator"]["propertyName"]) is not None:
        return None
    implied = flat.get("x-llmatic-implied-kinds", {})
    return next((kind for field, kind in implied.items() if field in value), None)


def _holds_objects(flat: Schema) -> bool:
    return "discriminator" in flat or flat.get("type") == "object"


def _reach(error: InvalidRequest) -> tuple[bool, list[int], int]:
    """How near an error's branch is to the value: right types first, then how far into the value it got."""
    param = error.param or ""
    indexes = [int(index) for index in re.findall(r"\[(\d+)\]", param)]
    return error.code != "invalid_type", indexes, param.count(".")
