"""Calls that are a name and a JSON object."""

import pytest

from llmatic.engines.chat.events import AnswerEvent, CallArguments, CallBegin, CallEnd
from llmatic.engines.chat.syntax import Function, named_json
from llmatic.engines.chat.syntax.named_json import NamedJson
from tests.engines.chat.reading import Answer, Call, folded

FIRST = Call("get_weather", '{"city": "Köln {\\"Süd\\"}", "at": {"h": [1]}}')
SECOND = Call("now", "{}")


def read_section(syntax: NamedJson, text: str) -> tuple[Answer, str | None]:
    """What is read of a section, the same in single characters, and what follows it."""
    answers = []
    for pieces in ([text], list(text)):
        reader = syntax.reader(syntax.opens[0], [Function("get_weather", {}), Function("now", {})])
        events: list[AnswerEvent] = []
        rest = None
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


FENCED = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{}\n```<｜tool▁call▁end｜>"


@pytest.mark.parametrize(
    "text",
    [
        FENCED.replace("{}", FIRST.arguments) + "\n" + FENCED.replace("get_weather", "now"),
        (FENCED.replace("{}", FIRST.arguments) + FENCED.replace("get_weather", "now")).replace("\n", ""),
        (FENCED.replace("{}", FIRST.arguments) + FENCED.replace("get_weather", "now"))
        .replace("```json", "")
        .replace("```", ""),
    ],
    ids=["canonical", "no newlines", "no fences"],
)
def test_deepseek(text: str) -> None:
    answer, rest = read_section(named_json.DEEPSEEK_R1, text + "<｜tool▁calls▁end｜>rest")
    assert answer.calls == (FIRST, SECOND)
    assert rest == "rest"


def test_kimis_whole_head_is_the_calls_id() -> None:
    text = (
        f"<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{FIRST.arguments}"
        "<|tool_call_end|><|tool_call_begin|>now:12<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>"
    )
    answer, rest = read_section(named_json.KIMI_K2, text)
    assert answer.calls == (
        Call("get_weather", FIRST.arguments, "functions.get_weather:0"),
        Call("now", "{}", "now:12"),
    )
    assert rest == ""


@pytest.mark.parametrize(("head", "id"), [("now[CALL_ID]abcdefgh1[ARGS]", "abcdefgh1"), ("now[ARGS]", "")])
def test_mistral(head: str, id: str) -> None:
    assert read_section(named_json.MISTRAL_CALL_ID, head + "{}[TOOL_CALLS]") == (
        Answer(calls=(Call("now", "{}", id),)),
        "[TOOL_CALLS]",
    )


def test_solar_names_the_id_first() -> None:
    text = "<|tool_call:begin|>abcdefgh12<|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|>\nmore"
    assert read_section(named_json.SOLAR, text) == (
        Answer(calls=(Call("now", "{}", "abcdefgh12"),)),
        "\nmore",
    )


def test_the_name_is_told_before_the_arguments_and_they_as_they_come() -> None:
    reader = named_json.MISTRAL_NEW.reader("[TOOL_CALLS]")
    assert reader.feed("no") == ([], None)
    assert reader.feed("w[ARGS]") == ([CallBegin("now")], None)
    assert reader.feed('{"a": [') == ([CallArguments('{"a": [')], None)
    assert reader.feed("]} x") == ([CallArguments("]}"), CallEnd()], " x")


def test_functionary_says_all_where_content_follows() -> None:
    assert read_section(named_json.FUNCTIONARY_3_2, "all\nHello") == (Answer(), "Hello")
    assert read_section(named_json.FUNCTIONARY_3_2, "now\n{}>>>all\nHello") == (
        Answer(calls=(SECOND,)),
        ">>>all\nHello",
    )


def test_a_prompt_of_python_is_no_call_of_functionary() -> None:
    for text in (" print(1)\n2", "foo\nbar"):
        assert read_section(named_json.FUNCTIONARY_3_2, text) == (Answer(), text)


def test_missing_arguments_are_an_empty_object() -> None:
    text = "now></function> more"
    assert read_section(named_json.FUNCTIONARY_3_1, text) == (Answer(calls=(SECOND,)), " more")


def test_a_missing_closing_mark_does_not_hide_what_follows() -> None:
    assert read_section(named_json.FUNCTIONARY_3_1, "now>{} more") == (Answer(calls=(SECOND,)), " more")


@pytest.mark.parametrize("text", ["{}", "no way to call this {}", "x" * 600])
def test_what_is_no_call_is_given_back_whole(text: str) -> None:
    assert read_section(named_json.MISTRAL_NEW, text) == (Answer(), text)


def test_a_cut_off_call_is_told_as_far_as_it_was_read() -> None:
    assert read_section(named_json.MISTRAL_NEW, 'now[ARGS]{"a": "b') == (
        Answer(calls=(Call("now", '{"a": "b', is_whole=False),)),
        None,
    )
