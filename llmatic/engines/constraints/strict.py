"""OpenAI's rules for strict schemas, in OpenAI's words.

Source: OpenAI's guide to structured outputs, "Supported schemas". What a strict schema may say beyond these
rules is decided by whether it can be enforced (`schemas`). Pure; any thread.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from llmatic.engines.constraints.forms import check_form
from llmatic.engines.constraints.subject import Path, Subject

MAX_PROPERTIES = 5000
MAX_NESTING = 10
MAX_ENUM_VALUES = 1000
MAX_NAME_CHARACTERS = 120_000
MAX_LONG_ENUM_VALUES = 250
MAX_LONG_ENUM_CHARACTERS = 15_000

NOT_PERMITTED = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
)
_NOT_AT_TOP = ("oneOf", "anyOf", "allOf", "enum", "not")


def check_top(schema: object, subject: Subject) -> None:
    """What is true of every schema of arguments and of every strict one. Raises InvalidRequest."""
    if not isinstance(schema, Mapping):
        raise subject.refusal(f"{schema!r} is not of type 'object'.")
    kind = schema.get("type")
    if kind != "object":
        raise subject.refusal(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'.")


def check_strict(schema: object, subject: Subject) -> None:
    """Hold a schema to the rules for strict ones. Raises InvalidRequest."""
    assert isinstance(schema, Mapping), "checked by check_top"
    if any(keyword in schema for keyword in _NOT_AT_TOP):
        names = "/".join(f"'{keyword}'" for keyword in _NOT_AT_TOP)
        raise subject.refusal(f"schema must have type 'object' and not have {names} at the top level.")
    _Strict(subject).check(schema)


class _Strict:
    """One pass over one schema; counts what is limited."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._n_properties = 0
        self._n_enum_values = 0
        self._n_characters = 0

    def check(self, schema: Mapping[str, Any]) -> None:
        pending: list[tuple[Any, Path, int]] = [(schema, (), 0)]
        while pending:
            node, path, nesting = pending.pop()
            if isinstance(node, Mapping):
                nesting = self._node(node, path, nesting)
                pending.extend((part, (*path, *step), nesting) for step, part in reversed(list(_parts(node))))

    def _node(self, node: Mapping[str, Any], path: Path, nesting: int) -> int:
        subject = self._subject
        check_form(node, path, subject)
        for keyword in NOT_PERMITTED:
            if keyword in node:
                raise subject.refusal_at(path, f"'{keyword}' is not permitted.")
        kind = node.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        if "object" in kinds or "properties" in node:
            nesting += 1
            if nesting > MAX_NESTING:
                raise subject.refusal(f"{nesting} levels of nesting exceeds limit of {MAX_NESTING}.")
            self._object(node, path)
        if "array" in kinds and "items" not in node and "prefixItems" not in node:
            raise subject.refusal_at(path, "array schema missing items.")
        if not {"type", "$ref", "anyOf", "enum", "const"} & node.keys():
            raise subject.refusal_at(path, "schema must have a 'type' key.")
        reference = node.get("$ref")
        if isinstance(reference, str) and not _is_top_definition(reference):
            words = "reference can only point to definitions defined at the top level of the schema."
            raise subject.refusal_at(path, words)
        self._count(node)
        return nesting

    def _object(self, node: Mapping[str, Any], path: Path) -> None:
        subject = self._subject
        if node.get("additionalProperties") is not False:
            words = "'additionalProperties' is required to be supplied and to be false."
            raise subject.refusal_at(path, words)
        properties = node.get("properties", {})
        required = node.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            return
        words = "'required' is required to be supplied and to be an array including every key in properties."
        for name in properties:
            if name not in required:
                raise subject.refusal_at(path, f"{words} Missing '{name}'.")
        for name in required:
            if name not in properties:
                raise subject.refusal_at(path, f"{words} Extra required key '{name}' supplied.")

    def _count(self, node: Mapping[str, Any]) -> None:
        properties, values = node.get("properties"), node.get("enum")
        names: list[Any] = list(properties) if isinstance(properties, Mapping) else []
        self._n_properties += len(names)
        for definitions in (node.get("$defs"), node.get("definitions")):
            names += list(definitions) if isinstance(definitions, Mapping) else []
        if isinstance(values, list):
            self._n_enum_values += len(values)
            texts = [value for value in values if isinstance(value, str)]
            n_characters = sum(map(len, texts))
            names += texts
            if len(values) > MAX_LONG_ENUM_VALUES and n_characters > MAX_LONG_ENUM_CHARACTERS:
                words = (
                    f"an enum of more than {MAX_LONG_ENUM_VALUES} values has {n_characters} characters in "
                    f"all, which exceeds limit of {MAX_LONG_ENUM_CHARACTERS}."
                )
                raise self._subject.refusal(words)
        if isinstance(node.get("const"), str):
            names.append(node["const"])
        self._n_characters += sum(len(name) for name in names if isinstance(name, str))
        for what, count, limit in (
            ("object properties", self._n_properties, MAX_PROPERTIES),
            ("enum values", self._n_enum_values, MAX_ENUM_VALUES),
            ("characters of names, enum and const values", self._n_characters, MAX_NAME_CHARACTERS),
        ):
            if count > limit:
                raise self._subject.refusal(f"{count} {what} exceeds limit of {limit}.")


def _is_top_definition(reference: str) -> bool:
    steps = reference.split("/")
    return reference == "#" or (steps[0] == "#" and len(steps) == 3 and steps[1] in ("$defs", "definitions"))


def _parts(node: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for keyword in ("properties", "$defs", "definitions"):
        parts = node.get(keyword)
        if isinstance(parts, Mapping):
            yield from (((keyword, str(name)), part) for name, part in parts.items())
    for keyword in ("anyOf", "prefixItems"):
        parts = node.get(keyword)
        if isinstance(parts, list):
            yield from (((keyword, str(index)), part) for index, part in enumerate(parts))
    if "items" in node:
        yield ("items",), node["items"]
