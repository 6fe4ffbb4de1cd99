"""What /messages refuses, and how it says so."""

import base64
from typing import Any

import pytest

from llmatic.core.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidRequest,
    QueueFull,
    RateLimited,
    Unavailable,
)
from tests.api.conftest import Serve, Served
from tests.api.messaging import HELLO, WEATHER, ask, refused
from tests.fakes import SPEC

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()


def test_pictures_are_read(api: Served) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    content = [{"type": "text", "text": "What?"}, {"type": "image", "source": source, "cache_control": None}]
    message = refused(
        ask(api, messages=[HELLO, {"role": "user", "content": content}]), 400, "invalid_request_error"
    )
    # The fake model does not see; the refusal names the block as it was sent.
    assert message == "messages.1.content.1: Invalid content type. image is only supported by certain models."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": []}, "Invalid 'messages': empty array."),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "Supported values are: 'user', 'assistant'"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content.0.type: Invalid"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "foo": 1}]}]},
            "messages.0.content.0.foo: Extra inputs are not permitted",
        ),
        ({"foo": 1}, "Unrecognized request argument supplied: foo"),
        ({"temperature": 1.5}, "temperature"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name"),
        ({"tools": [WEATHER, WEATHER]}, "Invalid 'tools.1.name'"),
        ({"tools": [WEATHER | {"input_schema": {"type": "array"}}]}, "input_schema"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "nope"}}, "no function named 'nope'"),
        ({"tools": [WEATHER | {"defer_loading": True}]}, "does not search for tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 64}}, "must be greater than"),
        ({"thinking": {"type": "between_tools"}}, "between_tools"),
        ({"container": "c"}, "runs no code"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "leaves nothing out"),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}}
            ]}]},
            "reads no PDFs",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}]},
            "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t1.",
        ),
        (
            {"messages": [HELLO, {"role": "assistant", "content": [
                {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
            ]}, HELLO]},
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1.",
        ),
        ({"messages": [{"role": "assistant", "content": ""}]}, "at least one message"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(api: Served, fields: dict[str, Any], message: str) -> None:
    assert message in refused(ask(api, **fields), 400, "invalid_request_error")
    assert not api.pool.requests


def test_clients_are_told_to_do_without_threads(api: Served) -> None:
    reply = ask(api, thread={"type": "create"})
    assert "holds no conversations" in refused(reply, 400, "invalid_request_error")
    assert reply.json()["error"]["details"] == {"error_code": "thread_unsupported_request"}


def test_errors_have_anthropics_statuses(api: Served) -> None:
    refused(ask(api, model="nope"), 404, "not_found_error")
    refused(api.http.get("/v1/messages"), 405, "invalid_request_error")
    refused(api.http.post("/v1/messages/batches", json={}), 404, "not_found_error")
    refused(api.http.post("/v1/messages", content=b"{"), 400, "invalid_request_error")
    for error, status, kind in (
        (QueueFull("full", retry_after_s=3), 529, "overloaded_error"),
        (Unavailable("loading failed"), 529, "overloaded_error"),
        (EngineFailed("died"), 500, "api_error"),
        (RateLimited("slower", retry_after_s=3), 429, "rate_limit_error"),
        (ZeroDivisionError("secret"), 500, "api_error"),
    ):
        api.pool.script = lambda request, error=error: [error]  # type: ignore[misc]
        reply = ask(api)
        assert "secret" not in refused(reply, status, kind)
        assert reply.headers.get("retry-after") == ("3" if status == 429 or "full" in reply.text else None)
    api.pool.script = lambda request: [ContextLengthExceeded("4294 tokens", param="messages")]
    assert refused(ask(api), 400, "invalid_request_error") == "prompt is too long: 4294 tokens"


def test_the_engines_refusals_name_the_fields_that_were_sent(api: Served) -> None:
    for param, words in (
        ("reasoning_effort", "output_config.effort"),
        ("thinking_budget_tokens", "thinking.budget_tokens"),
        ("tools[0].function.parameters.properties.city", "tools.0.input_schema.properties.city"),
        ("messages[1].tool_calls[0].function.arguments", "messages.0"),
    ):
        error = InvalidRequest(f"Unsupported: '{param}' is wrong.", param=param)
        api.pool.script = lambda request, error=error: [error]  # type: ignore[misc]
        message = refused(ask(api, system="S", tools=[WEATHER]), 400, "invalid_request_error")
        assert message == f"Unsupported: '{words}' is wrong."


def test_keys_are_asked_for_in_anthropics_form(serve: Serve) -> None:
    served = serve(api_keys=("sk-right",))
    refused(ask(served), 401, "authentication_error")
    refused(
        served.http.post("/v1/messages", headers={"x-api-key": "wrong"}, json={}), 401, "authentication_error"
    )
    body = {"model": SPEC.id, "max_tokens": 1, "messages": [HELLO]}
    for headers in ({"x-api-key": "sk-right"}, {"authorization": "Bearer sk-right"}):
        assert served.http.post("/v1/messages", headers=headers, json=body).status_code == 200
    reply = served.http.get("/v1/models", headers={"anthropic-version": "2026-10-21"})
    assert reply.json()["error"]["type"] == "authentication_error"
    assert served.http.get("/v1/models").json()["error"]["code"] is None


def test_a_body_that_is_too_large(serve: Serve) -> None:
    served = serve(max_body_bytes=1000)
    refused(ask(served, system="x" * 2000), 413, "request_too_large")
