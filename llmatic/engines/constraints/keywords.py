"""The keywords of JSON Schema, one type of value at a time: from what was sent to plain forms (`schemas`).

Pure; any thread.
"""

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Protocol
from urllib.parse import unquote

from llmatic.engines.constraints.budget import repetition_error
from llmatic.engines.constraints.formats import INTEGER_BOUNDS, REMARKS, is_implied, pattern_of
from llmatic.engines.constraints.forms import TYPES, check_text
from llmatic.engines.constraints.leaves import leaf_error
from llmatic.engines.constraints.merging import patterns_of
from llmatic.engines.constraints.numbers import decimal_error, integer_limits
from llmatic.engines.constraints.subject import Path, Subject

Form = dict[str, Any]

# More repetitions than these are never written, and cost time to count.
MAX_COUNT = 100_000
MAX_PREFIX = 256
MAX_REAL = 1e300
MAX_OPTIONAL = 1_500

_JOINED = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
_OBJECT = (
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
)
_ARRAY = ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems")
_STRING = ("minLength", "maxLength", "pattern", "format")
_NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_KNOWN = frozenset({*_JOINED, "type", "nullable", *_OBJECT, *_ARRAY, *_STRING, *_NUMBER})
_UNENFORCED = (
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
)
_OPEN: tuple[Any, ...] = (True, {})


class Cleaner(Protocol):
    """What is at work on the whole schema."""

    @property
    def subject(self) -> Subject:
        """Whose schema it is."""
        ...

    def part(self, node: Any, path: Path, depth: int) -> Form:
        """The plain form of a part."""
        ...

    def count_leaf(self, form: Form) -> None:
        """Refuse the schema if it has too many different patterns and limits of numbers."""
        ...

    def is_impossible(self, path: Path, words: str) -> bool:
        """No value fits: True for a choice, which others stand beside; else refused, or noted as dropped."""
        ...

    def problem(self, path: Path, words: str) -> None:
        """Refuse what cannot be enforced, or note that it is dropped."""
        ...


def without_remarks(node: Mapping[str, Any], leave_out: Callable[[Path, str], None], path: Path) -> Form:
    """The keywords that say which values there are; calls `leave_out` for those that cannot be enforced."""
    for keyword in _UNENFORCED:
        if keyword in node and not _says_nothing(keyword, node):
            leave_out(path, keyword)
    if node.get("not") in ({}, True):
        return {"enum": []}
    return {keyword: value for keyword, value in node.items() if keyword in _KNOWN}


def _says_nothing(keyword: str, node: Mapping[str, Any]) -> bool:
    if keyword in ("then", "else"):
        return "if" not in node
    if keyword == "if":
        return "then" not in node and "else" not in node
    if keyword in ("minContains", "maxContains"):
        return "contains" not in node
    if keyword == "unevaluatedItems":
        return node[keyword] in _OPEN
    if keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
        return bool(node[keyword] == {})
    return keyword == "not" and node[keyword] in (False, True, {})


def types_of(node: Mapping[str, Any]) -> list[str]:
    """The types that a schema allows; without `type`, the one that its keywords are about. Empty: all."""
    kinds = node.get("type")
    if kinds is None:
        about = (("object", _OBJECT), ("array", _ARRAY), ("string", _STRING), ("number", _NUMBER))
        return [kind for kind, keywords in about if any(keyword in node for keyword in keywords)][:1]
    names = [kinds] if isinstance(kinds, str) else [kind for kind in TYPES if kind in kinds]
    if node.get("nullable") is True and "null" not in names:
        names.append("null")
    return [kind for kind in names if not (kind == "integer" and "number" in names)]


def pointed_at(root: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901, percent-encoded) or an `$anchor` leads to; None if nothing."""
    if pointer and not pointer.startswith("/"):
        return _anchored(root, pointer)
    for step in pointer.split("/")[1:]:
        step = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(root, Mapping):
            root = root.get(step)
        elif isinstance(root, list) and step.isdecimal() and int(step) < len(root):
            root = root[int(step)]
        else:
            return None
    return root


def _anchored(root: Any, name: str) -> Any:
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, Mapping):
            if node.get("$anchor") == name:
                return node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return None


def string_form(node: Form, path: Path, cleaner: Cleaner) -> Form:
    """The plain form of the strings that a schema allows."""
    form: Form = {"type": "string"}
    counts: Form = {key: min(int(node[key]), MAX_COUNT) for key in ("minLength", "maxLength") if key in node}
    if node.get("minLength", 0) > MAX_COUNT:
        cleaner.problem(path, f"'minLength' is greater than {MAX_COUNT}.")
        del counts["minLength"]
    if counts.get("minLength", 0) > counts.get("maxLength", MAX_COUNT):
        if cleaner.is_impossible(path, "'minLength' is greater than 'maxLength'."):
            return {"enum": []}
        counts = {}
    form |= counts
    patterns = list(patterns_of(node["pattern"])) if "pattern" in node else []
    for pattern in patterns:
        check_text(pattern, path, cleaner.subject)
        error = repetition_error(pattern)
        if error is not None:
            cleaner.problem(path, f"'pattern' cannot be enforced: {error}.")
            return form
    name = node.get("format", "password")
    by_format = pattern_of(name)
    if by_format is None and name not in REMARKS and not patterns:
        # Beside a pattern, an unknown format is but the pattern's name.
        cleaner.problem(path, f"{name!r} is not a valid format.")
    return _patterned_string(form, name, by_format, patterns, path, cleaner)


def _patterned_string(
    form: Form, name: str, by_format: str | None, patterns: list[str], path: Path, cleaner: Cleaner
) -> Form:
    """The strings of a form that match the patterns and that of a format."""
    if by_format is not None:
        patterns = [by_format, *(pattern for pattern in patterns if not is_implied(name, pattern))]
    if not patterns:
        return form
    result = form | {"pattern": patterns}
    cleaner.count_leaf(result)
    error = leaf_error(result)
    if error is None:
        return result
    if by_format is not None and len(patterns) > 1 and leaf_error(form | {"pattern": patterns[1:]}) is None:
        # Formats are remarks by the standard: where one contradicts the pattern, the pattern is meant.
        return form | {"pattern": patterns[1:]}
    keyword = "format" if patterns == [by_format] else "pattern"
    if cleaner.is_impossible(path, f"'{keyword}' cannot be enforced: {error}."):
        return {"enum": []}
    return {"type": "string"}


def number_form(node: Form, kind: str, path: Path, cleaner: Cleaner) -> Form:
    """The plain form of the numbers that a schema allows."""
    form: Form = {"type": kind}
    for keyword in ("minimum", "maximum"):
        exclusive = "exclusive" + keyword.capitalize()
        bound = node.get(keyword)
        if node.get(exclusive) is True and bound is not None:
            # What draft 4 wrote.
            form[exclusive] = bound
            continue
        if bound is not None:
            form[keyword] = bound
        if exclusive in node and not isinstance(node[exclusive], bool):
            form[exclusive] = node[exclusive]
    if kind == "integer" and node.get("format") in INTEGER_BOUNDS:
        low, high = INTEGER_BOUNDS[node["format"]]
        form["minimum"] = max(low, form.get("minimum", low))
        form["maximum"] = min(high, form.get("maximum", high))
    # All finite numbers: what some write for "any".
    if form.get("minimum", 0) <= -MAX_REAL:
        del form["minimum"]
    if form.get("maximum", 0) >= MAX_REAL:
        del form["maximum"]
    if "multipleOf" in node:
        # The whole multiples of a fraction are those of its numerator.
        step = node["multipleOf"] if kind == "number" else Fraction(repr(node["multipleOf"])).numerator
        if kind == "number" or step != 1:
            form["multipleOf"] = step
    if kind == "number" or "multipleOf" in form:
        cleaner.count_leaf(form)
    error = _number_error(form)
    if error is not None:
        if cleaner.is_impossible(path, f"the limits of the number cannot be enforced: {error}."):
            return {"enum": []}
        return {"type": kind}
    return form


def _number_error(form: Form) -> str | None:
    if form["type"] == "integer" and "multipleOf" not in form:
        low, high = integer_limits(form)
        big = 10**19
        if (low or 0) >= big or (high or 0) <= -big:
            return "integers have at most 19 digits"
        return "there is no such integer" if low is not None and high is not None and low > high else None
    return decimal_error(form)


def array_form(node: Form, path: Path, cleaner: Cleaner, depth: int) -> Form:
    """The plain form of the arrays that a schema allows."""
    items, prefix = node.get("items", True), node.get("prefixItems", [])
    prefix_keyword = "prefixItems"
    if isinstance(items, list):
        # What drafts up to 2019-09 wrote.
        prefix, items, prefix_keyword = items, node.get("additionalItems", True), "items"
    if len(prefix) > MAX_PREFIX:
        raise cleaner.subject.refusal_at(path, f"'{prefix_keyword}' has more than {MAX_PREFIX} schemas.")
    form: Form = {"type": "array"}
    form["prefixItems"] = [
        cleaner.part(item, (*path, prefix_keyword, str(index)), depth + 1)
        for index, item in enumerate(prefix)
    ]
    form["items"] = cleaner.part(items, (*path, "items"), depth + 1)
    for keyword in ("minItems", "maxItems"):
        if keyword in node:
            form[keyword] = int(node[keyword])
    if form.get("minItems", 0) > MAX_COUNT:
        cleaner.problem(path, f"'minItems' is greater than {MAX_COUNT}.")
        del form["minItems"]
    if form.get("maxItems", 0) > MAX_COUNT:
        form["maxItems"] = MAX_COUNT
    if form.get("minItems", 0) > form.get("maxItems", MAX_COUNT):
        if cleaner.is_impossible(path, "'minItems' is greater than 'maxItems'."):
            return {"enum": []}
        del form["minItems"]
    if node.get("uniqueItems") is True and form.get("maxItems", 2) > 1:
        cleaner.problem(path, "'uniqueItems' cannot be enforced.")
    return form


def object_form(node: Form, path: Path, cleaner: Cleaner, depth: int) -> Form:
    """The plain form of the objects that a schema allows."""
    node = _with_names_listed(node)
    properties, patterns = node.get("properties", {}), node.get("patternProperties", {})
    form: Form = {
        "type": "object",
        "properties": {},
        "required": list(dict.fromkeys(node.get("required", []))),
    }
    for name, part in properties.items():
        check_text(name, path, cleaner.subject)
        form["properties"][name] = cleaner.part(part, (*path, "properties", name), depth + 1)
    additional = node.get("additionalProperties", not properties and not patterns)
    if node.get("unevaluatedProperties") is False and "additionalProperties" not in node:
        additional = False
    elif node.get("unevaluatedProperties", True) not in (*_OPEN, False):
        cleaner.problem(path, "'unevaluatedProperties' cannot be enforced.")
    rest = additional
    for name in form["required"]:
        check_text(name, path, cleaner.subject)
        if name not in form["properties"]:
            # A name that nothing describes is described like any further one.
            implied = node.get("additionalProperties", True)
            form["properties"][name] = cleaner.part(implied, (*path, "additionalProperties"), depth + 1)
    if len(form["properties"]) - len(form["required"]) > MAX_OPTIONAL:
        words = f"more than {MAX_OPTIONAL} properties are not required."
        raise cleaner.subject.refusal_at(path, words)
    names = node.get("propertyNames", True)
    if patterns:
        rest, names = _patterned(node, patterns, form, path, cleaner)
    if rest is not False:
        form["additionalProperties"] = cleaner.part(rest, (*path, "additionalProperties"), depth + 1)
    if names not in _OPEN:
        _name(form, cleaner.part(names, (*path, "propertyNames"), depth + 1), path, cleaner)
    _count(form, node, path, cleaner)
    return form


def _with_names_listed(node: Form) -> Form:
    """Names from a fixed list are properties that may be absent."""
    names = node.get("propertyNames")
    if not isinstance(names, Mapping) or not isinstance(names.get("enum"), list):
        return node
    if names.keys() - {"enum", "type", "title", "description"} or names.get("type", "string") != "string":
        return node
    if "properties" in node or "patternProperties" in node:
        return node
    part = node.get("additionalProperties", True)
    properties = {name: part for name in names["enum"] if isinstance(name, str)}
    result = {key: value for key, value in node.items() if key != "propertyNames"}
    return result | {"properties": properties, "additionalProperties": False}


def _patterned(node: Form, patterns: Form, form: Form, path: Path, cleaner: Cleaner) -> tuple[Any, Any]:
    """The schema of further values and that of their names, where `patternProperties` tells them."""
    is_alone = len(patterns) == 1 and not form["properties"] and "propertyNames" not in node
    if not is_alone or node.get("additionalProperties", False) is not False:
        cleaner.problem(path, "'patternProperties' cannot be enforced beside other properties or patterns.")
        return True, True
    pattern, part = next(iter(patterns.items()))
    return part, {"type": "string", "pattern": pattern}


def _name(form: Form, names: Form, path: Path, cleaner: Cleaner) -> None:
    if names == {"type": "string"} or names == {}:
        return
    if "enum" in names and not form["properties"]:
        part = form.pop("additionalProperties", {"enum": []})
        form["properties"] = {name: part for name in names["enum"] if isinstance(name, str)}
        return
    if form["properties"] or names.get("type") != "string":
        cleaner.problem(path, "'propertyNames' cannot be enforced beside 'properties'.")
        return
    form["propertyNames"] = names


def _count(form: Form, node: Form, path: Path, cleaner: Cleaner) -> None:
    """Keep limits of how many properties there are where they say something that can be enforced."""
    least, most = int(node.get("minProperties", 0)), node.get("maxProperties")
    n_required, n_named = len(form["required"]), len(form["properties"])
    is_open = "additionalProperties" in form
    if least > n_required:
        # Further names may repeat, so more than one cannot be counted.
        if least == 1 and is_open and not n_named:
            form["minProperties"] = 1
        else:
            cleaner.problem(path, "'minProperties' cannot be enforced.")
    if most is None or (not is_open and most >= n_named):
        return
    if most < n_required:
        cleaner.problem(path, "'maxProperties' is smaller than the number of required properties.")
    elif n_named == n_required:
        form["maxProperties"] = min(int(most), MAX_COUNT)
    else:
        cleaner.problem(path, "'maxProperties' cannot be enforced beside properties that are not required.")


def compact(value: Any) -> str:
    """JSON text as answers are written: no spaces, characters as themselves."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
