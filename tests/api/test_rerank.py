"""POST /rerank against a pool that plays scripts."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ContextLengthExceeded, EngineFailed, QueueFull
from llmatic.core.types import EncoderInfo, Priority
from tests.api.conftest import Serve, Served
from tests.contract_check import assert_response_matches
from tests.fakes import ENCODER, INFO, SPEC, Gate

RANKER = EncoderInfo("rank", 1)
QUERY = "red rose"
DOCUMENTS = ["green grass", "red rose", "one rose"]
WAIT_S = 10


@pytest.fixture
def ranker(api: Served) -> Served:
    """The server, whose one model ranks."""
    api.pool.encoders[SPEC.id] = RANKER
    return api


def post(served: Served, path: str = "/v1/rerank", **fields: Any) -> httpx2.Response:
    """The reply to a plain request with these fields; `...` leaves one out."""
    body = {"model": SPEC.id, "query": QUERY, "documents": DOCUMENTS, **fields}
    reply = served.http.post(path, json={key: value for key, value in body.items() if value is not ...})
    operation = "createRerankV2" if path.startswith("/v2") else "createRerank"
    assert_response_matches(operation, reply.status_code, reply.content, headers=dict(reply.headers.items()))
    return reply


def tei(served: Served, **fields: Any) -> httpx2.Response:
    return post(served, "/rerank", **({"documents": ..., "texts": DOCUMENTS, "model": ...} | fields))


def order(reply: httpx2.Response) -> list[int]:
    assert reply.status_code == 200, reply.text
    return [result["index"] for result in reply.json()["results"]]


def refused(reply: httpx2.Response, status: int = 400) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    error: dict[str, Any] = reply.json()["error"]
    return error


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/oaiv1/rerank", "/v2/rerank"])
def test_a_reply_lists_the_documents_by_relevance(ranker: Served, path: str) -> None:
    reply = post(ranker, path)
    body = reply.json()
    assert list(body) == ["id", "object", "model", "results", "usage"]
    assert body["object"] == "list"
    assert body["model"] == SPEC.id
    assert body["results"] == [
        {"index": 1, "relevance_score": 1.0},
        {"index": 2, "relevance_score": 0.5},
        {"index": 0, "relevance_score": 0.0},
    ]
    assert body["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    assert reply.headers["openai-model"] == "org/fake-1"


def test_a_model_that_embeds_ranks_too(api: Served) -> None:
    api.pool.encoders[SPEC.id] = ENCODER
    reply = post(api)
    assert order(reply) == [1, 2, 0]
    assert reply.json()["usage"]["prompt_tokens"] == 2 + 6


def test_equal_relevance_keeps_the_order_of_the_request(ranker: Served) -> None:
    assert order(post(ranker, documents=["x", "rose", "y", "rose", "z"])) == [1, 3, 0, 2, 4]


@pytest.mark.parametrize(("top_n", "n_results"), [(1, 1), (2, 2), (3, 3), (1000, 3), (None, 3), (2.0, 2)])
def test_top_n_are_returned(ranker: Served, top_n: object, n_results: int) -> None:
    assert order(post(ranker, top_n=top_n)) == [1, 2, 0][:n_results]


def test_documents_may_be_objects_and_come_back_as_they_were(ranker: Served) -> None:
    documents = ["green", {"text": "red rose", "title": "Garden", "page": 3}]
    reply = post(ranker, documents=documents, return_documents=True, rank_fields=["text"])
    assert [result["document"] for result in reply.json()["results"]] == [documents[1], {"text": "green"}]
    assert ranker.pool.encode_requests[0].texts == ("green", "red rose")


@pytest.mark.parametrize("value", [False, None, ...])
def test_documents_stay_out_of_the_reply_unless_asked_for(ranker: Served, value: object) -> None:
    assert all("document" not in item for item in post(ranker, return_documents=value).json()["results"])


def test_texts_are_answered_as_text_embeddings_inference_does(ranker: Served) -> None:
    assert tei(ranker).json() == [
        {"index": 1, "score": 1.0},
        {"index": 2, "score": 0.5},
        {"index": 0, "score": 0.0},
    ]
    full = tei(
        ranker,
        return_text=True,
        raw_scores=False,
        truncate=True,
        truncation_direction="Right",
        top_n=1,
        model="gpt-4o-mini",
    )
    assert full.json() == [{"index": 1, "score": 1.0, "text": "red rose"}]
    assert ranker.pool.encode_requests[1].too_long == "truncate"
    assert ranker.pool.encode_requests[1].param == "texts"


def test_without_a_model_the_first_that_ranks_is_taken_for_texts(serve: Serve) -> None:
    names = ("writer", "embedder", "ranker")
    served = serve({name: ModelSpec(id=name, source="none", engine="fake") for name in names})
    served.pool.encoders |= {"embedder": ENCODER, "ranker": RANKER}
    assert tei(served).status_code == 200
    del served.pool.encoders["ranker"]
    assert tei(served).status_code == 200
    assert served.pool.model_ids == ["ranker", "embedder", "embedder"]
    served.pool.encoders.clear()
    error = refused(tei(served))
    assert (error["param"], error["message"][:21]) == ("model", "No model that embeds ")


@pytest.mark.parametrize(
    ("fields", "too_long"),
    [
        ({}, None),
        ({"truncate": True}, "truncate"),
        ({"truncate": "END"}, "truncate"),
        ({"truncate": False}, "refuse"),
        ({"max_tokens_per_doc": INFO.n_context}, "truncate"),
        ({"max_tokens_per_doc": 10**6, "truncate": True}, "truncate"),
    ],
)
def test_what_is_too_long_is_cut_off_on_request(
    ranker: Served, fields: dict[str, Any], too_long: str | None
) -> None:
    post(ranker, **fields)
    assert ranker.pool.encode_requests[0].too_long == too_long


def test_tiers_are_served_and_named(ranker: Served) -> None:
    assert post(ranker, service_tier="flex").json()["service_tier"] == "flex"
    assert ranker.pool.encode_requests[0].priority is Priority.FLEX


def test_tokens_are_counted(ranker: Served) -> None:
    def counted() -> float:
        line = f'llmatic_tokens_total{{kind="prompt",model="{SPEC.id}"}} '
        (value,) = re.findall(re.escape(line) + "(.*)", ranker.http.get("/metrics").text)
        return float(value)

    post(ranker)
    before = counted()
    post(ranker)
    assert counted() - before == 12


def test_a_thousand_documents_in_every_script(ranker: Served) -> None:
    documents = [
        f"{word} {k} 🌹" for k in range(375) for word in ("rose", "роза", "薔薇", "a\u0301\u202e\x00")
    ]
    reply = post(ranker, documents=documents, query="薔薇 🌹", return_documents=True)
    assert len(order(reply)) == 1500
    best = reply.json()["results"][0]
    assert best == {"index": 2, "relevance_score": 1.0, "document": {"text": "薔薇 0 🌹"}}


def test_documents_without_text_have_no_relevance(ranker: Served) -> None:
    reply = post(ranker, documents=["", " \t", "rose", {"text": ""}])
    assert order(reply) == [2, 0, 1, 3]
    assert [item["relevance_score"] for item in reply.json()["results"]] == [0.5, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("fields", "param", "code", "message"),
    [
        ({"model": ...}, None, None, "you must provide a model parameter"),
        ({"model": None}, None, None, "you must provide a model parameter"),
        ({"query": ...}, "query", "missing_required_parameter", "Missing required parameter: 'query'."),
        ({"query": ""}, "query", "empty_string", "Invalid 'query': empty string."),
        ({"query": ["a"]}, "query", "invalid_type", "expected a string, but got an array"),
        ({"query": {"text": "a"}}, "query", "invalid_type", "expected a string, but got an object"),
        ({"documents": ...}, "documents", "missing_required_parameter", "parameter: 'documents'"),
        ({"documents": []}, "documents", "empty_array", "Invalid 'documents': empty array."),
        ({"documents": "a"}, "documents", "invalid_type", "an array of strings or objects, but"),
        ({"documents": ["a", 3]}, "documents[1]", "invalid_type", "expected one of a string or object"),
        ({"documents": ["a", None]}, "documents[1]", "invalid_type", "but got null instead"),
        ({"documents": [{"title": "a"}]}, "documents[0].text", "missing_required_parameter", "Missing"),
        ({"documents": [{"text": 3}]}, "documents[0].text", "invalid_type", "expected a string"),
        ({"documents": [{"image": "http://x"}]}, "documents[0].image", "unsupported_parameter", "Only text"),
        ({"documents": ["a"] * 10001}, "documents", "array_above_max_length", "maximum length 10000"),
        ({"top_n": 0}, "top_n", "integer_below_min_value", ">= 1, but got 0"),
        ({"top_n": -1}, "top_n", "integer_below_min_value", ">= 1, but got -1"),
        ({"top_n": "3"}, "top_n", "invalid_type", "expected an integer, but got a string"),
        ({"top_n": 1.5}, "top_n", "invalid_type", "expected an integer, but got a decimal"),
        ({"top_n": True}, "top_n", "invalid_type", "expected an integer, but got a boolean"),
        ({"return_documents": "yes"}, "return_documents", "invalid_type", "expected a boolean"),
        ({"rank_fields": ["title"]}, "rank_fields[0]", "invalid_value", "Supported values are: 'text'"),
        ({"max_chunks_per_doc": 10}, "max_chunks_per_doc", "unsupported_parameter", "send the chunks as"),
        ({"max_tokens_per_doc": 512}, "max_tokens_per_doc", "unsupported_value", "expected a value >= 4096"),
        ({"max_tokens_per_doc": 5000, "truncate": False}, "truncate", None, "'truncate' forbids"),
        ({"truncate": "START"}, "truncate", "unsupported_value", "Only the end"),
        ({"return_text": True}, "return_text", None, "only allowed together with 'texts'"),
        ({"raw_scores": False}, "raw_scores", None, "only allowed together with 'texts'"),
        ({"texts": ["a"]}, "texts", None, "Send either 'documents' or 'texts', but not both."),
        ({"foo": 1}, None, None, "Unrecognized request argument supplied: foo"),
    ],
)
def test_mistakes_are_named(
    ranker: Served, fields: dict[str, Any], param: str | None, code: str | None, message: str
) -> None:
    error = refused(post(ranker, **fields))
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert message in error["message"]
    assert ranker.pool.encode_requests == []


@pytest.mark.parametrize(
    ("fields", "param", "code", "message"),
    [
        ({"texts": []}, "texts", "empty_array", "Invalid 'texts': empty array."),
        ({"texts": [{"text": "a"}]}, "texts[0]", "invalid_type", "expected a string, but got an object"),
        ({"raw_scores": True}, "raw_scores", "unsupported_value", "Scores are always from 0 to 1."),
        ({"truncation_direction": "Left"}, "truncation_direction", "unsupported_value", "Only the end"),
        ({"return_documents": True}, "return_documents", None, "only allowed together with 'documents'"),
        ({"rank_fields": ["text"]}, "rank_fields", None, "only allowed together with 'documents'"),
    ],
)
def test_mistakes_of_the_other_shape_are_named(
    ranker: Served, fields: dict[str, Any], param: str, code: str | None, message: str
) -> None:
    error = refused(tei(ranker, **fields))
    assert (error["param"], error["code"]) == (param, code)
    assert message in error["message"]


def test_a_model_that_nobody_knows_is_not_found(api: Served) -> None:
    assert refused(post(api, model="nope"), 404)["code"] == "model_not_found"


@pytest.mark.parametrize("encoder", [None, EncoderInfo("classify", 2, labels=("a", "b"))])
def test_models_of_other_kinds_are_refused_in_openais_words(api: Served, encoder: EncoderInfo | None) -> None:
    if encoder is not None:
        api.pool.encoders[SPEC.id] = encoder
    error = refused(post(api), 403)
    message = "You are not allowed to rank with this model: 'org/fake-1' ranks nothing."
    assert (error["message"], error["type"]) == (message, "invalid_request_error")
    assert api.pool.encode_requests == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ContextLengthExceeded("too long", param="documents"), 400),
        (QueueFull("full", retry_after_s=3), 429),
        (EngineFailed("gone"), 503),
    ],
)
@pytest.mark.parametrize("encoder", [RANKER, ENCODER])
def test_failures_of_the_engine_keep_their_status(
    api: Served, encoder: EncoderInfo, error: Exception, status: int
) -> None:
    api.pool.encoders[SPEC.id] = encoder
    api.pool.rows = lambda _: [error]
    refused(post(api), status)


@pytest.mark.anyio
@pytest.mark.parametrize("encoder", [RANKER, ENCODER])
async def test_hanging_up_ends_the_work(api: Served, encoder: EncoderInfo) -> None:
    api.pool.encoders[SPEC.id] = encoder
    gate = Gate()
    api.pool.rows = lambda _: [gate]
    async with httpx2.AsyncClient(base_url=api.url, timeout=WAIT_S) as client:
        body = {"model": SPEC.id, "query": QUERY, "documents": DOCUMENTS}
        asking = asyncio.create_task(client.post("/v1/rerank", json=body))
        assert await asyncio.to_thread(gate.reached.wait, WAIT_S)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert await asyncio.to_thread(api.pool.cancelled.wait, WAIT_S)
