"""POST /engines/{engine_id}/search against a pool that plays scripts."""

from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from llmatic.core.errors import ContextLengthExceeded
from llmatic.core.types import EncoderInfo
from tests.api.conftest import Served
from tests.contract_check import assert_response_matches
from tests.fakes import ENCODER, SPEC

QUERY = "red rose"
DOCUMENTS = ["green grass", "red rose", "one rose"]
PATH = f"/v1/engines/{SPEC.id}/search"


@pytest.fixture
def ranker(api: Served) -> Served:
    """The server, whose one model ranks."""
    api.pool.encoders[SPEC.id] = EncoderInfo("rank", 1)
    return api


def post(served: Served, path: str = PATH, **fields: Any) -> httpx2.Response:
    body = {"query": QUERY, "documents": DOCUMENTS, **fields}
    reply = served.http.post(path, json={key: value for key, value in body.items() if value is not ...})
    assert_response_matches(
        "createSearch", reply.status_code, reply.content, headers=dict(reply.headers.items())
    )
    return reply


def refused(reply: httpx2.Response, status: int = 400) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    error: dict[str, Any] = reply.json()["error"]
    return error


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        f"/engines/{SPEC.id}/search",
        f"/oaiv1/engines/{quote(SPEC.id, safe='')}/search",
        "/v1/engines/gpt-4o-mini/search",
    ],
)
def test_every_document_is_scored_in_the_order_of_the_request(ranker: Served, path: str) -> None:
    reply = post(ranker, path)
    assert reply.json() == {
        "object": "list",
        "model": SPEC.id,
        "data": [
            {"object": "search_result", "document": 0, "score": 0.0},
            {"object": "search_result", "document": 1, "score": 300.0},
            {"object": "search_result", "document": 2, "score": 216.667},
        ],
    }
    assert reply.headers["openai-model"] == "org/fake-1"


def test_a_model_that_embeds_searches_too(api: Served) -> None:
    api.pool.encoders[SPEC.id] = ENCODER
    green, red, one = (item["score"] for item in post(api).json()["data"])
    assert green < one < red == 300.0


def test_what_only_files_have_changes_nothing(ranker: Served) -> None:
    fields: dict[str, Any] = {
        "max_rerank": 1,
        "return_metadata": True,
        "user": "me",
        "file": None,
        "model": "whatever",
    }
    assert post(ranker, **fields).json() == post(ranker).json()


def test_documents_without_text_score_nothing(ranker: Served) -> None:
    scores = [item["score"] for item in post(ranker, documents=["", "  ", "rose"]).json()["data"]]
    assert scores == [0.0, 0.0, 216.667]


def test_200_documents_are_scored_and_no_more(ranker: Served) -> None:
    assert len(post(ranker, documents=["rose"] * 200).json()["data"]) == 200
    error = refused(post(ranker, documents=["rose"] * 201))
    assert (error["param"], error["code"]) == ("documents", "array_above_max_length")


@pytest.mark.parametrize(
    ("fields", "param", "code", "message"),
    [
        ({"query": ...}, "query", "missing_required_parameter", "Missing required parameter: 'query'."),
        ({"query": ""}, "query", "empty_string", "Invalid 'query': empty string."),
        ({"documents": ...}, "documents", "missing_required_parameter", "parameter: 'documents'."),
        ({"documents": []}, "documents", "empty_array", "Invalid 'documents': empty array."),
        ({"documents": ["a", 1]}, "documents[1]", "invalid_type", "expected a string, but got an integer"),
        ({"documents": "a"}, "documents", "invalid_type", "expected an array of strings"),
        ({"file": "file-1"}, "file", None, "Only one of 'documents' and 'file' can be given."),
        ({"max_rerank": 0}, "max_rerank", "integer_below_min_value", ">= 1, but got 0"),
        ({"return_metadata": 1}, "return_metadata", "invalid_type", "expected a boolean"),
        ({"top_n": 1}, None, None, "Unrecognized request argument supplied: top_n"),
    ],
)
def test_mistakes_are_named(
    ranker: Served, fields: dict[str, Any], param: str | None, code: str | None, message: str
) -> None:
    error = refused(post(ranker, **fields))
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert message in error["message"]
    assert ranker.pool.encode_requests == []


def test_engines_that_cannot_search_are_refused(api: Served) -> None:
    assert refused(post(api, "/v1/engines/davinci/search"), 404)["code"] == "model_not_found"
    assert "not allowed to rank with this model" in refused(post(api), 403)["message"]


def test_a_document_too_long_is_a_400(ranker: Served) -> None:
    ranker.pool.rows = lambda _: [ContextLengthExceeded("too long", param="documents")]
    assert refused(post(ranker))["code"] == "context_length_exceeded"


def test_getting_is_not_searching(api: Served) -> None:
    assert api.http.get(PATH).status_code == 405
