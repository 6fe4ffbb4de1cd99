"""Calls whose arguments are trees of tags: objects have a tag for each key, arrays `<item>`s (MiniMax M3).

Owns the table of the family that writes calls so, their reader and their grammar. Pure; any thread. Objects
whose keys the schema does not name are JSON text; where properties are named, no others are offered. Not
enforced: minProperties, maxProperties and propertyNames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmatic.engines.chat.syntax import CallReader, Function, Mark, Sections
from llmatic.engines.chat.syntax.parameters import (
    Parameter,
    branches_of,
    parameter,
    parameters,
    target_of,
    types_of,
)
from llmatic.engines.chat.syntax.raw import RawReader, escaped
from llmatic.engines.chat.syntax.steps import Found, Steps
from llmatic.engines.chat.syntax.texts import Rules, closed_text, one_of, repeat
from llmatic.engines.chat.syntax.unquoted import Guess, as_json
from llmatic.engines.constraints.grammars import schema_rules

_DEEPEST = 24


@dataclass(frozen=True, slots=True)
class NestedXml:
    """A section: its opener, calls, a closing tag. `mark` stands before every tag."""

    mark: str
    tag: str = "tool_call"
    is_repeated: bool = False

    @property
    def opens(self) -> tuple[str, ...]:
        """See CallSyntax."""
        return (self.open_tag(self.tag),)

    def open_tag(self, name: str) -> str:
        """The tag that opens an element."""
        return f"{self.mark}<{name}>"

    def close_tag(self, name: str) -> str:
        """The tag that closes an element."""
        return f"{self.mark}</{name}>"

    def reader(self, opened_by: str, functions: Sequence[Function] = ()) -> CallReader:  # noqa: ARG002
        """See CallSyntax."""
        return _Reader(self, functions)

    def sections(
        self, functions: Sequence[Function], mark: Mark, *, prefix: str, is_parallel: bool
    ) -> Sections:
        """See CallSyntax."""
        writer = _Writer(self, Rules(f"{prefix}r"), mark)
        rules = writer.rules
        call = rules.rule(" | ".join(rules.rule(writer.call(function)) for function in functions))
        repeat = "+" if is_parallel else ""
        body = rules.rule(f'"\\n" {call}{repeat} {mark(self.close_tag(self.tag))}')
        return Sections("\n".join(rules.lines), ((self.opens[0], body),))


class _Writer:
    """Writes the rules of one grammar."""

    def __init__(self, syntax: NestedXml, rules: Rules, mark: Mark) -> None:
        self.rules = rules
        self._syntax = syntax
        self._mark = mark
        self._named: dict[tuple[str, str], str] = {}

    def call(self, function: Function) -> str:
        begin = self._mark(f'{self._syntax.mark}<invoke name="{function.name}">')
        end = self._mark(self._syntax.close_tag("invoke") + "\n")
        return f"{begin} {self._members(function.schema, function.schema, 0)} {end}"

    def _members(self, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> str:
        properties = schema.get("properties") or {}
        parts = []
        for known in parameters(Function("", schema)):
            value = self._value(properties.get(known.name, {}), root, known.name, depth + 1)
            member = self.rules.rule(f"{self._mark(self._syntax.open_tag(known.name))} {value}")
            parts.append(member if known.is_required else member + "?")
        return " ".join(parts)

    def _value(self, schema: Any, root: Mapping[str, Any], key: str, depth: int) -> str:
        """An expression for an element's value and the tag that closes it."""
        if isinstance(schema, Mapping) and "$ref" in schema:
            reference = (str(schema["$ref"]), key)
            if reference not in self._named:
                self._named[reference] = name = self.rules.name()
                body = self._value(target_of(reference[0], root) or {}, root, key, depth + 1)
                self.rules.lines.append(f"{name}: {body}")
            return self._named[reference]
        options = schema.get("anyOf") if isinstance(schema, Mapping) else None
        if options and depth < _DEEPEST:
            return one_of([self._value(option, root, key, depth + 1) for option in options])
        close = self._mark(self._syntax.close_tag(key))
        ways = []
        for branch in branches_of(schema, root):
            known = parameter(key, branch, root, is_required=True)
            if known.texts:
                ways.append(closed_text(self.rules, known.texts, self._syntax.close_tag(key), self._mark))
            if any(texts.is_free for texts in known.texts):
                continue
            for kind in types_of(branch):
                if kind == "object" and branch.get("properties") and depth < _DEEPEST:
                    ways.append(f"{self._members(branch, root, depth + 1)} {close}")
                elif kind == "array" and "enum" not in branch and depth < _DEEPEST:
                    ways.append(f"{self._items(branch, root, depth + 1)} {close}")
                elif kind != "string":
                    name = self.rules.name()
                    self.rules.lines.append(schema_rules(known.of_types((kind,)), name))
                    ways.append(f"{name} {close}")
        return one_of(ways) if ways else close

    def _items(self, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> str:
        begin = self._mark(self._syntax.open_tag("item"))
        low, high = int(schema.get("minItems") or 0), schema.get("maxItems")
        prefix = list(schema.get("prefixItems", ()))[:high]
        first = [f"{begin} {self._value(value, root, 'item', depth)}" for value in prefix]
        if high == 0 or (first and low <= len(first)):
            return " ".join(first)
        item = self.rules.rule(f"{begin} {self._value(schema.get('items', {}), root, 'item', depth)}")
        if first:
            return f"{' '.join(first)} {item}{{{low - len(first)}}}"
        return repeat(item, low, None if high is None else max(high, low))


class _Reader(RawReader):
    """Tolerates other whitespace between tags, and values as JSON text."""

    def __init__(self, syntax: NestedXml, functions: Sequence[Function]) -> None:
        self._syntax = syntax
        self._functions = {function.name: function.schema for function in functions}
        self._root: Mapping[str, Any] = {}
        super().__init__()

    def steps(self) -> Steps:
        """See StepReader."""
        while True:
            yield from self.skip_space()
            if (yield from self.literal(self._syntax.close_tag(self._syntax.tag))):
                return self.settle()
            if not (yield from self.literal(f'{self._syntax.mark}<invoke name="')):
                return self.give_back()
            name = yield from self.word('">')
            if not name:
                return self.give_back()
            self._root = self._functions.get(name, {})
            self.begin(name)
            yield from self._members("invoke", self._root, 0)
            self.end()

    def _members(self, tag: str, schema: Mapping[str, Any], depth: int) -> Found:
        """Read an object's elements up to the end of `tag`; false: something else came."""
        self.argue("{")
        n = 0
        is_whole = True
        while is_whole:
            yield from self.skip_space()
            if (yield from self.literal(self._syntax.close_tag(tag))):
                break
            is_whole = yield from self.literal(self._syntax.mark + "<")
            if not is_whole:
                break
            key = yield from self.word(">")
            if not key or key.startswith("/"):
                self.put_back(f"{self._syntax.mark}<" + ("" if key is None else f"{key}>"))
                is_whole = False
                break
            self.argue(f'{", " if n else ""}"{escaped(key)}": ')
            properties = schema.get("properties") or {}
            is_whole = yield from self._value(
                key, properties.get(key, schema.get("additionalProperties")), depth
            )
            n += 1
        self.argue("}")
        return is_whole

    def _items(self, tag: str, schema: Mapping[str, Any], depth: int) -> Found:
        self.argue("[")
        n = 0
        is_whole = True
        while is_whole:
            yield from self.skip_space()
            if (yield from self.literal(self._syntax.close_tag(tag))):
                break
            is_whole = yield from self.literal(self._syntax.open_tag("item"))
            if is_whole:
                self.argue(", " if n else "")
                first = schema.get("prefixItems") or ()
                own = first[n] if n < len(first) else schema.get("items")
                is_whole = yield from self._value("item", own, depth)
                n += 1
        self.argue("]")
        return is_whole

    def _value(self, tag: str, schema: Any, depth: int) -> Found:
        """Read an element's value and the end of `tag`."""
        known = parameter(tag, schema, self._root, is_required=True)
        close = self._syntax.close_tag(tag)
        if known.kind != "text" and depth < _DEEPEST:
            kind = yield from self._structure(known, close)
            branches = list(branches_of(known.schema, self._root)) if kind else []
            own = next((branch for branch in branches if kind in types_of(branch)), {})
            if kind == "object":
                return (yield from self._members(tag, own, depth + 1))
            if kind == "array":
                return (yield from self._items(tag, own, depth + 1))
        if known.kind == "text":
            self.argue('"')
            yield from self.raw(close, lambda piece: self.argue(escaped(piece)))
            self.argue('"')
            return True
        held: list[str] = []
        try:
            if known.kind == "json":
                yield from self.raw_json(close, held.append)
            else:
                yield from self.raw(close, held.append)
        except GeneratorExit:
            self.argue("".join(held).lstrip())
            raise
        text = "".join(held)
        self.argue((as_json(text) if text else "null") if known.kind == "json" else Guess(known).decide(text))
        return True

    def _structure(self, known: Parameter, close: str) -> Any:
        """What the tags that come next make: "object", "array", or "" for text. Consumes nothing."""
        structures = [name for name in ("object", "array") if name in known.types]
        if not structures:
            return ""
        if (yield from self.literal(close)):
            self.put_back(close)
            return structures[0] if known.kind == "json" and len(known.types) == 1 else ""
        if not (yield from self.literal(self._syntax.mark + "<")):
            return ""
        is_array = yield from self.literal("item>")
        self.put_back(self._syntax.mark + "<" + ("item>" if is_array else ""))
        return "array" if is_array and "array" in structures else structures[0]


MINIMAX_M3 = NestedXml("]<]minimax[>[")
