"""Items as messages, and what may be left out of them."""

from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.services.response_items import kept, sealed
from llmatic.services.response_prompt import Shortenings, messages_of

_CALLED = ("function_call", "function_call_output")


def said(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


def call(call_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}", **fields}


def result(call_id: str, text: Any = "r") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def roles(items: list[dict[str, Any]], instructions: str | None = None) -> list[str]:
    return [message["role"] for message in messages_of(kept(items), instructions)]


def test_thoughts_texts_and_calls_are_one_message() -> None:
    items = [
        said("user", "q"),
        thought("t"),
        said("assistant", "a"),
        call("1"),
        call("2"),
        result("2"),
        result("1"),
    ]
    messages = messages_of(kept(items), None)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert (messages[1]["reasoning_content"], messages[1]["content"]) == ("t", "a")
    assert [message["tool_call_id"] for message in messages[2:]] == ["1", "2"]


def test_calls_one_after_the_other() -> None:
    items = [
        said("user", "q"),
        call("1"),
        result("1"),
        thought("t"),
        call("2"),
        result("2"),
        said("assistant", "a"),
    ]
    assert roles(items) == ["user", "assistant", "tool", "assistant", "tool", "assistant"]


def test_a_call_id_that_is_used_again() -> None:
    items = [call("1"), result("1", "first"), said("user", "q"), call("1"), result("1", "second")]
    messages = messages_of(kept(items), None)
    assert [message["content"] for message in messages if message["role"] == "tool"] == ["first", "second"]


def test_a_result_that_comes_late_stands_behind_its_call() -> None:
    assert roles([call("1"), said("user", "q"), result("1")]) == ["assistant", "tool", "user"]


def test_a_call_that_was_cut_off_is_left_out() -> None:
    assert roles([said("user", "q"), call("1", status="incomplete"), said("user", "r")]) == ["user", "user"]


@pytest.mark.parametrize(
    "items", [[call("1")], [result("1")], [result("1"), call("1")], [call("1"), result("2")]]
)
def test_calls_and_results_go_together(items: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest, match="No tool"):
        roles(items)


def test_instructions_join_the_system_message() -> None:
    messages = messages_of(kept([said("developer", "b"), said("user", "q")]), "a")
    assert messages[0] == {"role": "developer", "content": "a\n\nb"}
    assert roles([said("user", "q"), said("system", "b")], "a") == ["system", "user", "system"]


def test_thoughts_from_their_seal_and_their_summary() -> None:
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}]}
    seal = {"type": "reasoning", "summary": [], "encrypted_content": sealed("süß")}
    for item, text in ((summary, "s"), (seal, "süß")):
        assert messages_of(kept([item, said("assistant", "a")]), None)[0]["reasoning_content"] == text


def texts(items: tuple[Any, ...]) -> list[str]:
    return [item["content"][0]["text"] if item["type"] == "message" else item["type"] for item in items]


def test_whole_turns_are_left_out_first_then_steps_of_the_last() -> None:
    items = [
        *(said("system", "s"), said("user", "1"), said("assistant", "a"), said("user", "2")),
        *(call("1"), result("1"), thought("t"), call("2"), result("2"), said("assistant", "b")),
    ]
    assert [texts(shorter) for shorter in Shortenings(kept(items))] == [
        ["s", "2", *_CALLED, "reasoning", *_CALLED, "b"],
        ["s", "2", "reasoning", *_CALLED, "b"],
        ["s", "2", "b"],
    ]


def test_no_cut_between_a_call_and_its_result() -> None:
    items = [said("user", "1"), call("1"), said("user", "2"), result("1"), said("user", "3")]
    assert [texts(shorter) for shorter in Shortenings(kept(items))] == [["3"]]


def test_nothing_can_be_left_out_of_one_message() -> None:
    assert list(Shortenings(kept([said("system", "s"), said("user", "1")]))) == []
