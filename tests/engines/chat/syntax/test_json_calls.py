"""Calls that are JSON objects, as models write them and as they should not."""

import pytest

from llmatic.engines.chat.events import CallArguments, CallBegin, CallEnd, Content
from llmatic.engines.chat.syntax import json_calls
from llmatic.engines.chat.syntax.json_calls import JsonCalls
from tests.engines.chat.reading import Answer, Call, folded

FIRST = Call("get_weather", '{"city": "Köln \\"Süd\\"", "at": {"h": [1, {}]}}')
SECOND = Call("now", "{}")


def read_section(syntax: JsonCalls, text: str, opened_by: str = "") -> tuple[Answer, str | None]:
    """What is read of a section, the same in single characters, and what follows it."""
    answers = []
    for pieces in ([text], list(text)):
        reader = syntax.reader(opened_by or syntax.opens[0])
        events, rest = [], None
        for n, piece in enumerate(pieces):
            found, rest = reader.feed(piece)
            events += found
            if rest is not None:
                rest += "".join(pieces[n + 1 :])
                break
        else:
            events += reader.finish()
        answers.append((folded(events), rest))
    assert answers[0] == answers[1]
    return answers[0]


HERMES_ONE = f'{{"name": "get_weather", "arguments": {FIRST.arguments}}}'


@pytest.mark.parametrize(
    "text",
    [
        f"\n{HERMES_ONE}\n</tool_call>",
        f"{HERMES_ONE}</tool_call>",
        f'  {{"arguments":{FIRST.arguments},"name":"get_weather"}}\n\n</tool_call>',
        f'\n{{"type": "function", "name": "get_weather", "n": 1, "arguments" : {FIRST.arguments} }}\n</tool_call>',
        f"\n[{HERMES_ONE}]\n</tool_call>",
        '\n{"name": "get_weather", "arguments": "{\\"city\\": \\"K\\u00f6ln \\\\\\"S\\u00fcd\\\\\\"\\", '
        '\\"at\\": {\\"h\\": [1, {}]}}"}\n</tool_call>',
    ],
    ids=["canonical", "no newlines", "arguments first", "further keys", "list", "arguments as text"],
)
def test_tolerates_what_models_write(text: str) -> None:
    assert read_section(json_calls.HERMES, text + "rest") == (Answer(calls=(FIRST,)), "rest")


def test_missing_and_null_arguments_are_an_empty_object() -> None:
    for text in ('{"name": "now"}', '{"name": "now", "arguments": null}', '{"name": "now", "arguments": ""}'):
        answer, _ = read_section(json_calls.HERMES, text + "</tool_call>")
        assert answer.calls == (SECOND,)


def test_a_list_of_calls() -> None:
    text = f' [{HERMES_ONE},\n {{"name": "now", "arguments": {{}}, "id": "123456789"}} ]'
    assert read_section(json_calls.MISTRAL_OLD, text + " rest") == (
        Answer(calls=(FIRST, SECOND)),
        " rest",
    )


def test_objects_without_a_list() -> None:
    text = f'\n{HERMES_ONE}\n{{"name": "now", "arguments": {{}}}}\n</tool_calls>'
    assert read_section(json_calls.MINIMAX_M1, text) == (Answer(calls=(FIRST, SECOND)), "")


def test_an_id_before_the_name_is_the_calls() -> None:
    text = '[{"tool_call_id": "7", "tool_name": "now", "parameters": {}}]<|END_ACTION|>'
    answer, rest = read_section(json_calls.COMMAND_R7B, text)
    assert (answer.calls, rest) == ((Call("now", "{}", "7"),), "")


def test_an_id_that_is_not_there_is_not_waited_for() -> None:
    text = '[{"tool_name": "now", "parameters": {}}]<|END_ACTION|>'
    assert read_section(json_calls.COMMAND_R7B, text)[0].calls == (SECOND,)


def test_the_name_as_a_key() -> None:
    text = f'[{{"get_weather": {FIRST.arguments}}}, {{"now": {{}}}}]<|tools_suffix|>'
    assert read_section(json_calls.APERTUS, text) == (Answer(calls=(FIRST, SECOND)), "")


def test_the_name_is_told_before_the_arguments_and_they_as_they_come() -> None:
    reader = json_calls.HERMES.reader("<tool_call>")
    assert reader.feed('\n{"name": "get_weat') == ([], None)
    assert reader.feed('her"') == ([CallBegin("get_weather")], None)
    assert reader.feed(', "arguments": {"ci') == ([CallArguments('{"ci')], None)
    assert reader.feed('ty": 1}') == ([CallArguments('ty": 1}')], None)
    assert reader.feed("}") == ([CallEnd()], None)
    assert reader.feed("\n</tool_call>x") == ([], "x")


@pytest.mark.parametrize("text", ["foo", '{"a": 1}', '{"name": 1}', "[1]", '{name: "now"}', '{"name" "now"}'])
def test_what_is_no_call_is_given_back_whole(text: str) -> None:
    assert read_section(json_calls.HERMES, text + "</tool_call> and more") == (
        Answer(),
        text + "</tool_call> and more",
    )


def test_what_follows_a_call_and_is_no_markup_is_given_back() -> None:
    answer, rest = read_section(json_calls.HERMES, f"{HERMES_ONE} oops")
    assert (answer.calls, rest) == ((FIRST,), " oops")


def test_a_cut_off_call_is_told_as_far_as_it_was_read() -> None:
    answer, rest = read_section(json_calls.HERMES, '\n{"name": "now", "arguments": {"a": "b')
    assert rest is None
    assert answer.calls == (Call("now", '{"a": "b', is_whole=False),)


def test_a_cut_off_opening_is_text() -> None:
    reader = json_calls.HERMES.reader("<tool_call>")
    assert reader.feed('\n{"na') == ([], None)
    assert reader.finish() == [Content('\n{"na', 0)]


def test_broken_surrogates_become_replacement_characters() -> None:
    text = '{"name": "now", "arguments": "{\\"a\\": \\"\\ud83d\\ude00 \\ud83d! \\ude00\\"}"}</tool_call>'
    assert read_section(json_calls.HERMES, text)[0].calls == (Call("now", '{"a": "😀 �! �"}'),)


def test_bare_json_is_a_call_once_its_arguments_begin() -> None:
    reader = json_calls.LLAMA_3.reader('{"name": "')
    assert reader.feed('now"') == ([], None)
    assert reader.feed(', "parameters": {') == ([CallBegin("now"), CallArguments("{")], None)
    assert reader.feed("}} rest") == ([CallArguments("}"), CallEnd()], " rest")


def test_bare_json_without_arguments_is_text() -> None:
    assert read_section(json_calls.LLAMA_3, 'Bob", "age": 3} x') == (Answer(), 'Bob", "age": 3} x')


def test_the_python_tag_may_be_followed_by_json() -> None:
    text = '{"type": "function", "name": "now", "parameters": {}}'
    assert read_section(json_calls.LLAMA_3, text, "<|python_tag|>")[0].calls == (SECOND,)
