"""JSON schemas made at random: sound ones that every answer can be held to, and such as try an engine. Pure.

A sound schema ends soon: its strings, arrays and numbers have bounds, so that an answer need not be long.
"""

from random import Random
from typing import Any

Schema = dict[str, Any]

NAMES = ("name", "age", "city", "kind", "tags", "naïve", "a b", "note", "on", "x-1", 'quo"te', "数")
WORDS = ("red", "green", "", "Zoë", 'sa"id', "back\\slash", "🦉", "null", "line\nbreak", "{}")
PATTERNS = ("^[a-z]{1,4}$", "^\\d{4}-\\d{2}$", "^(ab|cd)+$", '^[^"\\\\]{2}$', "^é?x$")
FORMATS = ("date", "date-time", "time", "uuid", "ipv4", "email", "ipv6", "hostname", "duration")
MAX_DEPTH = 3

EVIL_PATTERNS = (
    "(a+)+$", "(?=a)b", "(?<!x)y", "(a)\\1", "[", "(", "a{1,100000}", "((a{1,100}){1,100}){1,100}",
    "(?i:A)\\b", "^\\p{Letter}+$", "\\", "(?P<n>a)(?P=n)", "^(([a-z])+.)+[A-Z]([a-z])+$", ".*.*.*.*.*.*.*x",
    "\ud800", "[^\\s\\S]", "^$", "(?:)", "x*" * 200, "\\u0000", "(?>a)", "$^",
)  # fmt: skip


def sound(random: Random, depth: int = 0) -> Schema:
    """A schema of an object with up to four properties."""
    names = random.sample(NAMES, random.randint(1, 4))
    properties = {name: _value(random, depth + 1) for name in names}
    return {
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": False,
    }


def recursive(random: Random) -> Schema:
    """A tree, by reference; each level may end it."""
    below = {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": random.randint(0, 2)}
    node = {
        "type": "object",
        "properties": {"value": _scalar(random), "below": below},
        "required": ["value", "below"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "required": ["root"],
        "additionalProperties": False,
        "$defs": {"node": node},
    }


def evil(random: Random) -> Any:
    """What a hostile or a careless client sends as a schema."""
    number = 10 ** random.randint(3, 12)
    makers: tuple[Any, ...] = (
        {"$ref": "#"}, {"$ref": "#/$defs/none"}, {"$ref": "http://127.0.0.1:9/x.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, {"$dynamicRef": "#meta"}, {"$ref": 7}, {"$defs": []},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "string", "pattern": random.choice(EVIL_PATTERNS)}, {"type": "string", "minLength": number},
        {"type": "string", "minLength": 5, "maxLength": 2}, {"type": "array", "minItems": number},
        {"type": "array", "minItems": 3, "maxItems": 1, "items": {}},
        {"type": "array", "prefixItems": [{"type": "null"}] * 500}, {"type": "array", "uniqueItems": True},
        {"type": "number", "multipleOf": 0}, {"type": "number", "multipleOf": 0.0001, "minimum": 0.00005},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "integer", "minimum": 1e300, "maximum": -1e300},
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
        {"type": "number", "minimum": "low"}, {"enum": []}, {"enum": [None, [], {}, 1.5, "\ud800"]},
        {"enum": [str(i) for i in range(3000)]}, {"const": {"deep": _nested([], 200)}}, {"const": number},
        {"not": {}}, {"not": {"type": "object"}}, {"if": {}, "then": {"type": "string"}, "else": False},
        {"oneOf": [{"type": "string"}, {"minLength": 1}]},
        {"allOf": [{"type": "object", "required": [str(i)]} for i in range(100)]}, {"allOf": []},
        {"anyOf": []}, {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"anyOf": [{"type": "string"}] * 300},
        {"type": "object", "patternProperties": {random.choice(EVIL_PATTERNS): {}}},
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1500)}},
        {"type": "object", "required": ["a", "a", "missing"]}, {"type": "object", "required": "a"},
        {"type": "object", "properties": []}, {"type": "object", "minProperties": number},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
        {"type": "object", "propertyNames": {"pattern": "["}},
        {"type": "object", "dependentSchemas": {"a": {}}}, {"type": "object", "unevaluatedProperties": False},
        {"type": ["string", "null", "integer"]}, {"type": []}, {"type": "any"}, {"type": {"type": "string"}},
        {"type": 1}, {"type": "string", "format": "no-such-format"},
        {"type": "string", "format": random.choice(FORMATS)}, {"contains": {"type": "string"}},
        {"no_such_keyword": [1, 2]}, {"x-guidance": {"lenient": True}, "not": {}},
        {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "exclusiveMinimum": True},
        {"$id": "http://[", "type": "string"}, {"$anchor": "a", "properties": {"b": {"$ref": "#a"}}},
        _nested({"type": "string"}, random.choice((50, 300, 400)), "items"),
        _nested({"type": "string"}, random.choice((50, 300)), "anyOf", listed=True), True, False, None, [],
        "object", 5, {}, {"type": "object"},
    )  # fmt: skip
    return random.choice(makers)


def _nested(core: Any, depth: int, key: str = "a", listed: bool = False) -> Any:
    for _ in range(depth):
        core = {key: [core] if listed else core}
    return core


def _value(random: Random, depth: int) -> Schema:
    if depth < MAX_DEPTH:
        draw = random.random()
        if draw < 0.15:
            return sound(random, depth)
        if draw < 0.3:
            low = random.randint(0, 2)
            return {
                "type": "array",
                "items": _value(random, depth + 1),
                "minItems": low,
                "maxItems": low + random.randint(0, 2),
            }
        if draw < 0.4:
            return {"anyOf": [_value(random, depth + 1), {"type": "null"}]}
    return _scalar(random)


def _scalar(random: Random) -> Schema:
    low = random.randint(-50, 50)
    return random.choice(
        (
            {"type": "string", "maxLength": random.randint(0, 8)},
            {"type": "string", "minLength": 1, "maxLength": 5, "description": 'A "short" text'},
            {"type": "string", "enum": random.sample(WORDS, 3)},
            {"type": "string", "pattern": random.choice(PATTERNS[:2])},
            {"type": "string", "format": random.choice(FORMATS[:5])},
            {"type": "integer", "minimum": low, "maximum": low + random.randint(0, 500)},
            {"type": "number", "minimum": low, "maximum": low + 1},
            {"type": "boolean"},
            {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
            {"const": random.choice(WORDS)},
            {"enum": [1, "one", None, True]},
        )
    )
