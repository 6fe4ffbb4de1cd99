"""Plain forms of JSON schemas (`schemas`) as Lark rules.

Answers are compact JSON, with at most one space behind `:` and `,`: a random model cannot write whitespace
without end, and a trained one may write as it likes best. Strings hold no raw control characters and no
unpaired surrogates; further keys are written without \\u escapes, so that no key comes under two spellings.
Pure; any thread.
"""

import json
from collections.abc import Mapping
from typing import Any

from llmatic.engines.constraints import numbers
from llmatic.engines.constraints.keywords import compact
from llmatic.engines.constraints.leaves import leaf

Form = Mapping[str, Any]

_PAIR = r"[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPED = rf"\\u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{{3}}|[dD][0-7][0-9a-fA-F]{{2}}|{_PAIR})"
_PLAIN = r'[^"\\\x00-\x1F\x7F]|\\["\\bfnrt]'
_CHARACTER = rf"(?:{_PLAIN}|\\\/|{_ESCAPED})"
_STRING = f'/"{_CHARACTER}*"/'
_KEY = f'/"(?:{_PLAIN})*"/'
_GROUP = 64


def text(literal: str) -> str:
    """A Lark expression that matches exactly this text."""
    return json.dumps(literal, ensure_ascii=False).replace("\x7f", "\\u007f")


def write(schema: Form, name: str) -> str:
    """Lark rules of which `name` matches the values of a schema in plain forms."""
    rules = _Rules(name, schema.get("$defs", {}))
    return rules.written({key: value for key, value in schema.items() if key != "$defs"})


class _Rules:
    """The rules of one schema: equal ones are written once. Owns their names."""

    def __init__(self, name: str, definitions: Mapping[str, Form]) -> None:
        self._name = name
        self._definitions = definitions
        self._lines: list[str] = []
        self._names: dict[str, str] = {}
        self._wanted: list[str] = []
        self._comma = self._terminal("/, ?/")
        self._colon = self._terminal("/: ?/")

    def written(self, root: Form) -> str:
        self._lines.append(f"{self._name}: {self._value(root)}")
        # Definitions are written one after the other, since they may refer to each other without end.
        done = 0
        while done < len(self._wanted):
            key = self._wanted[done]
            body = self._any() if key == "" else self._value(self._definitions[key])
            self._lines.append(f"{self._definition_name(key)}: {body}")
            done += 1
        return "\n".join(self._lines) + "\n"

    def _definition_name(self, key: str) -> str:
        return f"{self._name}_of_{key or 'any'}"

    def _definition(self, key: str) -> str:
        if key not in self._wanted:
            self._wanted.append(key)
        return self._definition_name(key)

    def _terminal(self, body: str) -> str:
        return self._named(body, f"{self._name.upper()}_T")

    def _rule(self, body: str) -> str:
        return self._named(body, f"{self._name}_r")

    def _named(self, body: str, stem: str) -> str:
        known = self._names.get(body)
        if known is None:
            known = self._names[body] = f"{stem}{len(self._names)}"
            self._lines.append(f"{known}: {body}")
        return known

    def _value(self, form: Form) -> str:
        """The expression of a form: one name, or one in parentheses."""
        if not form:
            return self._definition("")
        if "$ref" in form:
            return self._definition(form["$ref"].removeprefix("#/$defs/"))
        if "enum" in form:
            return self._terminal(" | ".join(text(compact(value)) for value in form["enum"]))
        if "anyOf" in form:
            return self._rule(" | ".join(dict.fromkeys(self._value(option) for option in form["anyOf"])))
        match form["type"]:
            case "null":
                return self._terminal('"null"')
            case "boolean":
                return self._terminal("/true|false/")
            case "string":
                return self._string(form)
            case "integer" | "number":
                return self._number(form)
            case "array":
                return self._rule(self._array(form))
            case _:
                return self._rule(self._object(form))

    def _string(self, form: Form) -> str:
        if "pattern" in form:
            return self._rule(leaf(form))
        least, most = form.get("minLength", 0), form.get("maxLength")
        if least == 0 and most is None:
            return self._terminal(_STRING)
        return self._terminal(f'/"{_CHARACTER}{{{least},{"" if most is None else most}}}"/')

    def _number(self, form: Form) -> str:
        if form["type"] == "integer" and "multipleOf" not in form:
            pattern = numbers.integer_pattern(*numbers.integer_limits(form))
            assert pattern is not None, "checked when the form was made"
            return self._terminal(f"/{pattern}/")
        if len(form) == 1:
            return self._terminal(f"/{numbers.NUMBER}/")
        parts = [self._rule(leaf(numbers.decimal_leaf(form)))]
        if "multipleOf" not in form:
            parts += [self._terminal(f"/{pattern}/") for pattern in numbers.scientific_patterns(form)]
        return self._rule(" | ".join(parts))

    def _any(self) -> str:
        value = self._definition_name("")
        scalar = self._terminal(f'"null" | "true" | "false" | /{numbers.NUMBER}/ | {_STRING}')
        member = self._rule(f"{self._terminal(_KEY)} {self._colon} {value}")
        array = self._list(value, 0, None)
        return f'{scalar} | "[" {array} "]" | "{{" {self._list(member, 0, None)} "}}"'

    def _list(self, item: str, least: int, most: int | None) -> str:
        """`least` to `most` items with commas between."""
        if most == 0:
            return '""'
        if most == 1:
            return item if least else f"{item}?"
        again = f"({self._comma} {item})" + _times(max(0, least - 1), None if most is None else most - 1)
        return f"{item} {again}" if least else f"({item} {again})?"

    def _array(self, form: Form) -> str:
        prefix = form.get("prefixItems", [])
        least, most = form.get("minItems", 0), form.get("maxItems")
        prefix = prefix if most is None else prefix[:most]
        n_prefix = len(prefix)
        n_more = None if most is None else most - n_prefix
        if not prefix:
            return f'"[" {self._list(self._value(form["items"]), least, n_more) if n_more != 0 else ""} "]"'
        rest = ""
        if n_more != 0:
            rest = f"({self._comma} {self._value(form['items'])})" + _times(max(0, least - n_prefix), n_more)
        for index in reversed(range(n_prefix)):
            comma = f"{self._comma} " if index else ""
            rest = f"{comma}{self._value(prefix[index])} {rest}"
            if index >= least:
                rest = self._rule(f"({rest})?")
        return f'"[" {rest} "]"'

    def _object(self, form: Form) -> str:
        required = set(form["required"])
        items = []
        for name, part in form["properties"].items():
            key = self._terminal(f"{text(compact(name) + ':')} / ?/")
            items.append((f"{key} {self._value(part)}", name in required))
        if "additionalProperties" in form:
            key = self._key(form)
            member = self._rule(f"{key} {self._colon} {self._value(form['additionalProperties'])}")
            most = form.get("maxProperties")
            most = None if most is None else most - len(form["properties"])
            least = form.get("minProperties", 0)
            if most != 0:
                items.append((self._list(member, 1, most), least > 0))
        return f'"{{" {self._members(items)} "}}"'

    def _key(self, form: Form) -> str:
        if "propertyNames" in form:
            return self._string(form["propertyNames"])
        taken = [*form["properties"], *form.get("absent", [])]
        if not taken:
            return self._terminal(_KEY)
        names = self._terminal(" | ".join(text(compact(name)) for name in taken))
        return self._terminal(f"{self._terminal(_KEY)} & ~({names})")

    def _members(self, items: list[tuple[str, bool]]) -> str:
        """Members in their order, those that need not be there optional, with commas between."""
        n_free = next((index for index, (_, is_required) in enumerate(items) if is_required), len(items))
        free = [item for item, _ in items[:n_free]]
        if n_free == len(items):
            return self._leading(free, "", "")
        first, *others = items[n_free:]
        held = " ".join(
            f"{self._comma} {item}" if is_required else f"({self._comma} {item})?"
            for item, is_required in others
        )
        rest = f"{first[0]} {held}"
        if not free:
            return rest
        rest = self._rule(rest)
        return self._leading(free, f"{self._comma} {rest}", rest)

    def _leading(self, free: list[str], behind: str, alone: str) -> str:
        """Members that may all be absent, then `behind` if any was there, and `alone` if none was.

        In groups, since rules that refer to each other in one long chain would exhaust llguidance's stack.
        """
        choices = []
        for start in reversed(range(0, len(free), _GROUP)):
            group = free[start : start + _GROUP]
            tail = behind
            for item in reversed(group):
                choices.append(f"{item} {tail}")
                tail = self._rule(f"({self._comma} {item})? {tail}")
            whole = self._rule(" ".join(f"({self._comma} {item})?" for item in group))
            behind = self._rule(f"{whole} {behind}")
        if not choices:
            return alone
        return self._rule(" | ".join([*reversed(choices), alone or '""']))


def _times(least: int, most: int | None) -> str:
    if most is None:
        return "*" if least == 0 else f"{{{least},}}"
    return f"{{{least},{most}}}"
