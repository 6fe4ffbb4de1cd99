"""Calls written as Python."""

import json

import pytest

from llmatic.engines.chat.syntax.python_calls import LFM2, OLMO3, PYTHONIC
from tests.engines.chat.reading import Answer
from tests.engines.chat.syntax.sections import call, function, is_refused, read_pieces, read_section
from tests.engines.chat.syntax.walking import Bytes, grammar_of

F = function(
    "f",
    {
        "s": {"type": "string"},
        "n": {"type": "integer"},
        "b": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "o": {
            "type": "object",
            "properties": {"k": {"type": "array", "items": {"type": "number"}}},
            "required": [],
        },
    },
    ["s"],
)
G = function("g", {})
END = "]<|tool_call_end|>"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"two"', "two"),
        ("'two'", "two"),
        ('""', ""),
        ('"it\'s \\"so\\" \\\\ \\u00e9 \\x41 \\101 \\U0001F600 \\n\\t\\/"', 'it\'s "so" \\ é A A 😀 \n\t/'),
        ('"\\ud83d\\ude00 \\ud83d! \\ude00"', "😀 �! �"),
        ("'it's raw\nand \"so\"'", 'it\'s raw\nand "so"'),
        ('"""a "quoted"\ntext"""', 'a "quoted"\ntext'),
        ("r'\\d+\\n'", "\\d+\\n"),
        ("f'{x}'", "{x}"),
        ("'\\d \\xZ'", "\\d \\xZ"),
        ("1", 1),
        ("-1.5e3", -1500.0),
        ("0x1F", 31),
        ("1_000", 1000),
        ("+2", 2),
        (".5", 0.5),
        ("True", True),
        ("false", False),
        ("None", None),
        ("null", None),
        ("nan", "nan"),
        ("", None),
        ("date(2026, 1, 2)", "date(2026, 1, 2)"),
        ("[1, 'a', (True, None), []]", [1, "a", [True, None], []]),
        ("{'a': 1, \"b\": {'c': [None,]}, 3: 'x',}", {"a": 1, "b": {"c": [None]}, "3": "x"}),
        ('{"k": ["x", null, true, 1.5]}', {"k": ["x", None, True, 1.5]}),
        ("{1, 2}", {"1": None, "2": None}),
        ("[1, 2", [1, 2]),
    ],
)
def test_literals_become_json(written: str, value: object) -> None:
    answer, rest = read_section(LFM2, (F,), f"[f(x={written})<|tool_call_end|>")
    assert rest == ""
    assert [json.loads(read.arguments) for read in answer.calls] == [{"x": value}]


def test_several_calls_in_a_list() -> None:
    written = "[f(s='a\n<b>\"c', n=1, b=True), g( ), f('two', 3, o = {'k': []})]<|tool_call_end|> and"
    answer, rest = read_section(LFM2, (F, G), written)
    assert rest == " and"
    assert [(read.name, json.loads(read.arguments)) for read in answer.calls] == [
        ("f", {"s": 'a\n<b>"c', "n": 1, "b": True}),
        ("g", {}),
        ("f", {"s": "two", "n": 3, "o": {"k": []}}),
    ]


def test_brackets_may_be_missing() -> None:
    assert read_section(LFM2, (F,), " g()\n<|tool_call_end|>") == (Answer(calls=(call("g", "{}"),)), "")
    assert read_section(LFM2, (F,), "[g()] ") == (Answer(calls=(call("g", "{}"),)), None)


@pytest.mark.parametrize("text", ["hello", "[hello", "[1, 2]<|tool_call_end|>", "[f", "[f[", "[]x"])
def test_what_is_no_call_stays_text(text: str) -> None:
    assert is_refused(read_section(LFM2, (F,), text), text)


def test_the_whole_answer_is_calls_or_none() -> None:
    assert read_section(PYTHONIC, (F,), "f(s='a'), g(), f()]\nDone") == (
        Answer(calls=(call("f", '{"s": "a"}'),)),
        ", g(), f()]\nDone",
    )
    assert read_section(PYTHONIC, (F, G), "g(), g()]\nDone") == (
        Answer(calls=(call("g", "{}"), call("g", "{}"))),
        "\nDone",
    )
    for text in ("1] says", "link](https://x)", "foo(bar)] is", "]"):
        read = read_section(PYTHONIC, (F,), text)
        assert read[0].calls == ()


def test_calls_on_lines_of_their_own() -> None:
    for space in ("", "\n"):
        text = f"{space}f(s='a', b=true)\ng(){space}</function_calls>"
        answer, rest = read_section(OLMO3, (F, G), text)
        assert (answer.calls, rest) == ((call("f", '{"s": "a", "b": true}'), call("g", "{}")), "")
    vocabulary = Bytes()
    lark = grammar_of(OLMO3, [F, G], vocabulary.mark, "<function_calls>")
    assert vocabulary.allows(lark, 'f(s="a", b=true)\ng()</function_calls>')
    assert not vocabulary.allows(lark, 'f(s="a", b=True)</function_calls>')


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("[f(s='tw", '{"s": "tw'),
        ("[f(s='two'", '{"s": "two"'),
        ("[f(s='two', o={'k': [1", '{"s": "two", "o": {"k": ['),
        ("[f(x=date(1", '{"x": "date(1"'),
    ],
)
def test_a_call_that_is_cut_off_has_no_end(text: str, arguments: str) -> None:
    assert read_section(LFM2, (F,), text) == (Answer(calls=(call("f", arguments, is_whole=False),)), None)


@pytest.mark.parametrize("vocabulary", [Bytes(), Bytes(["<|tool_call_start|>", "<|tool_call_end|>"])])
def test_the_grammar_holds_arguments_to_their_schemas(vocabulary: Bytes) -> None:
    lark = grammar_of(LFM2, [F, G], vocabulary.mark, "<|tool_call_start|>")
    for right in (
        '[f(s="a")',
        '[f(s="a\\n\\"", n=1, b=True, o={"k": [1, 2.5]})',
        '[f(s="", o={})',
        '[g(), f(s="", b=None)',
        "[f(s='it\\'s \"so\"', n=1)",
    ):
        assert vocabulary.allows(lark, right + END), right
    for wrong in (
        "[f()",
        '[f(s="a", n="1")',
        '[f(s="a", x=1)',
        '[f(n=1, s="a")',
        "[f(s=1)",
        '[f(s="a", b=true)',
        "[h()",
    ):
        assert not vocabulary.allows(lark, wrong + END), wrong
    single = grammar_of(LFM2, [F, G], vocabulary.mark, "<|tool_call_start|>", is_parallel=False)
    assert vocabulary.allows(single, "[g()" + END)
    assert not vocabulary.allows(single, "[g(), g()" + END)


def test_deep_literals_do_not_break_the_reader() -> None:
    answer, _ = read_pieces(LFM2, (F,), ["[f(x=" + "[" * 3000 + "]" * 3000 + ")" + END], LFM2.opens[0])
    assert answer.calls[0].name == "f"
