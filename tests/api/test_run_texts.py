from typing import Any

import pytest

from llmatic.api.run_texts import calls_of, prompt_of, schema_of, texts_of

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": "What is it?"}


def test_pictures_are_parts_of_chats() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    asked = [{"role": "user", "content": [{"type": "image", "source": source}, TEXT]}]
    assert prompt_of("message", {"messages": asked}) == [{"role": "user", "content": [PICTURE, TEXT]}]
    linked = [{"type": "image", "source": {"type": "url", "url": "https://a/b"}}]
    (message,) = prompt_of("message", {"messages": [{"role": "user", "content": linked}]})
    assert message["content"] == [{"type": "image_url", "image_url": {"url": "https://a/b"}}]
    parts = [
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_text", "text": "What is it?"},
    ]
    item = {"type": "message", "role": "user", "content": parts}
    assert prompt_of("response", {"input": [item]}) == [{"role": "user", "content": [PICTURE, TEXT]}]


def test_turns_of_messages_keep_thoughts_and_what_has_no_name_in_chats() -> None:
    document = {"type": "document", "source": {"type": "text", "data": "x"}}
    asked = [
        {"role": "user", "content": [document]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}, TEXT]},
        {"role": "user", "content": []},
    ]
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert prompt_of("message", {"messages": asked}) == [
        {"role": "user", "content": [document]},
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": ""},
        {"role": "user", "content": "What is it?"},
        {"role": "user", "content": []},
    ]


def test_items_of_responses_become_turns() -> None:
    def said(text: str, kind: str = "output_text") -> dict[str, Any]:
        part = {"type": kind, "refusal" if kind == "refusal" else "text": text}
        return {"type": "message", "role": "assistant", "content": [part]}

    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"}
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    items = [thought, said("a"), call, thought, said("no", "refusal"), said("b")]
    first, second, third = prompt_of("response", {"input": items})
    assert (first["reasoning_content"], first["content"], len(first["tool_calls"])) == ("Hm.", "a", 1)
    assert (second["reasoning_content"], second["content"]) == ("Hm.", "no")
    assert third == {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("kind", "reply", "texts", "calls"),
    [
        ("chat", {"choices": [{"message": {"content": None}}, {"message": {"content": "a"}}]}, ["a"], 0),
        ("chat", {"choices": []}, [], 0),
        ("completion", {"choices": [{"text": "a"}, {"text": ""}]}, ["a", ""], 0),
        ("message", {"content": []}, [], 0),
        ("response", {"output": [{"type": "reasoning", "summary": []}]}, [], 0),
        (
            "response",
            {"output": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"}]},
            [],
            1,
        ),
    ],
)
def test_what_was_said_and_called(kind: str, reply: dict[str, Any], texts: list[str], calls: int) -> None:
    assert texts_of(kind, reply) == texts
    assert [call["tool_input"] for call in calls_of(kind, reply)] == ["{"] * calls


def test_schemas_stand_at_different_places() -> None:
    schema = {"type": "object"}
    assert schema_of("message", {"output_format": {"type": "json_schema", "schema": schema}}) == schema
    assert schema_of("response", {"text": {"format": {"type": "json_schema", "schema": schema}}}) == schema
    for kind in ("chat", "completion", "message", "response"):
        assert schema_of(kind, {}) is None
