"""Answers, classifications and edits on the embedded model: its tokens, its context, its grammar."""

import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.clients.conftest import Server

TINY = "llmatic-tiny"
WORDS = ["river", "city", "mountain", "puppy", "house", "garden", "letter", "number", "water", "stone"]
LABELS = ["Pos", "Positive", "Positive news", "A|b.*", "[x]{2}/\\", "日本語", "Ñandú", 'It\'s "5"']


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.base_url, timeout=60) as client:
        yield client


def ask(http: httpx2.Client, path: str, **fields: Any) -> dict[str, Any]:
    reply = http.post(path, json={"model": TINY, **fields})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def answer(http: httpx2.Client, documents: list[str], **fields: Any) -> dict[str, Any]:
    return ask(
        http,
        "/answers",
        **{
            "documents": documents,
            "question": "Who is happy?",
            "examples": [["How long?", "78 years."]],
            "examples_context": "It is 78 years long.",
            "search_model": "fake-embedder",
            **fields,
        },
    )


def classify(http: httpx2.Client, labels: list[str], **fields: Any) -> dict[str, Any]:
    examples = [[f"text number {k}", label] for k, label in enumerate(labels)]
    return ask(
        http,
        "/classifications",
        **{"query": "What is this?", "examples": examples, "search_model": "fake-embedder", **fields},
    )


def test_whatever_is_drawn_is_one_of_the_labels(http: httpx2.Client) -> None:
    normal = {" ".join(label.split()).capitalize() for label in LABELS}
    found = [classify(http, LABELS, temperature=2, seed=seed, logprobs=0) for seed in range(20)]
    drawn = {reply["label"] for reply in found}
    assert drawn <= normal
    assert len(drawn) > 1
    for reply in found:
        (choice,) = reply["completion"]["choices"]
        assert (choice["text"], choice["finish_reason"]) == (f" {reply['label']}", "stop")


def test_the_bias_decides_between_labels(http: httpx2.Client) -> None:
    chosen = classify(http, ["1", "2"], logprobs=5)
    tokens = chosen["completion"]["choices"][0]["logprobs"]["tokens"]
    assert "".join(tokens) == f" {chosen['label']}"
    other = {"1": "2", "2": "1"}[chosen["label"]]
    banned = next(
        token
        for token in range(1536)
        if ask(http, "/completions", prompt=[token], max_tokens=0, echo=True)["choices"][0]["text"]
        == chosen["label"]
    )
    assert classify(http, ["1", "2"], logit_bias={str(banned): -100})["label"] == other


def test_two_hundred_labels_are_held_too(http: httpx2.Client) -> None:
    labels = [f"{WORDS[k % 10]} {k}" for k in range(200)]
    reply = classify(http, labels, max_examples=3, temperature=2)
    assert reply["label"].lower() in labels
    assert len(reply["selected_examples"]) == 3


def test_the_context_is_filled_and_never_overflows(http: httpx2.Client) -> None:
    draw = random.Random(1)
    documents = [" ".join(draw.choices(WORDS, k=40)) for _ in range(150)]
    reply = answer(http, documents, max_tokens=20, expand=["completion"])
    usage = reply["completion"]["usage"]
    n_free = 2048 - 20 - usage["prompt_tokens"]
    n_per_document = usage["prompt_tokens"] / len(reply["selected_documents"])
    assert 0 <= n_free <= 1.5 * n_per_document
    # As one request says it: what was tried before has cost nothing.
    again = answer(http, documents, max_tokens=20, expand=["completion"])
    assert again["selected_documents"] == reply["selected_documents"]


def test_what_is_too_long_by_itself_is_refused(http: httpx2.Client) -> None:
    long = " ".join(WORDS * 1000)
    for path, fields in (
        ("/answers", {"question": long, "examples": [["q", "a"]], "examples_context": "", "documents": []}),
        ("/classifications", {"query": long, "examples": [["x", "a"], ["y", "b"]]}),
        ("/edits", {"input": long, "instruction": "Repeat the text."}),
    ):
        search = {} if path == "/edits" else {"search_model": "fake-embedder"}
        reply = http.post(path, json={"model": TINY, **fields, **search})
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["code"] == "context_length_exceeded"


def test_meaning_and_not_words_selects_the_document(http: httpx2.Client, embedder: str) -> None:
    documents = ["The stock market fell.", "A young dog wagged its tail with joy.", "Bread needs yeast."]
    reply = answer(http, documents, question="Which puppy is glad?", search_model=embedder, max_rerank=1)
    assert [item["document"] for item in reply["selected_documents"]] == [1]
    assert reply["search_model"] == "all-MiniLM-L6-v2"


def test_texts_too_long_for_the_search_model_are_ranked_by_their_beginnings(
    http: httpx2.Client, embedder: str
) -> None:
    documents = ["Bread needs yeast. " * 40, "A young dog wagged its tail. " * 60, "The market fell. " * 40]
    reply = answer(http, documents, question="Is the puppy glad?", search_model=embedder, max_rerank=1)
    assert [item["document"] for item in reply["selected_documents"]] == [1]


def test_edits_are_alike_with_an_equal_seed(http: httpx2.Client) -> None:
    wanted = {"input": "apple banana", "instruction": "Repeat the text.", "n": 4, "temperature": 1.5}
    once = [choice["text"] for choice in ask(http, "/edits", **wanted, seed=3)["choices"]]
    again = [choice["text"] for choice in ask(http, "/edits", **wanted, seed=3)["choices"]]
    assert once == again
    assert len(set(once)) > 1
