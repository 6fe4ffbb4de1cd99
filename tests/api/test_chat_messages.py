"""Messages in the form that engines know, and what cannot be a conversation."""

from typing import Any

import pytest

from llmatic.api.chat_messages import continues, conversation
from llmatic.core.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def calling(*ids: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call(i) for i in ids], **more}


def answer(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "done"}


def plain(*messages: Any) -> list[dict[str, Any]]:
    return [dict(message) for message in conversation(messages)]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "developer", "content": "a"}, {"role": "developer", "content": "a"}),
        (
            {"role": "user", "name": "n", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "name": "n", "content": "ab"},
        ),
        ({"role": "assistant"}, {"role": "assistant", "content": ""}),
        ({"role": "assistant", "content": None, "refusal": "no"}, {"role": "assistant", "content": "no"}),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
            {"role": "assistant", "content": "ab"},
        ),
        (
            {"role": "assistant", "content": "a", "reasoning": "t", "annotations": []},
            {"role": "assistant", "content": "a", "reasoning_content": "t"},
        ),
        (
            {"role": "assistant", "content": "a", "reasoning": "t", "reasoning_content": "u"},
            {"role": "assistant", "content": "a", "reasoning_content": "u"},
        ),
    ],
)  # fmt: skip
def test_one_form(message: Any, expected: Any) -> None:
    assert plain(message) == [expected]


def test_pictures_keep_their_places() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    content = [{"type": "text", "text": "a"}, picture, {"type": "text", "text": "b"}]
    assert plain({"role": "user", "content": content}) == [{"role": "user", "content": content}]


def test_calls_and_their_answers() -> None:
    index = {**call("a", '{"x":1}'), "index": 3}
    said = {"role": "assistant", "content": "Let me see.", "tool_calls": [index, call("b")]}
    assert plain(USER, said, answer("b"), answer("a"), calling("c"), answer("c"))[1:] == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call("a", '{"x":1}'), call("b")]},
        answer("b"),
        answer("a"),
        {"role": "assistant", "content": None, "tool_calls": [call("c")]},
        answer("c"),
    ]


def test_the_older_form_becomes_the_newer_one() -> None:
    said = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "done"}
    assert plain(USER, said, result)[1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call("call_1")]},
        {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": "done"},
    ]


LONE = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
OPEN = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
    "'tool_call_id'. The following tool_call_ids did not have response messages: "
)


@pytest.mark.parametrize(
    ("messages", "words", "param"),
    [
        ([USER, answer("a")], LONE, "messages.[1].role"),
        ([calling("a"), answer("a"), USER, answer("a")], LONE, "messages.[3].role"),
        (
            [calling("a"), answer("b")],
            "Invalid parameter: 'tool_call_id' of 'b' not found in 'tool_calls' of previous message.",
            "messages.[1].tool_call_id",
        ),
        ([calling("a", "b"), answer("b"), USER], OPEN + "a", "messages.[2].role"),
        ([USER, calling("a", "b")], OPEN + "a, b", "messages.[1].role"),
        ([calling("a"), calling("b"), answer("b")], OPEN + "a", "messages.[1].role"),
    ],
)
def test_every_call_is_answered_and_every_answer_asked_for(messages: Any, words: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conversation(messages)
    assert (refused.value.message, refused.value.param) == (words, param)


TEXT = {"role": "assistant", "content": "The answer is"}
PARTS = {"role": "assistant", "content": [{"type": "text", "text": "The"}]}


@pytest.mark.parametrize(
    ("last", "fields", "expected"),
    [
        (USER, {}, False),
        (TEXT, {}, True),
        (PARTS, {}, True),
        ({"role": "assistant", "content": ""}, {}, False),
        ({**TEXT, "function_call": {"name": "f", "arguments": ""}}, {}, False),
        (TEXT, {"continue_final_message": False}, False),
        (TEXT, {"add_generation_prompt": True}, False),
        (TEXT, {"add_generation_prompt": False}, True),
        (TEXT, {"continue_final_message": True, "add_generation_prompt": False}, True),
        (USER, {"continue_final_message": False, "add_generation_prompt": True}, False),
    ],
)
def test_what_is_continued(last: Any, fields: Any, expected: bool) -> None:
    assert continues({"messages": [USER, last], **fields}) is expected


@pytest.mark.parametrize(
    ("last", "fields", "param"),
    [
        (USER, {"continue_final_message": True}, "continue_final_message"),
        (USER, {"add_generation_prompt": False}, "add_generation_prompt"),
        (TEXT, {"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt"),
        (TEXT, {"continue_final_message": False, "add_generation_prompt": False}, "add_generation_prompt"),
    ],
)
def test_what_cannot_be_continued(last: Any, fields: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        continues({"messages": [last], **fields})
    assert refused.value.param == param
