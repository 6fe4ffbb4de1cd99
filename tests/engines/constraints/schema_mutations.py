"""Schemas changed at random places: well-formed, malformed and contradictory ones."""

import copy
import random
from typing import Any

_KEYWORDS = (
    "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs", "properties", "required",
    "additionalProperties", "patternProperties", "propertyNames", "minProperties", "maxProperties", "items",
    "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "pattern",
    "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "not", "if", "then",
    "else", "contains", "dependentRequired", "unevaluatedProperties", "$id", "$anchor", "title", "a", "b", "",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 3.5, 1e300, 1e-300, 10**30, True, False, None, "", "object", "array", "string", "integer", "number",
    "null", "boolean", "#", "#/$defs/d0", "#/$defs/x", "#a", "http://x/y", "date", "email", "^a", "(", "a|b",
    "\ud800", "\x00", [], {}, [1], ["a"], [None], ["string", "null"], ["object", "array"], [{}], [True, False],
)  # fmt: skip


class Mutator:
    """Changes schemas, from one seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def mutated(self, schema: Any) -> Any:
        """A copy with up to four changes."""
        schema = copy.deepcopy(schema)
        for _ in range(self._chance.randint(0, 4)):
            places = _containers(schema)
            if places:
                self._change(self._chance.choice(places), places)
        return schema

    def _change(self, place: Any, places: list[Any]) -> None:
        if isinstance(place, list):
            if place and self._chance.random() < 0.4:
                place.pop()
            else:
                place.append(self._value(0))
            return
        key = self._chance.choice([*place, *_KEYWORDS] if self._chance.random() < 0.5 else _KEYWORDS)
        way = self._chance.random()
        if way < 0.2:
            place.pop(key, None)
        elif way < 0.4:
            place[key] = copy.deepcopy(self._chance.choice(places))
        else:
            place[key] = self._value(0)

    def _value(self, depth: int) -> Any:
        kind = self._chance.randrange(4)
        if kind < 2 or depth > 2:
            return copy.deepcopy(self._chance.choice(_VALUES))
        if kind == 2:
            return [self._value(depth + 1) for _ in range(self._chance.randrange(3))]
        return {
            self._chance.choice(_KEYWORDS): self._value(depth + 1) for _ in range(self._chance.randrange(4))
        }


def _containers(value: Any) -> list[Any]:
    found, pending = [], [value]
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list):
            found.append(value)
            pending += value.values() if isinstance(value, dict) else value
    return found
