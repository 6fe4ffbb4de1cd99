"""`file` of /engines/{engine_id}/search, /answers and /classifications."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from llmatic.core.types import TextPrompt
from llmatic.services import file_search
from tests.api import legacy
from tests.api.conftest import Serve, Served
from tests.api.legacy import FINDER, ask, error, says
from tests.fakes import SPEC

SEARCH_PATH = f"/v1/engines/{quote(FINDER.id)}/search"
PUPPIES = [
    {"text": "puppy A is happy", "metadata": "mood of A"},
    {"text": "puppy B is sad", "metadata": {"of": "B"}},
    {"text": "the weather is fine"},
]
MOODS = [
    {"text": "a happy moment", "label": "positive", "metadata": 1},
    {"text": "it rains and rains", "label": "NEGATIVE"},
    {"text": "the sky", "label": "neutral"},
]


@pytest.fixture(scope="module")
def both(serve: Serve) -> Served:
    return legacy.start(serve)


@pytest.fixture
def api(both: Served) -> Served:
    return legacy.as_new(both)


def uploaded(api: Served, purpose: str, lines: Sequence[object]) -> dict[str, Any]:
    data = "\n".join(map(json.dumps, lines))
    reply = api.http.post("/v1/files", data={"purpose": purpose}, files={"file": ("a.jsonl", data.encode())})
    found: dict[str, Any] = reply.json()
    return found


def reply_of(api: Served, operation: str, body: dict[str, Any]) -> dict[str, Any]:
    path = SEARCH_PATH if operation == "createSearch" else None
    reply = ask(api, operation, body, path)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def prompt(api: Served) -> str:
    written = api.pool.requests[-1].prompt
    assert isinstance(written, TextPrompt)
    return written.text


def test_search_returns_the_files_best_texts_best_first(api: Served) -> None:
    file = uploaded(api, "search", PUPPIES)
    body = {"file": file["id"], "query": "happy puppy", "max_rerank": 2, "return_metadata": True}
    reply = reply_of(api, "createSearch", body)
    assert [(item["document"], item["text"], item["metadata"]) for item in reply["data"]] == [
        (0, "puppy A is happy", "mood of A"),
        (1, "puppy B is sad", {"of": "B"}),
    ]
    assert reply["data"][0]["score"] > reply["data"][1]["score"]
    assert all(len(request.texts) <= 2 for request in api.pool.encode_requests)
    plain = reply_of(api, "createSearch", {"file": file["id"], "query": "happy puppy"})["data"]
    assert len(plain) == 3
    assert all("metadata" not in item for item in plain)


def test_answers_are_drawn_from_the_file(api: Served) -> None:
    api.pool.script = says(" puppy A.")
    file = uploaded(api, "answers", PUPPIES)
    body = {
        "model": SPEC.id,
        "question": "which puppy is happy?",
        "examples": [["What is blue?", "The sky."]],
        "examples_context": "The sky is blue.",
        "file": file["id"],
        "max_rerank": 1,
        "return_metadata": True,
    }
    reply = reply_of(api, "createAnswer", body)
    [found] = reply["selected_documents"]
    assert (found["document"], found["text"], found["metadata"]) == (0, "puppy A is happy", "mood of A")
    assert "puppy A is happy" in prompt(api)
    assert "puppy B" not in prompt(api)
    assert reply["file"] == file["id"]
    assert reply_of(api, "createAnswer", body | {"expand": ["file"]})["file"] == file


def test_labels_are_those_of_the_file(api: Served) -> None:
    api.pool.script = says(" Negative\n")
    file = uploaded(api, "classifications", MOODS)
    body = {"model": SPEC.id, "query": "it rains now", "file": file["id"], "max_examples": 1}
    reply = reply_of(api, "createClassification", body | {"return_metadata": True})
    assert reply["label"] == "Negative"
    [found] = reply["selected_examples"]
    assert (found["document"], found["label"], found["metadata"]) == (1, "Negative", None)
    assert "categories: Positive, Negative, Neutral." in prompt(api)
    assert reply["file"] == file["id"]


def test_examples_of_other_labels_are_left_out_before_they_are_counted(api: Served) -> None:
    api.pool.script = says(" Positive\n")
    file = uploaded(api, "classifications", MOODS)
    body = {
        "model": SPEC.id,
        "query": "it rains now",
        "file": file["id"],
        "labels": ["Positive", "Neutral"],
        "max_examples": 2,
    }
    found = reply_of(api, "createClassification", body)["selected_examples"]
    assert {item["document"] for item in found} == {0, 2}


@pytest.mark.parametrize(
    ("file", "status", "words"),
    [
        (("search", PUPPIES), 200, ""),
        (("answers", PUPPIES), 400, "was uploaded with the purpose 'answers'; 'search' is needed here."),
        ("file-abc", 404, "No such File object: file-abc"),
        ("", 400, "Invalid 'file': empty string."),
        (5, 400, "Invalid type for 'file'"),
    ],
)
def test_wrong_files_are_named(api: Served, file: Any, status: int, words: str) -> None:
    file_id = uploaded(api, *file)["id"] if isinstance(file, tuple) else file
    reply = ask(api, "createSearch", {"file": file_id, "query": "puppy"}, SEARCH_PATH)
    assert reply.status_code == status
    if words:
        assert words in error(reply)[1]
        assert error(reply)[2] == "file"


def test_a_file_that_is_too_large_is_refused(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_search, "MAX_FILE_BYTES", 10)
    file = uploaded(api, "search", PUPPIES)
    reply = ask(api, "createSearch", {"file": file["id"], "query": "puppy"}, SEARCH_PATH)
    assert "at most 10 can be searched" in error(reply)[1]


def test_a_file_without_labels_is_refused(api: Served) -> None:
    file = uploaded(api, "classifications", [{"text": "a", "label": " "}])
    body = {"model": SPEC.id, "query": "a", "file": file["id"]}
    assert error(ask(api, "createClassification", body))[1] == "No line of the file has a label with text."
