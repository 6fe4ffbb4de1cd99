"""Asking for messages in Anthropic's form."""

from typing import Any

import httpx2

from llmatic.core.types import ChatPrompt, Delta, Finished, Started, Usage
from tests.api.conftest import Served
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC

HELLO = {"role": "user", "content": "Hi"}
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

EDITING: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "path": {"type": "string", "format": "uri", "minLength": 1, "description": "Where"},
        "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991, "default": 5},
        "edits": {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]},
                    {"type": "string", "pattern": "^x+$"},
                ]
            },
        },
        "env": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {}},
    },
    "required": ["path"],
    "additionalProperties": False,
}


def ask(api: Served, path: str = "/v1/messages", **fields: object) -> httpx2.Response:
    body = {"model": SPEC.id, "max_tokens": 64, "messages": [HELLO], **fields}
    return api.http.post(path, json=body)


def prompt(api: Served) -> ChatPrompt:
    found = api.pool.requests[-1].prompt
    assert isinstance(found, ChatPrompt)
    return found


def playing(*deltas: Delta, usage: Usage | None = None) -> Any:
    """A script of these deltas."""
    n_tokens = sum(delta.n_tokens for delta in deltas)
    return lambda request: [Started(7), *deltas, Finished(usage or Usage(7, n_tokens, 2))]


def refused(reply: httpx2.Response, status: int, kind: str) -> str:
    """The message of an error of that kind."""
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert_response_matches("createMessage", status, reply.content)
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["request_id"] == reply.headers["request-id"] == reply.headers["x-request-id"]
    message: str = body["error"]["message"]
    return message


def as_programs_ask() -> dict[str, Any]:
    """What coding assistants send to the model behind Anthropic's address, with all that betas add."""
    mark, text = {"type": "ephemeral"}, {"type": "text", "text": "Look."}
    tools: list[dict[str, Any]] = [
        {**WEATHER, "name": f"tool_{n}", "input_schema": EDITING} for n in range(60)
    ]
    tools[-1] |= {"cache_control": mark, "eager_input_streaming": True, "defer_loading": False}
    return {
        "model": SPEC.id,
        "max_tokens": 32000,
        "stream": True,
        "temperature": 1,
        "system": [
            {
                "type": "text",
                "text": "You are careful. " * 1000,
                "cache_control": {**mark, "scope": "global"},
            },
            {"type": "text", "text": "The date is today.", "cache_control": {**mark, "ttl": "1h"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "<system-reminder/>"}, text]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "tool_1", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": "ok", "cache_control": mark},
                    {**text, "cache_control": mark},
                ],
            },
        ],
        "tools": tools,
        "metadata": {"user_id": '{"device_id":"' + "0" * 64 + '","session_id":"' + "1" * 36 + '"}'},
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }
