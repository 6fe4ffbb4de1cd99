"""Lark grammar of values written as literals, held to a JSON schema.

Owns the translation of schemas for languages that are not JSON. Where properties are named, no
others are offered. Not enforced: minProperties, maxProperties and propertyNames. Pure; any thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmatic.engines.chat.syntax import Function, Mark
from llmatic.engines.chat.syntax.parameters import (
    branches_of,
    parameter,
    parameters,
    target_of,
    type_name,
    types_of,
)
from llmatic.engines.chat.syntax.texts import KEY, Rules, closed_text, one_of, quoted, repeat
from llmatic.engines.constraints.grammars import schema_rules

_DEEPEST = 12
_APOSTROPHES = r"/'(?:[^'\\\n]|\\['\"\\nrt])*'/"
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)


@dataclass(frozen=True, slots=True)
class Style:
    """How literals are written. `quote`: what strings stand between as they are; empty: JSON's strings.

    `has_apostrophes`: strings without limits may stand between apostrophes as well.

    Keys of objects are bare where strings have `quote`s, JSON's strings otherwise.
    """

    true: str = "true"
    false: str = "false"
    null: str = "null"
    comma: str = ","
    colon: str = ":"
    quote: str = ""
    has_apostrophes: bool = False
    is_sorted: bool = False


class LiteralRules:
    """Writes rules for one grammar into `rules`."""

    def __init__(self, rules: Rules, style: Style, mark: Mark) -> None:
        self._rules = rules
        self._style = style
        self._mark = mark
        self._named: dict[str, str] = {}
        self._any = ""

    def members(self, function: Function, separator: str) -> str:
        """An expression for the function's arguments with `separator` between name and value."""
        known = [(p.name, p.is_required) for p in parameters(function)]
        properties = function.schema.get("properties") or {}
        members = []
        for name, is_required in self._ordered(known):
            value = self._value(properties.get(name, {}), function.schema, 0)
            members.append((f"{self._mark(name + separator)} {value}", is_required))
        other = function.schema.get("additionalProperties", False)
        if members or other is False:
            return self._listed(members)
        key = f"{self._rules.terminal(KEY)} {quoted(separator)}"
        member = self._rules.rule(f"{key} {self._value(other, function.schema, 0)}")
        return f"({member} ({self._mark(self._style.comma)} {member})*)?"

    def _ordered(self, known: Sequence[tuple[str, bool]]) -> Sequence[tuple[str, bool]]:
        return sorted(known, key=lambda item: item[0].lower()) if self._style.is_sorted else known

    def _listed(self, members: Sequence[tuple[str, bool]]) -> str:
        """An expression for the members in this order, those that are not required left out at will."""
        comma = self._mark(self._style.comma)
        first, rest = '""', ""  # what follows if nothing was written yet, and if something was
        for member, is_required in reversed(members):
            own = self._rules.rule(member)
            if is_required:
                first = self._rules.rule(f"{own} {rest}")
                rest = self._rules.rule(f"{comma} {own} {rest}")
            else:
                first = self._rules.rule(f"{own} {rest} | {first}")
                rest = self._rules.rule(f"({comma} {own})? {rest}")
        return first

    def _value(self, schema: Any, root: Mapping[str, Any], depth: int) -> str:
        """An expression for a value of the schema."""
        if depth > _DEEPEST or not isinstance(schema, Mapping):
            return self._anything()
        keys = schema.keys() - _ANNOTATIONS
        if not keys:
            return self._anything()
        if keys == {"$ref"}:
            reference = str(schema["$ref"])
            if reference not in self._named:
                self._named[reference] = name = self._rules.name()
                target = target_of(reference, root)
                self._rules.lines.append(f"{name}: {self._value(target or {}, root, depth + 1)}")
            return self._named[reference]
        if len(keys) == 1 and keys <= {"anyOf", "oneOf"}:
            return one_of([self._value(branch, root, depth + 1) for branch in schema[next(iter(keys))]])
        ways = []
        for branch in branches_of(schema, root):
            if "const" in branch or "enum" in branch:
                values = [branch["const"]] if "const" in branch else branch["enum"]
                ways += [self._literal(value) for value in values]
            else:
                ways += [self._typed(name, branch, root, depth) for name in types_of(branch)]
        return one_of(ways) if ways else self._anything()

    def _typed(self, name: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> str:
        style = self._style
        if name == "string":
            return self._string(schema)
        if name == "number":
            rule = self._rules.name()
            declared = schema.get("type", "number")
            kind = "integer" if "integer" in declared and "number" not in declared else "number"
            limits = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
            limited = {"type": kind, **{key: schema[key] for key in limits if key in schema}}
            self._rules.lines.append(schema_rules(limited, rule))
            return rule
        if name == "boolean":
            return f"( {quoted(style.true)} | {quoted(style.false)} )"
        if name == "null":
            return quoted(style.null)
        return self._array(schema, root, depth) if name == "array" else self._object(schema, root, depth)

    def _string(self, schema: Mapping[str, Any]) -> str:
        if not self._style.quote:
            rule = self._rules.name()
            limited: dict[str, Any] = {"type": "string"}
            limited |= {key: schema[key] for key in ("pattern", "minLength", "maxLength") if key in schema}
            self._rules.lines.append(schema_rules(limited, rule))
            if self._style.has_apostrophes and len(limited) == 1:
                return f"( {rule} | {self._rules.terminal(_APOSTROPHES)} )"
            return rule
        quote = self._style.quote
        texts = parameter("", {**schema, "type": "string"}, {}, is_required=True).texts
        return f"{self._mark(quote)} {closed_text(self._rules, texts, quote, self._mark)}"

    def _array(self, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> str:
        comma = self._mark(self._style.comma)
        low, high = int(schema.get("minItems") or 0), schema.get("maxItems")
        first = [self._value(item, root, depth + 1) for item in schema.get("prefixItems", ())][:high]
        if high == 0:
            return '"[" "]"'
        if first and low <= len(first):
            return f'"[" {self._joined(first)} "]"'
        item = self._rules.rule(self._value(schema.get("items", {}), root, depth + 1))
        if first:
            return f'"[" {self._joined(first)} ({comma} {item}){{{low - len(first)}}} "]"'
        again = repeat(f"({comma} {item})", max(low - 1, 0), None if high is None else max(high, low) - 1)
        several = self._rules.rule(f"{item} {again}")
        return f'"[" {several} "]"' if low else f'"[" {several}? "]"'

    def _object(self, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> str:
        function = Function("", schema)
        properties = schema.get("properties") or {}
        known = [(p.name, p.is_required) for p in parameters(function)]
        if known:
            members = [
                (f"{self._key(name)} {self._value(properties.get(name, {}), root, depth + 1)}", is_required)
                for name, is_required in self._ordered(known)
            ]
            return f'"{{" {self._listed(members)} "}}"'
        if schema.get("additionalProperties", False) is False:
            return '"{" "}"'
        return self._free_object(self._value(schema["additionalProperties"], root, depth + 1))

    def _free_object(self, value: str) -> str:
        if self._style.quote:
            key = f"{self._rules.terminal(KEY)} {quoted(self._style.colon)}"
        else:
            name = self._rules.name()
            self._rules.lines.append(schema_rules({"type": "string", "maxLength": 64}, name))
            key = f"{name} {quoted(self._style.colon)}"
        member = self._rules.rule(f"{key} {value}")
        return f'"{{" ({member} ({self._mark(self._style.comma)} {member})*)? "}}"'

    def _key(self, name: str) -> str:
        colon = self._style.colon
        return self._mark((name if self._style.quote else quoted(name)) + colon)

    def _anything(self) -> str:
        if not self._any:
            self._any = name = self._rules.name()
            simple = [self._typed(kind, {}, {}, 0) for kind in ("string", "number", "boolean", "null")]
            comma = self._mark(self._style.comma)
            array = f'"[" ({name} ({comma} {name})*)? "]"'
            self._rules.lines.append(f"{name}: {one_of([*simple, array, self._free_object(name)])}")
        return self._any

    def _literal(self, value: Any) -> str:
        kind = type_name(value)
        style = self._style
        if kind == "string" and style.quote:
            mark = self._mark(style.quote)
            return f"{mark} {quoted(value)} {mark}" if value else f"{mark} {mark}"
        if kind == "string":
            if style.has_apostrophes and not set(value) & set("'\\\n"):
                return one_of([quoted(quoted(value)), quoted(f"'{value}'")])
            return quoted(quoted(value))
        if kind in ("boolean", "null"):
            return quoted({True: style.true, False: style.false, None: style.null}[value])
        if kind == "number":
            return quoted(str(value))
        if kind == "array":
            return f'"[" {self._joined([self._literal(item) for item in value])} "]"'
        return f'"{{" {self._joined([f"{self._key(k)} {self._literal(v)}" for k, v in value.items()])} "}}"'

    def _joined(self, items: Sequence[str]) -> str:
        return f" {self._mark(self._style.comma)} ".join(items)
