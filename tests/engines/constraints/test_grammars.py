import json

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import Constraint
from llmatic.engines.constraints.grammars import constraint_rules, function_schema, schema_rules
from tests.engines.constraints.walking import Walker, read

REGEX = {
    "plain": (r"[0-9]{3}-[a-z]+", ["123-a"], ["12-a", "123-", "x123-a"]),
    "anchored": (r"^ab$", ["ab"], ["abc", "xab"]),
    "alternatives": (r"a|bc", ["a", "bc"], ["ac", "abc"]),
    "dollar that is meant": (r"5\$", ["5$"], ["5"]),
    "slash and quote": ('a/"b', ['a/"b'], ["a"]),
    "newline": ("a\nb", ["a\nb"], ["ab"]),
    "classes": (r"\w\s\d", ["é 1"], ["a1"]),
    "flags": (r"(?i)yes|(?s:n.o)", ["YES", "n\no"], ["no"]),
}


@pytest.mark.parametrize("name", REGEX)
def test_regular_expressions_match_the_whole_answer(walker: Walker, name: str) -> None:
    source, good, bad = REGEX[name]
    compiled = walker.compile("regex", source)
    assert all(walker.accepts(compiled, text) for text in good)
    assert not any(walker.accepts(compiled, text) for text in bad)


def test_any_json_object(walker: Walker) -> None:
    compiled = walker.compile("json_object", "")
    assert walker.accepts(compiled, '{"a": [1, {"b": null}]}')
    assert not any(walker.accepts(compiled, text) for text in ("[]", "3", '"a"', "{} ", "{,}"))
    for seed in range(20):
        answer = walker.walk(compiled, seed)
        assert answer is not None
        assert isinstance(read(answer), dict)


LARK = 'start: greeting "!"\ngreeting: "hi " NAME | "hi {" INT "}"\nNAME: /[a-z]+/\n%import common.INT'


def test_lark(walker: Walker) -> None:
    compiled = walker.compile("lark", LARK)
    assert walker.accepts(compiled, "hi bob!")
    assert walker.accepts(compiled, "hi {12}!")
    assert not walker.accepts(compiled, "hi bob")


def test_gbnf(walker: Walker) -> None:
    compiled = walker.compile(
        "gbnf", 'root ::= "a" [b-z]* "end" | pair\npair ::= "(" (pair | "x") ")" # nested'
    )
    for text in ("aend", "abcend", "(x)", "((x))"):
        assert walker.accepts(compiled, text), text
    for text in ("a", "aen", "(x", "()"):
        assert not walker.accepts(compiled, text), text


def test_what_follows_may_continue_what_came_before(walker: Walker) -> None:
    source = r"""root ::= (sum "=" ws num "\n")+
sum ::= num ("+" num)* | "(" ws sum ")" ws
num ::= [0-9\x41\u00e9&~]+ ws
ws ::= [ \t\n]*"""
    compiled = walker.compile("gbnf", source)
    for text in ("1+2=3\n", "( 1)= 2\n\n3=3\n", "Aé&&~~=1\n"):
        assert walker.accepts(compiled, text), text
    assert not walker.accepts(compiled, "1 + 2=3\n")


def test_regular_gbnf_is_followed_character_by_character(walker: Walker) -> None:
    compiled = walker.compile("gbnf", 'root ::= word "end"\nword ::= [a-z]*')
    assert walker.accepts(compiled, "enfooend")


def test_names_do_not_meet_those_of_the_grammar_around(walker: Walker) -> None:
    parts = [
        constraint_rules(Constraint("lark", LARK), "one"),
        constraint_rules(Constraint("gbnf", 'root ::= "x" one\none ::= "y"'), "two"),
        constraint_rules(Constraint("json_object"), "three"),
        constraint_rules(Constraint("regex", "[0-9]"), "four"),
    ]
    compiled = walker.compile_rules("v: one two three four\n" + "".join(parts))
    assert walker.accepts(compiled, "hi bob!xy{}7")
    for line in "".join(part for part in parts if "%lark" not in part).splitlines():
        assert line.lower().startswith(("three", "four"))


@pytest.mark.parametrize(
    ("kind", "source", "words"),
    [
        ("lark", 'begin: "a"', "Invalid grammar: it has no rule 'start'."),
        ("lark", "", "Invalid grammar: it has no rule 'start'."),
        ("lark", 'start: "a"\nfoo: (', "Invalid grammar: line 2, column 7: "),
        ("lark", "start: missing", "missing"),
        ("lark", 'start: a\na[stop="x"]: /y+/', "Invalid grammar: the attribute 'stop' is not supported."),
        ("lark", "start: a\na[max_tokens=3]: /y+/", "the attribute 'max_tokens' is not supported."),
        ("lark", "start: A\n%import .secret.A", "Unknown common regex: .secret.A"),
        ("lark", 'start: "a"\n}\nmore: %lark {\nstart: "b"', "Invalid grammar"),
        ("lark", "start: @other", "unknown grammar @other"),
        ("lark", 'start: "\ud800"', "it has an unpaired surrogate."),
        ("gbnf", 'root ::= "a" (', "Invalid grammar: Expected ')' at line 1"),
        ("gbnf", 'word ::= "a"', "Invalid grammar: it has no rule 'root'."),
        (
            "gbnf",
            "root ::= missing",
            "Invalid grammar: rule 'root' refers to 'missing', which is not defined.",
        ),
        ("gbnf", "root ::= " + "(" * 5000, "Invalid grammar: it is nested too deeply."),
        ("regex", "", "Invalid regular expression: it is empty."),
        ("regex", "(", "Invalid regular expression: unclosed group."),
        ("regex", "(?=a)", "Invalid regular expression: look-around"),
        ("regex", r"(a)\1", "Invalid regular expression: backreferences are not supported."),
        ("regex", r"\bword", "Invalid regular expression: "),
        ("regex", "a{1,99999999}", "it repeats something more than 100000 times."),
        ("json_schema", "{", "it is not JSON that can be read"),
        (
            "json_schema",
            '{"type":"object","properties":{"a":{"not":{"type":"null"}}}}',
            "'not' cannot be enforced.",
        ),
    ],
)
def test_refusals_say_why(kind: str, source: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        constraint_rules(Constraint(kind, source, param="grammar"), "v")  # type: ignore[arg-type]
    assert words in caught.value.message
    assert caught.value.param == "grammar"
    assert "\n" not in caught.value.message


def test_rules_of_a_part_of_a_function(walker: Walker) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"$ref": "#/$defs/unit"}},
        "$defs": {"unit": {"enum": ["C", "F"]}},
    }
    schema = function_schema({"name": "f", "parameters": parameters}, param="tools[0].function.parameters")
    unit = walker.compile_rules(schema_rules(schema, "v", path=("properties", "unit")))
    assert walker.accepts(unit, '"C"')
    assert not walker.accepts(unit, '"K"')
    whole = walker.compile_rules(schema_rules(schema, "v"))
    assert walker.accepts(whole, '{"city": "Rome", "unit": "F"}')


def test_functions_without_parameters_take_none(walker: Walker) -> None:
    schema = function_schema({"name": "f"}, param="tools[0].function.parameters")
    compiled = walker.compile_rules(schema_rules(schema, "v"))
    assert walker.accepts(compiled, "{}")
    assert not walker.accepts(compiled, '{"a":1}')


@pytest.mark.templates
def test_llama_cpps_own_grammars_are_accepted(walker: Walker, llama_cpp_grammars: dict[str, str]) -> None:
    assert len(llama_cpp_grammars) >= 5
    for name, source in llama_cpp_grammars.items():
        compiled = walker.compile("gbnf", source)
        assert compiled.start().mask().any(), name
    chess = walker.compile("gbnf", llama_cpp_grammars["chess.gbnf"])
    assert walker.accepts(chess, "1. e4 e5\n2. d4 d5\n")
    arithmetic = walker.compile("gbnf", llama_cpp_grammars["arithmetic.gbnf"])
    assert walker.accepts(arithmetic, "1+2=3\n")


def test_json_survives_the_way_into_lark(walker: Walker) -> None:
    schema = {
        "type": "object",
        "properties": {"}": {"const": '{"%json'}, "/": {"pattern": '^["/{}]$'}},
        "required": ["}", "/"],
    }
    compiled = walker.compile("json_schema", json.dumps(schema))
    assert walker.accepts(compiled, '{"}":"{\\"%json","/":"}"}')
