"""From Anthropic's turns and blocks to the messages that engines know."""

from typing import Any

import pytest

from llmatic.api.message_turns import read_turns
from llmatic.core.errors import InvalidRequest

URL = "https://example.com/a.png"
PICTURE = {"type": "image", "source": {"type": "url", "url": URL}}
AS_PART = {"type": "image_url", "image_url": {"url": URL}}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, "ü"]}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def result(content: Any = None, id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **fields}


def read(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return read_turns({"messages": list(messages), **fields}).messages


def test_messages_of_one_role_are_one_turn() -> None:
    found = read(
        {"role": "user", "content": "a"},
        user(text("b"), text("c")),
        {"role": "assistant", "content": "d"},
        assistant(text("e"), text("f")),
        {"role": "user", "content": ""},
        system="s",
    )
    assert found == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a\n\nb\n\nc"},
        {"role": "assistant", "content": "def"},
        {"role": "user", "content": ""},
    ]


def test_system_messages_join_the_system_prompt_or_stay_where_they_are() -> None:
    system = {"role": "system", "content": [text("t")]}
    found = read(system, user(text("a")), system, user(text("b")), system="s")
    assert [message["content"] for message in found] == ["s\n\nt", "a", "t", "b"]


def test_uses_and_results_of_tools() -> None:
    found = read(
        user(text("q")),
        assistant({"type": "thinking", "thinking": "hm", "signature": "x"}, text("I look."), USE),
        user(text("and?"), result([text("one"), text("two")])),
    )
    assert found[1:] == [
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1,"ü"]}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "one\n\ntwo"},
        {"role": "user", "content": "and?"},
    ]


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (result(), ""),
        (result("x"), "x"),
        (result("boom", is_error=True), "Error: boom"),
        (result(is_error=True), "Error"),
        (result("x", is_error=False), "x"),
    ],
)
def test_contents_of_results(block: dict[str, Any], content: str) -> None:
    found = read(user(text("q")), assistant(USE), user(block))
    assert found[1]["content"] is None
    assert found[2:] == [{"role": "tool", "tool_call_id": "t1", "content": content}]


def test_pictures_in_results_stand_behind_them() -> None:
    found = read(user(text("q")), assistant(USE), user(result([text("see"), PICTURE]), text("what?")))
    assert found[2:] == [
        {"role": "tool", "tool_call_id": "t1", "content": "see"},
        {"role": "user", "content": [AS_PART, text("what?")]},
    ]


def test_pictures_stand_among_the_texts() -> None:
    data = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
    (found,) = read(user(text("a"), text("b"), PICTURE, text("c"), data))
    url = "data:image/png;base64,QQ=="
    assert found["content"] == [
        text("a\n\nb"),
        AS_PART,
        text("c"),
        {"type": "image_url", "image_url": {"url": url}},
    ]


def test_documents_and_search_results_are_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "words"}
    plain = {"type": "document", "source": source, "title": "T", "context": None}
    found = {"type": "search_result", "source": "here", "title": "S", "content": [text("x"), text("y")]}
    (message,) = read(user(plain, found))
    assert message["content"] == (
        "<document>\n<title>T</title>\n<document_content>\nwords\n</document_content>\n</document>\n\n"
        "<document>\n<title>S</title>\n<source>here</source>\n<document_content>\nx\n\ny\n"
        "</document_content>\n</document>"
    )
    blocks = {
        "type": "document",
        "source": {"type": "content", "content": [text("a"), PICTURE]},
        "title": "T",
    }
    (message,) = read(user(blocks))
    assert message["content"] == [
        text("<document>\n<title>T</title>\n<document_content>\n\na"),
        AS_PART,
        text("</document_content>\n</document>"),
    ]
    (message,) = read(user(blocks | {"source": {"type": "content", "content": "all"}}))
    assert "\nall\n" in message["content"]


def test_thoughts_that_nobody_can_read_are_left_out() -> None:
    found = read(user(text("q")), assistant({"type": "redacted_thinking", "data": "?"}, text("a")), user())
    assert found[1] == {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([user(text("q")), assistant(USE)], "messages.1: `tool_use` ids were found without"),
        ([user(text("q")), assistant(USE), assistant(text("x"))], "messages.1: `tool_use` ids were found without"),
        ([user(text("q")), assistant(USE), user(result(id="t2"))], "messages.2.content.0: unexpected"),
        ([user(text("q")), assistant(USE), user(result(), result())], "must have a single result"),
        (
            [user(text("q")), assistant(USE), user(result()), assistant(USE), user(result())],
            "messages.3.content.0: `tool_use` ids must be unique",
        ),
        ([user(text("q")), assistant(USE), user(result()), user(result())], "must have a single result"),
        ([{"role": "system", "content": "s"}], "at least one message"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(messages: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(*messages)
    assert words in refused.value.message


def test_refusals_name_what_the_client_wrote() -> None:
    turns = read_turns(
        {"messages": [user(text("a")), user(text("b"), text("c"), PICTURE)], "system": [text("s")]}
    )
    param = "messages.[1].content.[1].image_url.url"
    error = turns.reworded(InvalidRequest(f"Bad: {param}", param=param))
    assert (error.param, error.message) == ("messages.1.content.2", "Bad: messages.1.content.2")
    assert turns.reworded(InvalidRequest("x", param="messages[0].role")).param == "system"
    for other in (None, "messages", "temperature", "messages[9].role"):
        assert turns.reworded(InvalidRequest("x", param=other)).param == other
