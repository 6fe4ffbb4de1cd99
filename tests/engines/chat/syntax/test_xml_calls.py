"""Calls in tags: what templates write, what models make of it, what the grammars allow."""

import json

import pytest

from llmatic.engines.chat.syntax import xml_calls
from llmatic.engines.chat.syntax.xml_calls import XmlCalls
from tests.engines.chat.reading import Answer
from tests.engines.chat.syntax.sections import call, function, is_refused, read_section
from tests.engines.chat.syntax.walking import Bytes, grammar_of

TYPES = {
    "s": {"type": "string"},
    "n": {"type": "integer"},
    "o": {"type": "object", "properties": {}, "required": [], "additionalProperties": {}},
    "b": {"type": "boolean"},
    "e": {"anyOf": [{"type": "string"}, {"type": "null"}]},
}
F = function("f", TYPES, ["s"])
FIRST = {"s": "a\n<b>\"c'\n", "n": 1, "o": {"k": ["x", None, True, 1.5]}, "b": True}
PLAIN_B = Bytes()

# What the families' templates write of FIRST and of {"s": "two"}, behind the opener.
WRITTEN = {
    "QWEN_XML": "\n<function=f>\n<parameter=s>\na\n<b>\"c'\n\n</parameter>\n<parameter=n>\n1\n</parameter>\n"
    '<parameter=o>\n{"k": ["x", null, true, 1.5]}\n</parameter>\n<parameter=b>\nTrue\n</parameter>\n</function>\n'
    "</tool_call>",
    "SEED_XML": "\n<function=f>\n<parameter=s>a\n<b>\"c'\n</parameter>\n<parameter=n>1</parameter>\n"
    "<parameter=o>{'k': ['x', None, True, 1.5]}</parameter>\n<parameter=b>True</parameter>\n</function>\n"
    "</seed:tool_call>",
    "GLM_46": "f\n<arg_key>s</arg_key>\n<arg_value>a\n<b>\"c'\n</arg_value>\n<arg_key>n</arg_key>\n"
    '<arg_value>1</arg_value>\n<arg_key>o</arg_key>\n<arg_value>{"k": ["x", null, true, 1.5]}</arg_value>\n'
    "<arg_key>b</arg_key>\n<arg_value>true</arg_value>\n</tool_call>",
    "GLM_47": "f<arg_key>s</arg_key><arg_value>a\n<b>\"c'\n</arg_value><arg_key>n</arg_key>"
    '<arg_value>1</arg_value><arg_key>o</arg_key><arg_value>{"k": ["x", null, true, 1.5]}</arg_value>'
    "<arg_key>b</arg_key><arg_value>true</arg_value></tool_call>",
    "LING": "f\n<arg_key>s</arg_key>\n<arg_value>a\n<b>\"c'\n</arg_value><arg_key>n</arg_key>\n"
    '<arg_value>1</arg_value><arg_key>o</arg_key>\n<arg_value>{"k": ["x", null, true, 1.5]}</arg_value>'
    "<arg_key>b</arg_key>\n<arg_value>true</arg_value>\n</tool_call>",
    "HY3": "\n<tool_call:opensource>f<tool_sep:opensource>\n<arg_key:opensource>s</arg_key:opensource>\n"
    "<arg_value:opensource>a\n<b>\"c'\n</arg_value:opensource>\n<arg_key:opensource>n</arg_key:opensource>\n"
    "<arg_value:opensource>1</arg_value:opensource>\n<arg_key:opensource>o</arg_key:opensource>\n"
    '<arg_value:opensource>{"k": ["x", null, true, 1.5]}</arg_value:opensource>\n'
    "<arg_key:opensource>b</arg_key:opensource>\n<arg_value:opensource>true</arg_value:opensource>\n"
    "</tool_call:opensource>\n<tool_call:opensource>f<tool_sep:opensource>\n"
    "<arg_key:opensource>s</arg_key:opensource>\n<arg_value:opensource>two</arg_value:opensource>\n"
    "</tool_call:opensource>\n</tool_calls:opensource>",
    "MINIMAX_M2": '\n<invoke name="f">\n<parameter name="s">a\n<b>"c\'\n</parameter>\n'
    '<parameter name="n">1</parameter>\n<parameter name="o">{"k": ["x", null, true, 1.5]}</parameter>\n'
    '<parameter name="b">true</parameter>\n</invoke>\n<invoke name="f">\n<parameter name="s">two</parameter>\n'
    "</invoke>\n</minimax:tool_call>",
    "ATEM": '\n<atem:invoke name="f">\n<atem:parameter name="s">a\n<b>"c\'\n</atem:parameter>\n'
    '<atem:parameter name="n">1</atem:parameter>\n'
    '<atem:parameter name="o">{"k": ["x", null, true, 1.5]}</atem:parameter>\n'
    '<atem:parameter name="b">true</atem:parameter>\n</atem:invoke>\n</atem:function_calls>',
    "DSML_V32": '\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="s" string="true">a\n<b>"c\'\n'
    '</｜DSML｜parameter>\n<｜DSML｜parameter name="n" string="false">1</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="o" string="false">{"k": ["x", null, true, 1.5]}</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="b" string="false">true</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
    '<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="s" string="true">two</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "KIMI_K3": '<|open|>call tool="f" index="1"<|sep|><|open|>argument key="s" type="string"<|sep|>a\n<b>"c\'\n'
    '<|close|>argument<|sep|><|open|>argument key="n" type="number"<|sep|>1<|close|>argument<|sep|>'
    '<|open|>argument key="o" type="object"<|sep|>{"k": ["x", null, true, 1.5]}<|close|>argument<|sep|>'
    '<|open|>argument key="b" type="boolean"<|sep|>true<|close|>argument<|sep|><|close|>call<|sep|>'
    '<|open|>call tool="f" index="2"<|sep|><|open|>argument key="s" type="string"<|sep|>two'
    "<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
    "MINICPM5": 'f"><param name="s"><![CDATA[a\n<b>"c\'\n]]></param><param name="n">1</param>'
    "<param name=\"o\">{'k': ['x', None, True, 1.5]}</param><param name=\"b\">True</param></function>",
}
TABLES: dict[str, XmlCalls] = {name: getattr(xml_calls, name) for name in WRITTEN}


@pytest.mark.parametrize("name", WRITTEN)
def test_reads_what_the_template_writes(name: str) -> None:
    answer, rest = read_section(TABLES[name], (F,), WRITTEN[name] + " and")
    assert rest == " and"
    assert [json.loads(read.arguments) for read in answer.calls] == [FIRST, {"s": "two"}][: len(answer.calls)]
    assert len(answer.calls) == (1 if TABLES[name].is_repeated or name == "ATEM" else 2)
    assert all(read.is_whole for read in answer.calls)


@pytest.mark.parametrize("name", set(WRITTEN) - {"SEED_XML", "MINICPM5"})
def test_the_grammar_allows_what_the_template_writes(name: str) -> None:
    table = TABLES[name]
    assert PLAIN_B.allows(grammar_of(table, [F], PLAIN_B.mark, table.opens[0]), WRITTEN[name])


@pytest.mark.parametrize("name", WRITTEN)
def test_the_grammar_wants_required_arguments_known_names_and_types(name: str) -> None:
    table = TABLES[name]
    lark = grammar_of(table, [F], PLAIN_B.mark, table.opens[0])
    text = WRITTEN[name].replace("{'k': ['x', None, True, 1.5]}", '{"k": ["x", null, true, 1.5]}')
    assert PLAIN_B.allows(lark, text)
    for wrong, right in (("f", "g"), ("1", "one"), ("{", "[{"), ("s", "t")):
        assert wrong in text
        at = text.index(wrong + ('">' if wrong == "f" and name == "MINICPM5" else ""))
        assert not PLAIN_B.allows(lark, text[:at] + right + text[at + len(wrong) :])


@pytest.mark.parametrize("name", ["HY3", "MINIMAX_M2", "DSML_V32", "KIMI_K3"])
def test_one_call_where_only_one_is_wanted(name: str) -> None:
    table = TABLES[name]
    assert PLAIN_B.allows(grammar_of(table, [F], PLAIN_B.mark, table.opens[0]), WRITTEN[name])
    one = grammar_of(table, [F], PLAIN_B.mark, table.opens[0], is_parallel=False)
    assert not PLAIN_B.allows(one, WRITTEN[name])


def test_control_tokens_are_control_tokens_in_the_grammar() -> None:
    controls = Bytes(["<|open|>", "<|close|>", "<|sep|>"])
    lark = grammar_of(xml_calls.KIMI_K3, [F], controls.mark, "<|open|>tools<|sep|>")
    text = WRITTEN["KIMI_K3"]
    assert controls.allows(lark, text)
    matcher = controls.matcher(lark)
    assert matcher.try_consume_tokens(list(text.encode())) == 0


def test_qwen_may_forget_the_opener() -> None:
    text = WRITTEN["QWEN_XML"].removeprefix("\n<function=")
    answer, rest = read_section(xml_calls.QWEN_XML, (F,), text + "\n", "<function=")
    assert json.loads(answer.calls[0].arguments) == FIRST
    assert rest == "\n"
    without_close = text.removesuffix("\n</tool_call>") + "\nDone."
    assert read_section(xml_calls.QWEN_XML, (F,), without_close, "<function=")[1] == "\nDone."
    lark = grammar_of(xml_calls.QWEN_XML, [F], PLAIN_B.mark, "<function=")
    assert PLAIN_B.allows(lark, text)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (xml_calls.QWEN_XML, "<function=f><parameter=s>two</parameter></function></tool_call>"),
        (xml_calls.QWEN_XML, "\n\n <function=f>\n\n<parameter=s>\ntwo\n</parameter>\n</tool_call>"),
        (xml_calls.QWEN_XML, "<function=f>\n<parameter=s>\ntwo</parameter>\n\n</function>\n\n</tool_call>"),
        (xml_calls.GLM_46, "f<arg_key>s</arg_key><arg_value>two</arg_value></tool_call>"),
        (xml_calls.GLM_47, "\nf\n<arg_key>s</arg_key> <arg_value>two</arg_value>\n</tool_call>"),
        (xml_calls.MINIMAX_M2, '<invoke name="f"><parameter name="s">two</parameter></minimax:tool_call>'),
        (
            xml_calls.DSML_V32,
            '<｜DSML｜invoke name="f"><｜DSML｜parameter name="s">two</｜DSML｜parameter>'
            "</｜DSML｜invoke></｜DSML｜function_calls>",
        ),
        (xml_calls.MINICPM5, 'f">\n<param name="s">two</param>\n</function>'),
    ],
)
def test_tolerates_other_whitespace_and_missing_tags(table: XmlCalls, text: str) -> None:
    read = read_section(table, (F,), text)
    assert read == (Answer(calls=(call("f", '{"s": "two"}'),)), "")


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (xml_calls.QWEN_XML, "hello</tool_call> you"),
        (xml_calls.QWEN_XML, '\n{"name": "f"}\n</tool_call>'),
        (xml_calls.QWEN_XML, "\n<function=f"),
        (xml_calls.QWEN_XML, "\n<function=f\n>x"),
        (xml_calls.QWEN_XML, "<function=f>then what?"),
        (xml_calls.GLM_46, "is a tag that I know."),
        (xml_calls.GLM_46, "f"),
        (xml_calls.MINIMAX_M2, '\n<invoke name="f'),
        (xml_calls.MINIMAX_M2, "\n<invoke>f</invoke>"),
        (xml_calls.MINICPM5, 'f"/>'),
        (xml_calls.KIMI_K3, "<|open|>call<|sep|>"),
    ],
)
def test_what_is_no_call_stays_text(table: XmlCalls, text: str) -> None:
    assert is_refused(read_section(table, (F,), text), text)


def test_a_call_that_goes_wrong_is_read_as_far_as_it_is_right() -> None:
    text = "<function=f>\n<parameter=s>\ntwo\n</parameter>\nI mean <parameter=n>1</parameter>"
    answer, rest = read_section(xml_calls.QWEN_XML, (F,), text)
    assert answer.calls == (call("f", '{"s": "two"}'),)
    assert rest is not None
    assert rest.lstrip() == "I mean <parameter=n>1</parameter>"
    key = "f<arg_key>s</arg_key><arg_value>two</arg_value><arg_key>n\n</tool_call>"
    assert read_section(xml_calls.GLM_47, (F,), key) == (answer, "<arg_key>n\n</tool_call>")


@pytest.mark.parametrize(
    ("end", "arguments"),
    [
        ("<parameter=s>\ntw", '{"s": "tw'),
        ("<parameter=s>\ntwo\n</para", '{"s": "two\\n</para'),
        ("<parameter=s>\ntwo\n</parameter>\n<parameter=o>\n{", '{"s": "two", "o": {'),
        ("<parameter=e>\nnul", '{"e": "nul'),
        ("<parameter=e>\nnulo", '{"e": "nulo'),
        ("<parameter=s>\ntwo\n</parameter>\n</functi", '{"s": "two"'),
    ],
)
def test_a_call_that_is_cut_off_has_no_end(end: str, arguments: str) -> None:
    read = read_section(xml_calls.QWEN_XML, (F,), f"\n<function=f>\n{end}")
    assert read == (Answer(calls=(call("f", arguments, is_whole=False),)), None)


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("s", "12", "12"),
        ("s", "", ""),
        ("s", "null", "null"),
        ("n", "12", 12),
        ("n", "twelve", "twelve"),
        ("n", " 12\n", 12),
        ("b", "False", False),
        ("b", "true", True),
        ("o", '{"a": "</parameter>"}', {"a": "</parameter>"}),
        ("o", "{'a': None, 'b': [True]}", {"a": None, "b": [True]}),
        ("o", "{not JSON", "{not JSON"),
        ("e", "null", None),
        ("e", "nothing", "nothing"),
        ("e", "12", "12"),
        ("e", "{}", "{}"),
        ("more", "12", 12),
        ("more", "Rue 12", "Rue 12"),
        ("more", '{"a": 1}', {"a": 1}),
        ("more", "[1, 2", "[1, 2"),
        ("more", "NaN", "NaN"),
    ],
)
def test_values_are_what_the_schema_says(key: str, written: str, value: object) -> None:
    text = f"\n<function=f>\n<parameter={key}>\n{written}\n</parameter>\n</function>\n</tool_call>"
    answer, _ = read_section(xml_calls.QWEN_XML, (F,), text)
    assert json.loads(answer.calls[0].arguments) == {key: value}


def test_a_function_nobody_knows_is_read_by_the_looks_of_its_values() -> None:
    text = "g<arg_key>a</arg_key><arg_value>1.50</arg_value><arg_key>b</arg_key><arg_value>x</arg_value></tool_call>"
    answer, _ = read_section(xml_calls.GLM_47, (F,), text)
    assert answer.calls == (call("g", '{"a": 1.50, "b": "x"}'),)


def test_a_string_streams_before_it_ends() -> None:
    reader = xml_calls.QWEN_XML.reader("<tool_call>", (F,))
    begun, _ = reader.feed("\n<function=f>\n<parameter=e>\nDear ")
    more, _ = reader.feed('"you"\n')
    assert [getattr(event, "text", "") for event in begun] == ["", '{"e": "Dear ']
    assert [getattr(event, "text", "") for event in more] == ['\\"you\\"']


def test_attributes_are_unescaped_where_the_family_escapes_them() -> None:
    odd = function("f", {'a&"b': {"type": "string"}})
    text = (
        '<|open|>call tool="f" index="1"<|sep|><|open|>argument key="a&amp;&quot;b" type="string"<|sep|>x'
        "<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>"
    )
    answer, _ = read_section(xml_calls.KIMI_K3, (odd,), text)
    assert json.loads(answer.calls[0].arguments) == {'a&"b': "x"}
    assert PLAIN_B.allows(grammar_of(xml_calls.KIMI_K3, [odd], PLAIN_B.mark, "<|open|>tools<|sep|>"), text)
