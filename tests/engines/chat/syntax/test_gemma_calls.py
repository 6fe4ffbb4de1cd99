"""Calls as Gemma writes them."""

import json

import pytest

from llmatic.engines.chat.syntax.gemma_calls import FUNCTION_GEMMA, GEMMA4, GemmaCalls
from tests.engines.chat.reading import Answer
from tests.engines.chat.syntax.sections import call, function, is_refused, read_section
from tests.engines.chat.syntax.walking import Bytes, grammar_of

Q = '<|"|>'
F = function(
    "f",
    {
        "s": {"type": "string"},
        "n": {"type": "integer", "minimum": 1},
        "B": {"type": "boolean"},
        "o": {
            "type": "object",
            "properties": {
                "k": {"type": "array", "items": {"type": "string"}},
                "unit": {"enum": ["c", "f", None]},
            },
            "required": ["k"],
        },
    },
    ["s"],
)
CONTROLS = Bytes([Q, "<|tool_call>", "<tool_call|>"])


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("{}", {}),
        (f"{{s:{Q}a\n<b>\"c'}}\n{Q}}}", {"s": "a\n<b>\"c'}\n"}),
        (f"{{b:true,n:1,o:{{k:[{Q}x{Q},None,true,1.5e10]}},s:{Q}{Q}}}",
         {"b": True, "n": 1, "o": {"k": ["x", None, True, 1.5e10]}, "s": ""}),
        (f"{{ s : {Q}x{Q} , n : -7 ,o:[] }}", {"s": "x", "n": -7, "o": []}),
        ('{s:Paris (75),"n":2,o:{"k":"v\\n\\u00e9"}}', {"s": "Paris (75)", "n": 2, "o": {"k": "v\né"}}),
        (f"{{{Q}s{Q}:{Q}x{Q},n:null}}", {"s": "x", "n": None}),
    ],
)  # fmt: skip
def test_reads_what_stands_there(written: str, arguments: object) -> None:
    answer, rest = read_section(GEMMA4, (F,), f"call:f{written}<tool_call|>and")
    assert rest == "and"
    assert [(read.name, json.loads(read.arguments)) for read in answer.calls] == [("f", arguments)]


@pytest.mark.parametrize("text", ["hello", "call:f", "call:f<tool_call|>", "call:{}", "{"])
def test_what_is_no_call_stays_text(text: str) -> None:
    assert is_refused(read_section(GEMMA4, (F,), text), text)


def test_a_call_without_its_end() -> None:
    whole, rest = read_section(GEMMA4, (F,), "call:f{n:1} then")
    assert (whole.calls, rest) == ((call("f", '{"n": 1}'),), " then")
    cut = read_section(GEMMA4, (F,), f"call:f{{s:{Q}a<|")
    assert cut == (Answer(calls=(call("f", '{"s": "a<|', is_whole=False),)), None)


@pytest.mark.parametrize("vocabulary", [Bytes(), CONTROLS])
def test_the_grammar_holds_arguments_to_their_schemas(vocabulary: Bytes) -> None:
    lark = grammar_of(GEMMA4, [F], vocabulary.mark, "<|tool_call>")
    for right in (
        f"{{s:{Q}x{Q}}}",
        f'{{B:true,n:2,o:{{k:[{Q}a{Q},{Q}{Q}],unit:{Q}c{Q}}},s:{Q}a\n"}}{Q}}}',
        f"{{o:{{k:[],unit:null}},s:{Q}x{Q}}}",
    ):
        assert vocabulary.allows(lark, f"call:f{right}<tool_call|>"), right
    for wrong in (
        "{}",
        f"{{s:{Q}x{Q},n:2}}",
        f"{{n:0,s:{Q}x{Q}}}",
        f"{{n:{Q}1{Q},s:{Q}x{Q}}}",
        f"{{o:{{}},s:{Q}x{Q}}}",
        f"{{o:{{k:[1]}},s:{Q}x{Q}}}",
        f"{{o:{{k:[],unit:{Q}k{Q}}},s:{Q}x{Q}}}",
        "{s:x}",
    ):
        assert not vocabulary.allows(lark, f"call:f{wrong}<tool_call|>"), wrong
    assert not vocabulary.allows(lark, f"call:g{{s:{Q}x{Q}}}<tool_call|>")


@pytest.mark.parametrize(("syntax", "quote"), [(GEMMA4, Q), (FUNCTION_GEMMA, "<escape>")])
def test_both_gemmas(syntax: GemmaCalls, quote: str) -> None:
    text = f"call:f{{s:{quote}x{quote}}}{syntax.close}"
    assert read_section(syntax, (F,), text) == (Answer(calls=(call("f", '{"s": "x"}'),)), "")
    vocabulary = Bytes()
    assert vocabulary.allows(grammar_of(syntax, [F], vocabulary.mark, syntax.opens[0]), text)
