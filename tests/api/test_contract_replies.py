"""What the server answers is what `openapi.yaml` describes."""

from typing import Any, Literal

import pytest

from llmatic.core.errors import EngineFailed
from llmatic.core.types import Delta, Started
from tests.api.conftest import Served
from tests.api.wire import events
from tests.contract_check import assert_chunk_matches, assert_response_matches
from tests.fakes import SPEC

CHAT: dict[str, Any] = {"model": SPEC.id, "messages": [{"role": "user", "content": "Hi"}]}
TEXT: dict[str, Any] = {"model": SPEC.id, "prompt": ["a", "b"], "n": 2}
OPTIONS = {
    "stream_options": {"include_usage": True, "include_obfuscation": True, "continuous_usage_stats": True}
}


@pytest.mark.parametrize(
    ("operation_id", "path"),
    [
        ("listModels", "/v1/models"),
        ("retrieveModel", f"/v1/models/{SPEC.id}"),
        ("retrieveModel", "/v1/models/nope"),
        ("getModels", "/oaiv1/getmodels"),
        ("listEngines", "/engines"),
        ("retrieveEngine", "/engines/gpt-4o-mini"),
        ("getIndex", "/"),
        ("getHealth", "/healthz"),
        ("getReadiness", "/readyz"),
    ],
)
def test_get(api: Served, operation_id: str, path: str) -> None:
    reply = api.http.get(path, headers={"accept": "application/json"})
    assert_response_matches(
        operation_id, reply.status_code, reply.content, headers=dict(reply.headers.items())
    )


@pytest.mark.parametrize(
    ("operation_id", "path", "body"),
    [
        ("createChatCompletion", "/v1/chat/completions", CHAT),
        (
            "createChatCompletion",
            "/v1/chat/completions",
            {**CHAT, "logprobs": True, "top_logprobs": 3, "n": 2},
        ),
        ("createChatCompletion", "/v1/chat/completions", {**CHAT, "foo": 1}),
        ("createCompletion", "/v1/completions", {**TEXT, "logprobs": 2, "best_of": 4}),
        ("createCompletion", "/v1/completions", {**TEXT, "model": "nope"}),
        ("createEngineCompletion", "/engines/gpt-4o-mini/completions", {"prompt": "Hi"}),
        (
            "createEngineChatCompletion",
            "/engines/gpt-4o-mini/chat/completions",
            {"messages": CHAT["messages"]},
        ),
    ],
)
def test_post(api: Served, operation_id: str, path: str, body: dict[str, Any]) -> None:
    reply = api.http.post(path, json=body)
    assert_response_matches(
        operation_id, reply.status_code, reply.content, headers=dict(reply.headers.items())
    )


@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        ("chat", "/v1/chat/completions", CHAT),
        ("chat", "/v1/chat/completions", {**CHAT, **OPTIONS, "logprobs": True, "top_logprobs": 3, "n": 2}),
        ("completion", "/v1/completions", TEXT),
        ("completion", "/v1/completions", {**TEXT, **OPTIONS, "logprobs": 2}),
        ("completion", "/v1/completions", {**TEXT, "suffix": "x", "echo": True}),
    ],
)
def test_chunks(api: Served, kind: Literal["chat", "completion"], path: str, body: dict[str, Any]) -> None:
    chunks = events(api.http.post(path, json={**body, "stream": True}).text)
    assert chunks.pop() == "[DONE]"
    assert chunks
    for chunk in chunks:
        assert_chunk_matches(kind, chunk)


def test_late_error(api: Served) -> None:
    api.pool.script = lambda request: [Started(1), Delta(0, "x", 1), EngineFailed("died")]
    assert_chunk_matches("error", events(api.chat(stream=True).text)[-1])
