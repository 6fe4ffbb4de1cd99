"""Random JSON schemas of everything that OpenAI documents for structured outputs, and of some more."""

import random
from typing import Any

FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_PATTERNS = (
    "^[a-z]{2,6}$",
    "^@[a-zA-Z0-9_]+$",
    "e",
    r"^\d{4}-\d{2}$",
    "^(foo|bar)+$",
    r"^\w{1,9}\.py$",
    "e|ü",
)
_WORDS = ("red", "green", 'with "quotes"', "a\\b", "zwölf", "", "tab\there", "🙂", "null")
_NAMES = (
    "name",
    "size",
    "first-name",
    "größe",
    'odd "name"',
    "a b",
    "x",
    "items",
    "type",
    "$ref",
    "properties",
)


class SchemaMaker:
    """Makes schemas from one seed."""

    def __init__(self, seed: int, *, is_strict: bool) -> None:
        self._chance = random.Random(seed)
        self._is_strict = is_strict

    def schema(self) -> dict[str, Any]:
        """An object schema; sometimes with definitions, which may be recursive."""
        self._n_definitions = self._chance.randrange(3)
        schema = self._object(0)
        if self._n_definitions:
            schema["$defs"] = {f"d{n}": self._definition(n) for n in range(self._n_definitions)}
        return schema

    def _definition(self, n: int) -> dict[str, Any]:
        if n == 0:
            # A tree.
            children = {"type": "array", "items": {"$ref": "#/$defs/d0"}}
            other = {"anyOf": [{"$ref": "#/$defs/d0"}, {"type": "null"}]}
            return self._closed({"value": self._leaf(), "children": children, "other": other})
        return self._value(3)

    def _value(self, depth: int) -> dict[str, Any]:
        kinds = ["leaf", "leaf", "enum"]
        if depth < 3:
            kinds += ["object", "array", "array", "any_of"]
        if self._n_definitions:
            kinds.append("ref")
        if not self._is_strict:
            kinds += ["const", "any"] + (["tuple", "one_of", "all_of", "map"] if depth < 3 else [])
        return getattr(self, f"_{self._chance.choice(kinds)}")(depth)  # type: ignore[no-any-return]

    def _ref(self, depth: int) -> dict[str, Any]:
        return {"$ref": f"#/$defs/d{self._chance.randrange(self._n_definitions)}"}

    def _any(self, depth: int) -> dict[str, Any]:
        return {}

    def _const(self, depth: int) -> dict[str, Any]:
        return {"const": self._chance.choice([1, -2.5, "x", None, True, [1, "a"], {"a": {"b": []}}, 10**18])}

    def _enum(self, depth: int) -> dict[str, Any]:
        words = self._chance.sample(_WORDS, self._chance.randint(1, 4))
        if self._chance.random() < 0.2:
            return {"enum": [*words, 3, None, False]}
        return {"type": "string", "enum": words}

    def _object(self, depth: int) -> dict[str, Any]:
        names = self._chance.sample(_NAMES, self._chance.randint(0, 5))
        schema = self._closed({name: self._value(depth + 1) for name in names})
        if not self._is_strict:
            schema["required"] = [name for name in names if self._chance.random() < 0.5]
            further = self._chance.choice([False, True, self._leaf(), None])
            schema["additionalProperties"] = further
            if further is None:
                del schema["additionalProperties"]
        return schema

    def _closed(self, properties: dict[str, Any]) -> dict[str, Any]:
        required = list(properties)
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def _array(self, depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self._value(depth + 1)}
        least = self._chance.randrange(3)
        if self._chance.random() < 0.6:
            schema["minItems"] = least
        if self._chance.random() < 0.6:
            schema["maxItems"] = least + self._chance.randrange(4)
        return schema

    def _tuple(self, depth: int) -> dict[str, Any]:
        parts = [self._value(depth + 1) for _ in range(self._chance.randint(1, 3))]
        further = self._chance.choice([False, True, {"type": "integer"}])
        schema = {"type": "array", "prefixItems": parts, "items": further}
        if self._chance.random() < 0.5:
            schema["minItems"] = self._chance.randint(0, len(parts))
        return schema

    def _map(self, depth: int) -> dict[str, Any]:
        part = self._value(depth + 1)
        return self._chance.choice(
            [
                {"type": "object", "patternProperties": {"^x_[a-z]+$": part}, "additionalProperties": False},
                {"type": "object", "additionalProperties": part, "maxProperties": 3},
                {"type": "object", "propertyNames": {"maxLength": 4}, "additionalProperties": part},
                {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": part},
            ]
        )

    def _any_of(self, depth: int) -> dict[str, Any]:
        return {"anyOf": [self._value(depth + 1) for _ in range(self._chance.randint(1, 3))]}

    def _one_of(self, depth: int) -> dict[str, Any]:
        kinds = [
            {
                "type": "object",
                "properties": {"kind": {"const": f"k{n}"}, "v": self._value(depth + 1)},
                "required": ["kind"],
            }
            for n in range(2)
        ]
        return {"oneOf": [*kinds, {"type": "null"}]}

    def _all_of(self, depth: int) -> dict[str, Any]:
        first = {"type": "object", "properties": {"a": self._leaf()}, "required": ["a"]}
        second = {"properties": {"b": self._leaf(), "a": {}}, "required": ["b"]}
        return {"allOf": [first, second], "title": "both"}

    def _leaf(self, depth: int = 0) -> dict[str, Any]:
        kind = self._chance.choice(["string", "string", "integer", "number", "boolean", "null"])
        schema: dict[str, Any] = {"type": kind, "description": "a leaf"}
        if kind == "string":
            schema |= self._string()
        elif kind in ("integer", "number"):
            schema |= self._number(kind)
        if self._chance.random() < 0.15 and kind != "null":
            schema["type"] = [kind, "null"]
        return schema

    def _string(self) -> dict[str, Any]:
        least = self._chance.randrange(4)
        return self._chance.choice(
            [
                {},
                {"format": self._chance.choice(FORMATS)},
                {"pattern": self._chance.choice(_PATTERNS)},
                {"minLength": least, "maxLength": least + self._chance.randrange(5)},
                {"pattern": "^[a-z]*$", "minLength": 2, "maxLength": 5},
            ]
        )

    def _number(self, kind: str) -> dict[str, Any]:
        low = self._chance.choice([-1000, -7, 0, 1, 3])
        high = low + self._chance.choice([1, 9, 10, 12345])
        half = 0.5 if kind == "number" else 0
        return self._chance.choice(
            [
                {},
                {"minimum": low + half},
                {"exclusiveMaximum": high},
                {"minimum": low, "maximum": high + half},
                {"exclusiveMinimum": low - half, "exclusiveMaximum": high + 1},
                {"multipleOf": self._chance.choice([2, 5, 10]), "minimum": low, "maximum": low + 100},
                {"multipleOf": 0.25} if kind == "number" else {"multipleOf": 3},
                {"minimum": -(2**53 - 1), "maximum": 2**53 - 1},
            ]
        )
