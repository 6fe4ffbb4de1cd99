"""Thinking, content and calls told apart, whatever the pieces."""

import pytest

from llmatic.engines.chat.answer_parser import SectionsParser
from llmatic.engines.chat.detection import family_named
from llmatic.engines.chat.events import CallArguments, CallBegin, CallEnd, Content, Thought
from llmatic.engines.chat.families import Family
from llmatic.engines.chat.syntax import Function
from tests.engines.chat.reading import Answer, Call, read_in_every_way

QWEN = family_named("hermes", "<think>")
HERMES = family_named("hermes")
LLAMA = family_named("llama-3")
NOW = Function("now", {"type": "object", "properties": {}})
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
CALLED = Call("now", "{}")


def answer(
    raw: str, family: Family = QWEN, *, tools: bool = True, thinking: bool = False, begun: str = ""
) -> Answer:
    """What is read of `raw` however it is cut."""

    def make() -> SectionsParser:
        parser = SectionsParser(family, [NOW] if tools else None, starts_thinking=thinking)
        parser.begin(begun)
        return parser

    return read_in_every_way(make, raw)


@pytest.mark.parametrize(
    "raw", ["", "Hello", " Hello\n\nthere \n", "a < b <tool <thi", "x <think>y</think>z"]
)
def test_plain_text_stays_as_it_is(raw: str) -> None:
    assert answer(raw) == Answer(raw)


def test_thinking_is_stripped_of_its_markers_and_the_space_around_it() -> None:
    raw = "\n<think>\nWell, </thin a < b\n\nso \n</think>\n\nHello \n"
    assert answer(raw) == Answer("Hello \n", "Well, </thin a < b\n\nso")


def test_the_prompt_may_have_begun_the_thinking() -> None:
    assert answer("so\n</think>\n\nHello", thinking=True) == Answer("Hello", "so")


def test_thinking_that_does_not_end() -> None:
    assert answer("<think>so it goes\n</thi") == Answer("", "so it goes\n</thi")


@pytest.mark.parametrize("raw", ["<think>\n\n</think>\n\nHello", "</think>\n\nHello"])
def test_empty_thinking_is_nothing(raw: str) -> None:
    assert answer(raw) == Answer("Hello")


def test_families_that_do_not_think_write_tags_as_text() -> None:
    assert answer("<think>so</think>", HERMES) == Answer("<think>so</think>")


def test_calls_without_the_whitespace_around_them() -> None:
    raw = f"<think>so</think>\n\nLet me see. \n\n{CALL}\n{CALL}\n"
    assert answer(raw) == Answer("Let me see.", "so", (CALLED, CALLED))


def test_content_behind_calls() -> None:
    assert answer(f"{CALL}\n That was it. \n") == Answer("That was it. \n", "", (CALLED,))


def test_without_tools_calls_are_text() -> None:
    assert answer(CALL, HERMES, tools=False) == Answer(CALL)


@pytest.mark.parametrize(
    "raw", ["Hi <tool_call> there", "Hi \n<tool_call>\n{} \n", 'Hi <tool_call>\n{"name": ', "<tool_call>[[["]
)
def test_what_only_looks_like_a_call_is_text(raw: str) -> None:
    assert answer(raw) == Answer(raw)


def test_a_call_behind_what_only_looks_like_one() -> None:
    assert answer(f"<tool_call>oops {CALL}") == Answer("<tool_call>oops", "", (CALLED,))


def test_events_come_as_soon_as_they_are_certain() -> None:
    parser = SectionsParser(QWEN, [NOW])
    assert parser.feed("<thi") == []
    assert parser.feed("nk>\nWe") == [Thought("We")]
    assert [parser.is_thinking, parser.is_calling] == [True, False]
    assert parser.feed("ll </thi") == [Thought("ll")]
    assert parser.feed("nk> Hi") == [Content("Hi", 22)]
    assert [parser.is_thinking, parser.is_calling] == [False, False]
    assert parser.feed(" there\n<") == [Content(" there", 24)]
    assert parser.feed('tool_call>{"name": "now", "arg') == [CallBegin("now")]
    assert [parser.is_thinking, parser.is_calling] == [False, True]
    assert parser.feed('uments": {}}</tool_call>') == [CallArguments("{}"), CallEnd()]
    assert [parser.is_thinking, parser.is_calling] == [False, False]
    assert parser.finish() == []


def test_bare_json_is_a_call_at_the_beginning_only() -> None:
    call = '{"name": "now", "parameters": {}}'
    assert answer(f" \n{call}", LLAMA) == Answer("", "", (CALLED,))
    assert answer(f"Use {call}", LLAMA) == Answer(f"Use {call}")
    assert answer('{"name": "Bob", "age": 3}', LLAMA) == Answer('{"name": "Bob", "age": 3}')
    assert answer('{"age": 3}', LLAMA) == Answer('{"age": 3}')
    assert answer(f"<|python_tag|>{call}", LLAMA) == Answer("", "", (CALLED,))


def test_silent_markers_are_no_content() -> None:
    command = family_named("command-r7b")
    raw = "<|START_THINKING|>so<|END_THINKING|><|START_RESPONSE|>Hi there<|END_RESPONSE|>"
    assert answer(raw, command, tools=False) == Answer("Hi there", "so")


def test_solar_turns_within_an_answer() -> None:
    solar = family_named("solar")
    raw = "<|think|>so<|end|><|begin|>assistant<|content|>Hi"
    assert answer(raw, solar) == Answer("Hi", "so")
    called = (
        "<|think|>so<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>abcdefgh12<|tool_call:name|>now"
        "<|tool_call:args|>{}<|tool_call:end|>"
    )
    assert answer(called, solar) == Answer("", "so", (Call("now", "{}", "abcdefgh12"),))


@pytest.mark.parametrize("tools", [True, False])
def test_functionarys_answers_begin_in_the_prompt(tools: bool) -> None:
    functionary = family_named("functionary-v3.2")
    assert answer("all\nHi >> there", functionary, tools=tools, begun=">>>") == Answer("Hi >> there")


def test_functionary_calls() -> None:
    functionary = family_named("functionary-v3.2")
    assert answer("now\n{}>>>now\n{}", functionary, begun=">>>").calls == (CALLED, CALLED)
    assert answer("all\nHi\n>>>now\n{}", functionary, begun=">>>") == Answer("Hi", "", (CALLED,))
    assert answer("Hi there", functionary, begun=">>>") == Answer("Hi there")


def test_an_answer_that_was_begun_is_read_on() -> None:
    assert answer(" world", begun="<think>so</think>Hello ") == Answer(" world")
    assert answer(" so </think>Hello", begun="<think>and") == Answer("Hello", " so")
    assert answer("k>so</think>Hi", begun="<thin") == Answer("Hi", "so")
    assert answer("all of it", begun="<thin") == Answer("all of it")
    assert answer("<think>so</think>", begun="Hello") == Answer("<think>so</think>")
    assert answer(f"Hi{CALL}", begun="Well\n") == Answer("Hi", "", (CALLED,))


def test_an_id_that_comes_again_is_none() -> None:
    call = '{"tool_call_id": "0", "tool_name": "now", "parameters": {}}'
    raw = f"<|START_ACTION|>[{call}, {call}]<|END_ACTION|>"
    assert answer(raw, family_named("command-r7b")).calls == (Call("now", "{}", "0"), CALLED)


@pytest.mark.parametrize("text", ['<tool_call>\n{"na', "<tool_call>", '<tool_call>\n{"name": "no'])
def test_a_held_call_that_was_cut_off_before_its_name_is_no_text(text: str) -> None:
    parser = SectionsParser(QWEN, [NOW], is_held=True)
    assert [*parser.feed("Well. " + text), *parser.finish()] == [Content("Well.", 0)]


@pytest.mark.parametrize("text", ["<tool", "<tool_call>", '<tool_call>\n{"name"'])
def test_where_calls_are_required_there_is_no_text(text: str) -> None:
    parser = SectionsParser(QWEN, [NOW], is_held=True, is_required=True)
    assert [*parser.feed(text), *parser.finish()] == []
