"""Constraints of requests and arguments of functions as Lark rules, as llguidance reads them.

Each function writes rules that define one rule of a given name, which others may put into a larger grammar;
all further names begin with that name. Reads no files. Pure; any thread.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import llguidance

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import Constraint
from llmatic.engines.constraints import json_rules, subject
from llmatic.engines.constraints.budget import MAX_SOURCE_BYTES, parser_limits, repetition_error
from llmatic.engines.constraints.gbnf import GbnfError, to_lark
from llmatic.engines.constraints.leaves import reason
from llmatic.engines.constraints.room import Panicked, with_room
from llmatic.engines.constraints.schemas import prepare
from llmatic.engines.constraints.strict import check_strict, check_top

_ANY_OBJECT: Mapping[str, Any] = {
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": {},
}
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

# Attributes that need an engine which takes tokens back, or samples by the rule.
_ATTRIBUTE = re.compile(
    r"^\s*[!?]*[_a-z][\w-]*\s*\[[^\]]*\b(stop|stop_capture|max_tokens|temperature)\b", re.MULTILINE
)
_PLACE = re.compile(r"^(?:at )?(\d+)\((\d+)\): ")


def constraint_rules(constraint: Constraint, name: str) -> str:
    """The rules of which `name` matches what the constraint allows. Raises InvalidRequest."""
    most = MAX_SOURCE_BYTES[constraint.kind]
    if len(constraint.source.encode("utf-8", "surrogatepass")) > most:
        words = f"A constraint of this kind may have at most {most} bytes."
        raise InvalidRequest(words, param=constraint.param)
    match constraint.kind:
        case "json_object":
            return json_rules.write(_ANY_OBJECT, name)
        case "json_schema":
            return _schema(constraint, name)
        case "lark":
            return _nested(_checked_lark(constraint.source, constraint.param), name)
        case "gbnf":
            return _nested(_from_gbnf(constraint.source, constraint.param), name)
        case "regex":
            return _regex(constraint.source, constraint.param, name)


def function_schema(definition: Mapping[str, Any], *, param: str) -> Mapping[str, Any]:
    """The arguments' schema of a tool's `function`, in plain forms (`schemas`).

    Of a strict function it keeps OpenAI's rules and is enforced whole; of another, what cannot be enforced is
    dropped. Raises InvalidRequest, whose `param` is the one given.
    """
    about = subject.function(str(definition.get("name", "")), param)
    parameters = definition.get("parameters")
    is_strict = definition.get("strict") is True
    if parameters is None:
        parameters = _NO_ARGUMENTS
    if isinstance(parameters, Mapping) and "type" not in parameters and not is_strict:
        parameters = {"type": "object", **parameters}
    check_top(parameters, about)
    if is_strict:
        check_strict(parameters, about)
    schema = prepare(parameters, about, way="exact" if is_strict else "lenient").schema
    if "enum" in schema and not all(isinstance(value, Mapping) for value in schema["enum"]):
        raise about.refusal("arguments are an object, which no value of 'enum' or 'const' is.")
    return schema


def schema_rules(schema: Mapping[str, Any], name: str, *, path: tuple[str, ...] = ()) -> str:
    """The rules of which `name` matches the JSON of a value of a schema that `function_schema` made.

    `path`: of that part of it only, such as `("properties", "city")`.
    """
    part: Any = schema
    for step in path:
        part = part[step]
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return json_rules.write({**part, **definitions}, name)


def _schema(constraint: Constraint, name: str) -> str:
    about = subject.response_format(constraint.name, constraint.param)
    try:
        schema = json.loads(constraint.source)
    except (ValueError, RecursionError) as error:
        raise about.refusal(f"it is not JSON that can be read: {error}.") from error
    if constraint.is_strict:
        check_top(schema, about)
        check_strict(schema, about)
    return json_rules.write(prepare(schema, about).schema, name)


def _nested(lark: str, name: str) -> str:
    return f"{name}: %lark {{\n{lark}\n}}\n"


def _checked_lark(source: str, param: str) -> str:
    if not re.search(r"^\s*start\s*(\[[^\]]*\]\s*)?:", source, re.MULTILINE):
        raise InvalidRequest("Invalid grammar: it has no rule 'start'.", param=param)
    attribute = _ATTRIBUTE.search(source)
    if attribute is not None:
        words = f"Invalid grammar: the attribute '{attribute[1]}' is not supported."
        raise InvalidRequest(words, param=param)
    _check(source, param, "grammar")
    return source


def _check(source: str, param: str, what: str) -> None:
    """Try it alone first, so that places in messages are places in what was sent."""
    try:
        grammar = llguidance.LLMatcher.grammar_from_lark(source)
    except UnicodeEncodeError:
        raise InvalidRequest(f"Invalid {what}: it has an unpaired surrogate.", param=param) from None
    try:
        error = repetition_error(source) or with_room(
            lambda: llguidance.LLMatcher.validate_grammar(grammar, limits=parser_limits())
        )
    except Panicked as panic:
        error = str(panic)
    if error:
        raise InvalidRequest(f"Invalid {what}: {told(error)}.", param=param)


def told(error: str) -> str:
    """llguidance's error as one clause, with the place in words."""
    return _PLACE.sub(r"line \1, column \2: ", reason(error), count=1)


def _from_gbnf(source: str, param: str) -> str:
    try:
        lark = to_lark(source)
    except GbnfError as error:
        words = " ".join(str(error).split())
        raise InvalidRequest(f"Invalid grammar: {words}.", param=param) from error
    _check(lark, param, "grammar")
    return lark


def _regex(source: str, param: str, name: str) -> str:
    if not source:
        raise InvalidRequest("Invalid regular expression: it is empty.", param=param)
    pattern = source.removeprefix("^")
    if pattern.endswith("$") and not pattern.endswith("\\$"):
        pattern = pattern[:-1]
    try:
        body = llguidance.regex_to_lark(pattern, "")
    except UnicodeEncodeError:
        words = "Invalid regular expression: it has an unpaired surrogate."
        raise InvalidRequest(words, param=param) from None
    terminal = f"{name.upper()}_T"
    rules = f"{terminal}: /(?:{body})/\n"
    _check(f"%llguidance {{}}\nstart: {terminal}\n{rules}", param, "regular expression")
    return f"{name}: {terminal}\n{rules}"
