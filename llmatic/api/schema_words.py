"""OpenAI's sentences for the ways in which one value can be wrong.

Owns the words, codes and paths of validation errors. Never walks a schema: `schema_errors` does. All pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from llmatic.core.errors import InvalidRequest

Path = tuple[str | int, ...]

_LIMIT = 100
_NOUNS: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
    type(None): "null",
    bytes: "a file",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def shown(text: str) -> str:
    """The text, cut to what an error message may hold of it."""
    return text if len(text) <= _LIMIT else f"{text[:_LIMIT]}..."


def path_text(path: Path, *, index: str = "[{}]") -> str:
    """`messages[0].role` for ("messages", 0, "role")."""
    return "".join(index.format(step) if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def literal(value: Any) -> str:
    """A value as the messages quote it: strings in single quotes, cut; `true`, `null`, numbers as in JSON."""
    if isinstance(value, str):
        return f"'{shown(value)}'"
    return orjson.dumps(value).decode() if value is None or isinstance(value, bool) else shown(repr(value))


def quoted_list(values: Iterable[Any], word: str) -> str:
    """`'a', 'b', and 'c'` (or another word than `and`); null is left out."""
    texts = [literal(value) for value in values if value is not None]
    if len(texts) < 3:
        return f" {word} ".join(texts)
    return f"{', '.join(texts[:-1])}, {word} {texts[-1]}"


def is_type(value: Any, name: str) -> bool:
    """As JSON Schema sees it: `true` is no number, 1.0 is an integer."""
    if name == "integer":
        return type(value) is int or (type(value) is float and value.is_integer())
    return type(value) in _TYPES[name]


def absent(schema: Mapping[str, Any], path: Path) -> InvalidRequest:
    """A required field is missing (or null). Some fields have a sentence of their own."""
    if "x-llmatic-absent" not in schema:
        return _error("Missing required parameter: '{}'.", path, "missing_required_parameter")
    param = path_text(path, index=".[{}]") if len(path) > 1 else None
    return InvalidRequest(schema["x-llmatic-absent"], param=param)


def wrong_type(expected: str, value: Any, path: Path) -> InvalidRequest:
    """`expected` is a noun with its article."""
    noun = _NOUNS.get(type(value), "something else")
    return _error(
        f"Invalid type for '{{}}': expected {expected}, but got {noun} instead.", path, "invalid_type"
    )


def wrong_value(allowed: Sequence[Any], value: Any, path: Path) -> InvalidRequest:
    """Not one of the allowed values."""
    message = f"Invalid value: {literal(value)}. Supported values are: {quoted_list(allowed, 'and')}."
    return InvalidRequest(message, param=shown(path_text(path)), code="invalid_value")


def refused_parameter(path: Path, reason: str) -> InvalidRequest:
    """A field of OpenAI's that is not served, whatever its value."""
    return _error(
        f"Unsupported parameter: '{{}}' is not supported with this model. {reason}",
        path,
        "unsupported_parameter",
    )


def refused_value(value: Any, path: Path, reason: str) -> InvalidRequest:
    """A value of OpenAI's that is not served."""
    text = f"Unsupported value: '{{}}' does not support {_braces(literal(value))} with this model. {reason}"
    return _error(text, path, "unsupported_value")


def needs(path: Path, other: str) -> InvalidRequest:
    """A field that means nothing without another."""
    return _error(
        f"Invalid value for '{{0}}': '{{0}}' is only allowed when '{other}' are specified.", path, None
    )


def unknown_fields(names: Sequence[str], path: Path, *, is_newer: bool = False) -> InvalidRequest:
    """Fields that the schema does not know.

    Deeper than the top level, and for OpenAI's newer operations, only the first is named.
    """
    if path or is_newer:
        return _error("Unknown parameter: '{}'.", (*path, names[0]), "unknown_parameter")
    plural = "s" if len(names) > 1 else ""
    return InvalidRequest(f"Unrecognized request argument{plural} supplied: {shown(', '.join(names))}")


def number_error(schema: Mapping[str, Any], value: float, path: Path) -> InvalidRequest | None:
    """Out of range."""
    noun = "integer" if "integer" in schema.get("type", ()) else "decimal"
    for key, sign, is_wrong in (
        ("minimum", ">=", value < schema.get("minimum", value)),
        ("maximum", "<=", value > schema.get("maximum", value)),
        ("exclusiveMinimum", ">", "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]),
    ):
        if is_wrong:
            side = "above maximum" if sign == "<=" else "below minimum"
            code = f"{noun}_{'above_max' if sign == '<=' else 'below_min'}_value"
            bound = f"Expected a value {sign} {schema[key]}, but got {value!r} instead."
            return _error(f"Invalid '{{}}': {noun} {side} value. {bound}", path, code)
    return None


def string_error(schema: Mapping[str, Any], value: str, path: Path) -> InvalidRequest | None:
    """Too short or too long."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", len(value))
    if len(value) < least:
        expected = f"Expected a string with minimum length {least}, but got an empty string instead."
        reason = _own_words(schema, "minLength") or f"empty string. {expected}"
        return _error(f"Invalid '{{}}': {reason}", path, "empty_string")
    if len(value) > most:
        expected = _at_most("a string", most, len(value))
        return _error(f"Invalid '{{}}': string too long. {expected}", path, "string_above_max_length")
    return None


def pattern_error(pattern: str, path: Path) -> InvalidRequest:
    """A string of the wrong form."""
    expected = f"Expected a string that matches the pattern '{_braces(pattern)}'."
    return _error(f"Invalid '{{}}': string does not match pattern. {expected}", path, "invalid_value")


def array_error(schema: Mapping[str, Any], value: Sequence[Any], path: Path) -> InvalidRequest | None:
    """Too few or too many items."""
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if 0 < len(value) < least:
        found = f"but got an array with length {len(value)} instead."
        expected = f"Expected an array with minimum length {least}, {found}"
        return _error(f"Invalid '{{}}': array too short. {expected}", path, "array_below_min_length")
    if len(value) < least:
        expected = f"Expected an array with minimum length {least}, but got an empty array instead."
        return _error(f"Invalid '{{}}': empty array. {expected}", path, "empty_array")
    if len(value) > most:
        expected = _at_most("an array", most, len(value))
        reason = _own_words(schema, "maxItems") or f"array too long. {expected}"
        return _error(f"Invalid '{{}}': {reason}", path, "array_above_max_length")
    return None


def older_error(schema: Mapping[str, Any], value: Any, path: Path) -> InvalidRequest | None:
    """What is wrong with a scalar, in the sentences that OpenAI still has for fields of some operations."""
    shown_value = (
        "[...]" if isinstance(value, list) else "{...}" if isinstance(value, dict) else literal(value)
    )
    names = [name for name in schema["type"] if name != "null"]
    least, most = schema.get("minimum"), schema.get("maximum")
    allowed = [item for item in schema.get("enum", ()) if item is not None]
    if not any(is_type(value, name) for name in names):
        reason = f"is not of type {quoted_list(names, 'or')}"
    elif allowed and value not in allowed:
        reason = f"is not one of {allowed}"
    elif least is not None and value < least:
        reason = f"is less than the minimum of {least}"
    elif most is not None and value > most:
        reason = f"is greater than the maximum of {most}"
    else:
        return None
    return InvalidRequest(f"{shown_value} {reason} - '{path_text(path, index='.{}')}'")


def object_error(schema: Mapping[str, Any], value: Mapping[str, Any], path: Path) -> InvalidRequest | None:
    """Too many properties, or one with a name that cannot be."""
    most, names = schema.get("maxProperties", len(value)), schema.get("propertyNames", {})
    if len(value) > most:
        expected = (
            f"Expected an object with at most {most} properties, "
            f"but got an object with {len(value)} properties instead."
        )
        return _error(f"Invalid '{{}}': too many properties. {expected}", path, "object_above_max_properties")
    for name in value if names else ():
        longest = names.get("maxLength", len(name))
        if len(name) > longest:
            expected = _at_most("a string", longest, len(name))
            text = f"'{name[:3]}...{name[-3:]}' is too long. {expected}"
            return InvalidRequest(
                f"Invalid property name in '{path_text(path)}': {text}",
                param=shown(path_text((*path, name))),
                code="property_name_above_max_length",
            )
        if "pattern" in names and not re.fullmatch(names["pattern"][1:-1], name):
            text = f"{shown(name)}. You should only be submitting non-negative integers."
            return InvalidRequest(f"Invalid key in '{path_text(path)}': {text}", param=path_text(path))
    return None


def _own_words(schema: Mapping[str, Any], keyword: str) -> str | None:
    """The sentence that the document has for one keyword of this field, if it has one."""
    found: str | None = schema.get("x-llmatic-words", {}).get(keyword)
    return found


def _at_most(what: str, most: int, found: int) -> str:
    return f"Expected {what} with maximum length {most}, but got {what} with length {found} instead."


def _error(template: str, path: Path, code: str | None) -> InvalidRequest:
    where = shown(path_text(path))
    return InvalidRequest(template.format(where), param=where, code=code)


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
