"""Whatever a grammar allows is read as calls whose arguments fit the functions' schemas."""

import json
import random
from typing import Any

import jsonschema_rs
import pytest

from llmatic.engines.chat.syntax import CallSyntax, Function, gemma_calls, nested_xml, python_calls, xml_calls
from llmatic.engines.chat.syntax.harmony import HarmonyParser, harmony_grammar
from llmatic.engines.constraints.grammars import function_schema
from tests.engines.chat.reading import folded
from tests.engines.chat.syntax.sections import read_pieces
from tests.engines.chat.syntax.walking import Bytes, grammar_of, walk

NODE = {
    "type": "object",
    "properties": {"v": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["v", "next"],
    "additionalProperties": False,
}
POINT = {
    "type": "object",
    "properties": {"x": {"type": "number"}, "y": {"type": "array", "items": {"type": "boolean"}}},
    "required": ["x"],
    "additionalProperties": False,
}
# Properties and, of them, the required ones.
SCHEMAS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {
            "city": {"type": "string"},
            "n": {"type": "integer", "minimum": 1, "maximum": 30},
            "unit": {"enum": ["c", "f", "<k>"]},
        },
        ["city"],
    ),
    ({"a": {"type": "boolean"}, "b": {"type": "number"}, "c": {"type": "null"}}, ["b"]),
    ({}, []),
    (
        {
            "s": {"type": "string", "minLength": 3, "maxLength": 9},
            "t": {"type": "string", "minLength": 1},
            "u": {"type": "string", "maxLength": 5},
            "v": {"type": "string", "minLength": 5, "maxLength": 7},
        },
        ["s", "t", "u", "v"],
    ),
    (
        {
            "p": {"type": "string", "pattern": "^[a-z]{2,4}-\\d+$"},
            "q": {"type": "string", "pattern": "x|^y"},
            "d": {"type": "string", "format": "date"},
            "m": {"type": "string", "format": "uuid"},
        },
        ["p", "q", "d"],
    ),
    (
        {
            "o": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "e": {"type": ["integer", "string"]},
            "f": {"anyOf": [{"enum": ["x", "y"]}, {"type": "integer", "minimum": 5}]},
            "any": {},
        },
        ["o", "f"],
    ),
    (
        {
            "list": {
                "type": "array",
                "items": {"type": "string", "minLength": 2},
                "minItems": 1,
                "maxItems": 3,
            },
            "point": POINT,
            "free": {"type": "object"},
        },
        ["list", "point"],
    ),
    ({"head": {"$ref": "#/$defs/node"}}, ["head"]),
    (
        {
            "c": {"const": "fixed"},
            "k": {"enum": [1, "one", None, True, [1, {"a": "b"}]]},
            "t": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 3},
        },
        ["c", "k"],
    ),
]
SYNTAXES: dict[str, CallSyntax] = {
    name: value
    for module, kind in (
        (xml_calls, xml_calls.XmlCalls),
        (python_calls, python_calls.PythonCalls),
        (gemma_calls, gemma_calls.GemmaCalls),
        (nested_xml, nested_xml.NestedXml),
    )
    for name, value in vars(module).items()
    if isinstance(value, kind)
}
CONTROLS = {
    "KIMI_K3": ["<|open|>", "<|close|>", "<|sep|>"],
    "LFM2": ["<|tool_call_start|>", "<|tool_call_end|>"],
    "GEMMA4": ["<|tool_call>", "<tool_call|>", '<|"|>'],
    "MINIMAX_M3": ["]<]minimax[>["],
    "DSML_V4": ["｜DSML｜"],
}
CASES: list[tuple[str, list[str]]] = [(name, []) for name in SYNTAXES if name != "MINIMAX_M3"] + list(
    CONTROLS.items()
)


# What functions without named parameters take.
OTHERS: dict[int, Any] = {len(SCHEMAS): {}, len(SCHEMAS) + 1: {"type": "string", "maxLength": 9}}
SCHEMAS += [({}, []), ({}, [])]


def schema_of(n: int) -> dict[str, Any]:
    """Schema n, as a client would send it."""
    properties, required = SCHEMAS[n]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": OTHERS.get(n, False),
        "$defs": {"node": NODE},
    }


def function_of(n: int) -> tuple[Function, Any]:
    """Function n, and what checks its arguments."""
    schema = schema_of(n)
    own = function_schema({"name": f"f{n}", "parameters": schema}, param="tools")
    return Function(f"f{n}", own), jsonschema_rs.validator_for(schema, validate_formats=True)


def closers_of(syntax: CallSyntax, n: int) -> list[str]:
    """Texts that end strings and lists in this syntax."""
    fields = ("ended", "called", "close", "quote", "end")
    closers = [getattr(syntax, field, "") for field in fields] + ['"', "]", "}", ")", "\n", "null", "12"]
    if isinstance(syntax, nested_xml.NestedXml):
        closers += [syntax.close_tag(key) for key in (*SCHEMAS[n][0], "item", "v", "next", "x", "y")]
    return [text for text in closers if text]


@pytest.mark.parametrize("n", range(len(SCHEMAS)))
@pytest.mark.parametrize(("name", "controls"), CASES, ids=[f"{name}{len(c) or ''}" for name, c in CASES])
def test_random_answers_are_read_as_calls_that_fit(name: str, controls: list[str], n: int) -> None:
    syntax, vocabulary = SYNTAXES[name], Bytes(controls)
    function, validator = function_of(n)
    n_read = 0
    for opener in syntax.opens:
        lark = grammar_of(syntax, [function], vocabulary.mark, opener)
        for seed in range(6):
            chance = random.Random(f"{name} {n} {seed}")
            text = walk(vocabulary, lark, chance, closers_of(syntax, n))
            if text is None:
                continue
            answer, rest = read_pieces(syntax, [function], [text], opener)
            assert rest in ("", None), text
            assert answer.calls, text
            for call in answer.calls:
                assert (call.name, call.is_whole) == (f"f{n}", True), text
                validator.validate(json.loads(call.arguments))
            assert read_pieces(syntax, [function], list(text), opener) == (answer, rest)
            n_read += 1
    assert n_read >= 3


@pytest.mark.parametrize("n", range(len(SCHEMAS)))
def test_random_answers_in_harmony(n: int) -> None:
    vocabulary = Bytes(["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>"])
    function, validator = function_of(n)
    lark = harmony_grammar([function], vocabulary.mark, mode="required")
    for seed in range(6):
        closers = ["<|end|>", '"', "}", "]", "<|channel|>commentary to=functions"]
        text = walk(vocabulary, lark, random.Random(f"{n} {seed}"), closers)
        if text is None:
            continue
        parser = HarmonyParser([function])
        answer = folded(parser.feed(text) + parser.finish())
        assert [call.is_whole for call in answer.calls] == [True], text
        validator.validate(json.loads(answer.calls[0].arguments))
