"""What a function's parameters may be: text, or values of other types.

Owns the reading of schemas for the syntaxes that write strings without quotes. Knows plain forms
(`constraints.schemas`) and the common ones that those are made of. Never validates schemas. Pure; any thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmatic.engines.chat.syntax import Function

Kind = Literal["text", "json", "either"]
JSON_TYPES = ("object", "array", "string", "number", "boolean", "null")
_MAX_DEPTH = 24
_ALIASES = {"integer": "number"}
_PLAIN: dict[str, dict[str, Any]] = {
    "object": {"properties": {}, "required": [], "additionalProperties": {}},
    "array": {"items": {}},
}
_IMPLIES = {
    "properties": ("object",),
    "required": ("object",),
    "additionalProperties": ("object",),
    "items": ("array",),
    "prefixItems": ("array",),
    "minItems": ("array",),
    "maxItems": ("array",),
    "pattern": ("string",),
    "minLength": ("string",),
    "maxLength": ("string",),
    "format": ("string",),
    "minimum": ("number",),
    "maximum": ("number",),
    "exclusiveMinimum": ("number",),
    "exclusiveMaximum": ("number",),
    "multipleOf": ("number",),
}


@dataclass(frozen=True, slots=True)
class Texts:
    """Strings that a schema allows: these `values`, or all that fit the rest. Lengths in characters."""

    values: tuple[str, ...] | None = None
    patterns: tuple[str, ...] = ()
    min_length: int = 0
    max_length: int | None = None

    @property
    def is_free(self) -> bool:
        """Whether any string will do."""
        return self == Texts()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its schema, able to stand alone; the `types` of JSON and the strings that it may be."""

    name: str
    schema: Mapping[str, Any]
    is_required: bool
    types: tuple[str, ...]
    texts: tuple[Texts, ...]

    @property
    def kind(self) -> Kind:
        """Strings only, no strings, or both."""
        if not self.texts:
            return "json"
        return "text" if self.types == ("string",) else "either"

    def of_types(self, types: Sequence[str]) -> Mapping[str, Any]:
        """The schema of those of its values that are of `types`."""
        some = []
        for branch in branches_of(self.schema, self.schema):
            own = {key: value for key, value in branch.items() if key != "$defs"}
            kept = [name for name in types_of(own) if name in types]
            if kept and "enum" in own:
                own["enum"] = [value for value in own["enum"] if type_name(value) in types]
                some.append(own)
            elif kept and "const" not in own:
                declared = own.get("type", kept)
                declared = [declared] if isinstance(declared, str) else declared
                kept = [name for name in declared if _ALIASES.get(name, name) in types]
                some += [{**_PLAIN.get(name, {}), **own, "type": name} for name in kept]
            elif kept:
                some.append({"enum": [own["const"]]})
        schema = some[0] if len(some) == 1 else {"anyOf": some}
        return {"$defs": self.schema["$defs"], **schema} if "$defs" in self.schema else schema


def parameters(function: Function) -> tuple[Parameter, ...]:
    """The function's parameters in their schema's order; required ones without a schema may be anything."""
    properties = dict(function.schema.get("properties") or {})
    required = [name for name in function.schema.get("required") or () if isinstance(name, str)]
    properties.update({name: {} for name in required if name not in properties})
    return tuple(
        parameter(name, schema, function.schema, is_required=name in required)
        for name, schema in properties.items()
        if schema is not False
    )


def other_parameter(function: Function) -> Parameter | None:
    """What a parameter without a name in the schema must be like; None: there is none such."""
    schema = function.schema.get("additionalProperties", False)
    return None if schema is False else parameter("", schema, function.schema, is_required=False)


def parameter(name: str, schema: Any, root: Mapping[str, Any], *, is_required: bool) -> Parameter:
    """The parameter with a schema whose references point into `root`."""
    own = dict(schema) if isinstance(schema, Mapping) else {}
    branches = list(branches_of(own, root))
    types = {kind: None for branch in branches for kind in types_of(branch)}
    texts = tuple(dict.fromkeys(t for branch in branches if (t := _texts(branch)) is not None))
    alone = {"$defs": root["$defs"], **own} if "$defs" in root else own
    return Parameter(name, alone, is_required, tuple(types), texts)


def branches_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The schema's alternatives: references followed, `allOf` merged, `anyOf` and `oneOf` taken apart."""
    if schema is False:
        return
    flat = merged(schema, root, depth)
    for key in ("anyOf", "oneOf"):
        if isinstance(flat.get(key), Sequence) and depth < _MAX_DEPTH:
            rest = {k: v for k, v in flat.items() if k != key}
            for branch in flat[key]:
                if branch is not False:
                    yield from branches_of(_both(rest, merged(branch, root, depth + 1)), root, depth + 1)
            return
    yield flat


def merged(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
    """The schema with its reference followed and its `allOf` folded into it."""
    flat = dict(schema) if isinstance(schema, Mapping) else {}
    for _ in range(_MAX_DEPTH):
        if "$ref" not in flat:
            break
        target = target_of(str(flat.pop("$ref")), root)
        flat = _both(target, flat) if isinstance(target, Mapping) else flat
    parts = flat.pop("allOf", ())
    if depth < _MAX_DEPTH:
        for part in parts:
            flat = _both(flat, merged(part, root, depth + 1))
    return flat


def types_of(branch: Mapping[str, Any]) -> tuple[str, ...]:
    """The JSON types that a schema without alternatives allows; "integer" counts as "number"."""
    if "const" in branch:
        return (type_name(branch["const"]),)
    if "enum" in branch:
        return tuple(dict.fromkeys(type_name(value) for value in branch["enum"]))
    declared = branch.get("type")
    if isinstance(declared, str):
        declared = [declared]
    if declared:
        return tuple(dict.fromkeys(_ALIASES.get(name, name) for name in declared))
    return next((types for key, types in _IMPLIES.items() if key in branch), JSON_TYPES)


def type_name(value: Any) -> str:
    """The JSON type of a value."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "object" if isinstance(value, Mapping) else "array"


def _texts(branch: Mapping[str, Any]) -> Texts | None:
    if "string" not in types_of(branch):
        return None
    if "const" in branch:
        return Texts((branch["const"],))
    if "enum" in branch:
        return Texts(tuple(value for value in branch["enum"] if isinstance(value, str)))
    pattern = branch.get("pattern", ())
    return Texts(
        None,
        (pattern,) if isinstance(pattern, str) else tuple(pattern),
        int(branch.get("minLength") or 0),
        None if branch.get("maxLength") is None else int(branch["maxLength"]),
    )


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {**one, **other}
    if isinstance(one.get("properties"), Mapping) and isinstance(other.get("properties"), Mapping):
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    return both


def target_of(reference: str, root: Mapping[str, Any]) -> Any:
    """What a JSON pointer behind `#` points at; None: nothing."""
    if not reference.startswith("#"):
        return None
    found: Any = root
    for step in reference[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, Sequence) and not isinstance(found, str) and step.isdigit():
            found = found[int(step)] if int(step) < len(found) else None
        else:
            return None
    return found
