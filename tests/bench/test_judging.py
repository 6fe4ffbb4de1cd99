"""The judge of random replies finds what is wrong, and nothing else."""

import json
from typing import Any

import pytest

from scripts.bench import judging
from scripts.bench.random_bodies import CHAT, COMPLETIONS, Case
from scripts.bench.sse import Reply

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]


def judge(body: dict[str, Any], message: dict[str, Any], reason: str = "stop") -> list[str]:
    reply = Reply(
        status=200, body=json.dumps({"choices": [{"finish_reason": reason, "message": message}]}).encode()
    )
    return list(judging.complaints(Case(0, "sound", CHAT, json.dumps(body).encode()), reply))


def stream(body: dict[str, Any], *deltas: dict[str, Any], path: str = CHAT) -> list[str]:
    pieces: list[dict[str, Any]] = [{"index": 0, "finish_reason": None, "delta": delta} for delta in deltas]
    pieces.append({"index": 0, "finish_reason": "stop", "delta": {}})
    events = [(0.0, json.dumps({"choices": [piece]}).encode()) for piece in pieces]
    case = Case(0, "sound", path, json.dumps({"stream": True} | body).encode())
    return list(judging.complaints(case, Reply(status=200, done=1, events=events)))


def call(arguments: str, name: str = "f") -> dict[str, Any]:
    return {"id": name + arguments, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, {"content": "Hello"}),
        ({"response_format": FORMAT}, {"content": '{"a": 1}'}),
        ({"response_format": {"type": "json_object"}}, {"content": "{}"}),
        ({"tools": TOOLS, "tool_choice": "required"}, {"content": None, "tool_calls": [call('{"a": 1}')]}),
        ({"tools": TOOLS}, {"content": "No."}),
        ({"regex": "a+"}, {"content": "aaa"}),
    ],
)
def test_what_was_asked_for_is_right(body: dict[str, Any], message: dict[str, Any]) -> None:
    assert judge(body, message) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"n": 2}, {"content": "one"}),
        ({"response_format": FORMAT}, {"content": '{"a": "1"}'}),
        ({"response_format": FORMAT}, {"content": '{"a": 1'}),
        ({"response_format": {"type": "json_object"}}, {"content": "[]"}),
        ({"tools": TOOLS, "tool_choice": "required"}, {"content": "No."}),
        ({"tools": TOOLS, "tool_choice": "none"}, {"content": None, "tool_calls": [call('{"a": 1}')]}),
        ({"tools": TOOLS}, {"content": None, "tool_calls": [call("{}")]}),
        ({"tools": TOOLS}, {"content": None, "tool_calls": [call('{"a": 1}', "g")]}),
        (
            {"tools": TOOLS, "parallel_tool_calls": False},
            {"content": None, "tool_calls": [call('{"a": 1}'), call('{"a": 2}')]},
        ),
        ({"regex": "a+"}, {"content": "ab"}),
        ({"stream": True}, {"content": "no stream"}),
    ],
)
def test_what_was_not_asked_for_is_told(body: dict[str, Any], message: dict[str, Any]) -> None:
    assert judge(body, message)


def test_what_was_cut_off_need_not_fit() -> None:
    assert judge({"response_format": FORMAT}, {"content": '{"a"'}, "length") == []


def test_a_stream_is_judged_as_the_whole() -> None:
    first, rest = {"content": '{"a"'}, {"content": ": 1}"}
    assert stream({"response_format": FORMAT}, {"role": "assistant", "content": ""}, first, rest) == []
    assert stream({"response_format": FORMAT}, first)


def test_streamed_calls_are_put_together_by_index() -> None:
    start = {"tool_calls": [{"index": 0, **call("")}]}
    piece = {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}
    assert stream({"tools": TOOLS}, start, piece) == []
    assert stream({"tools": TOOLS}, start, piece, {"tool_calls": [{"index": 3, **call("")}]})


def test_a_reply_without_choices_is_wrong() -> None:
    reply = Reply(status=200, body=b'{"object": "text_completion"}')
    assert list(judging.complaints(Case(0, "broken", COMPLETIONS, b"{}"), reply))
