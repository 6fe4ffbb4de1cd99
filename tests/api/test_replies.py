"""Kinds of replies, held against the contract; `test_every_operation` has one of each operation."""

from typing import Any, Literal

import orjson
import pytest

from llmatic.core.errors import EngineFailed, QueueFull, Unavailable
from llmatic.core.types import Delta, Started
from tests.api.conftest import Served
from tests.contract_check import assert_chunk_matches, assert_response_matches, assert_stream_matches
from tests.fakes import SPEC

HELLO = [{"role": "user", "content": "Hi"}]
CHAT: dict[str, Any] = {"model": SPEC.id, "messages": HELLO}
TEXT: dict[str, Any] = {"model": SPEC.id, "prompt": "Hi"}
WIDE_CHAT = {"n": 2, "logprobs": True, "top_logprobs": 3}
WIDE_TEXT = {"n": 2, "logprobs": 2, "echo": True, "prompt": ["Hi", "Ho"]}
USAGE = {"stream_options": {"include_usage": True}}
PADDED = {"stream_options": {"include_obfuscation": True, "continuous_usage_stats": True}}

CALLS: list[tuple[str, str, Any, int]] = [
    ("listModels", "/v1/models", None, 200),
    ("getModels", "/oaiv1/getmodels", None, 200),
    ("retrieveModel", "/v1/models/gpt-4o-mini", None, 200),
    ("retrieveModel", "/models/org%2Ffake-1", None, 200),
    ("retrieveModel", "/v1/models/none", None, 404),
    ("getModelStatus", "/v1/models/org/fake-1/status", None, 200),
    ("getModelStatus", "/oaiv1/models/none/status", None, 404),
    ("listEngines", "/v1/engines", None, 200),
    ("retrieveEngine", "/v1/engines/org/fake-1", None, 200),
    ("retrieveEngine", "/v1/engines/none", None, 404),
    ("createEngineCompletion", "/v1/engines/org/fake-1/completions", {"prompt": "Hi"}, 200),
    ("createEngineCompletion", "/v1/engines/none/completions", {"prompt": "Hi"}, 404),
    ("createEngineChatCompletion", "/v1/engines/gpt-4o-mini/chat/completions", {"messages": HELLO}, 200),
    ("createCompletion", "/v1/completions", TEXT, 200),
    ("createCompletion", "/oaiv1/completions", {"model": SPEC.id}, 200),
    ("createCompletion", "/v1/completions", TEXT | WIDE_TEXT, 200),
    ("createCompletion", "/v1/completions", TEXT | {"n": 1, "best_of": 3}, 200),
    ("createCompletion", "/v1/completions", TEXT | {"n": 2, "best_of": 1}, 400),
    ("createChatCompletion", "/v1/chat/completions", CHAT, 200),
    ("createChatCompletion", "/chat/completions", CHAT | WIDE_CHAT, 200),
    ("createChatCompletion", "/v1/chat/completions", CHAT | {"foo": 1}, 400),
    ("createChatCompletion", "/v1/chat/completions", {"messages": HELLO}, 400),
    ("createChatCompletion", "/v1/chat/completions", CHAT | {"model": "none"}, 404),
    # Those of encoders are held against the contract where they are tested.
    ("createEmbedding", "/v1/embeddings", {"model": SPEC.id, "input": "Hi"}, 403),
    ("createEngineEmbedding", "/v1/engines/org/fake-1/embeddings", {"input": "Hi"}, 403),
    ("createEngineEmbedding", "/v1/engines/none/embeddings", {"input": "Hi"}, 404),
    ("createRerank", "/v1/rerank", {"model": SPEC.id, "query": "Hi", "documents": ["a"]}, 403),
    ("createRerankV2", "/v2/rerank", {"model": "none", "query": "Hi", "documents": ["a"]}, 404),
    ("createSearch", "/v1/engines/org/fake-1/search", {"query": "Hi", "documents": ["a"]}, 403),
    ("createEdit", "/v1/edits", {"model": SPEC.id, "instruction": "Hi"}, 200),
    ("createEngineEdit", "/v1/engines/org/fake-1/edits", {"instruction": "Hi"}, 200),
    ("createAnswer", "/v1/answers", {"model": SPEC.id}, 400),
    ("createClassification", "/v1/classifications", {"model": SPEC.id}, 400),
    ("createModeration", "/v1/moderations", {"input": "Hi"}, 404),
    ("getHealth", "/healthz", None, 200),
    ("getReadiness", "/readyz", None, 200),
]


@pytest.mark.parametrize(("operation", "path", "body", "status"), CALLS)
def test_a_reply_fits_the_contract(api: Served, operation: str, path: str, body: Any, status: int) -> None:
    reply = api.http.get(path) if body is None else api.http.post(path, json=body)
    assert reply.status_code == status
    assert_response_matches(
        operation,
        status,
        reply.content,
        content_type=reply.headers["content-type"],
        headers=dict(reply.headers),
    )


@pytest.mark.parametrize(
    ("operation", "path", "accept"),
    [
        ("getIndex", "/", "text/html"),
        ("getIndex", "/", "application/json"),
        ("getMetrics", "/metrics", "*/*"),
        ("getContract", "/openapi.yaml", "*/*"),
    ],
)
def test_a_page_fits_the_contract(api: Served, operation: str, path: str, accept: str) -> None:
    reply = api.http.get(path, headers={"accept": accept})
    kind = reply.headers["content-type"].partition(";")[0]
    assert_response_matches(operation, reply.status_code, reply.content, content_type=kind)


@pytest.mark.parametrize("options", [{}, USAGE, PADDED])
@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        ("chat", "/v1/chat/completions", CHAT),
        ("chat", "/v1/chat/completions", CHAT | WIDE_CHAT),
        ("completion", "/v1/completions", TEXT),
        ("completion", "/v1/completions", TEXT | WIDE_TEXT),
        ("completion", "/v1/completions", TEXT | {"suffix": "x", "echo": True}),
    ],
)
def test_a_stream_fits_the_contract(
    api: Served, kind: Literal["chat", "completion"], path: str, body: Any, options: Any
) -> None:
    reply = api.http.post(path, json=body | options | {"stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert assert_stream_matches(kind, reply.content)


@pytest.mark.parametrize(
    ("error", "status"),
    [(QueueFull("Full.", retry_after_s=1.5), 429), (Unavailable("No.", retry_after_s=2), 503)],
)
def test_a_refusal_of_the_engine_fits_the_contract(api: Served, error: Exception, status: int) -> None:
    api.pool.script = lambda _: [error]
    reply = api.chat(stream=True)
    assert reply.status_code == status
    headers = dict(reply.headers)
    assert "retry-after" in headers
    assert_response_matches("createChatCompletion", status, reply.content, headers=headers)


def test_an_unready_server_fits_the_contract(api: Served) -> None:
    api.pool.ready = False
    reply = api.http.get("/readyz")
    assert reply.status_code == 503
    assert_response_matches("getReadiness", 503, reply.content, headers=dict(reply.headers))


def test_a_late_failure_is_one_event_that_fits_the_contract(api: Served) -> None:
    api.pool.script = lambda _: [Started(1), Delta(0, "Hel", 1), EngineFailed("Gone.")]
    events = [line for line in api.chat(stream=True).text.split("\n\n") if line.startswith("data: ")]
    assert "[DONE]" not in events[-1]
    assert_chunk_matches("error", orjson.loads(events[-1].removeprefix("data: ")))
