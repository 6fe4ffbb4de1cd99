"""openai 0.25, the last that knew answers, classifications and search, in an environment of its own."""

import pytest

from tests.clients import environments
from tests.clients.conftest import Server


@pytest.fixture(scope="module")
def results(server: Server) -> environments.Results:
    return environments.python_results("openai-0.25", "openai_025", server.base_url)


def test_an_answer_is_what_the_model_wrote(results: environments.Results) -> None:
    answer = results["answer"]
    assert (answer["object"], answer["model"]) == ("answer", "llmatic-tiny")
    assert answer["search_model"] == "fake-embedder"
    assert answer["completion"].startswith("cmpl-")
    assert [sorted(item) for item in answer["selected_documents"]] == [
        ["document", "object", "score", "text"]
    ] * 2
    (text,) = answer["answers"]
    assert text == text.strip() != ""


def test_an_expanded_answer_has_its_completion(results: environments.Results) -> None:
    expanded = results["answer_expanded"]
    assert expanded["tokens"] == expanded["texts"]
    assert expanded["answers"] == [text.strip() for text in expanded["texts"]]
    assert expanded["prompt"].endswith("Q: which puppy is happy?\nA:")


def test_a_classification_has_one_of_the_labels(results: environments.Results) -> None:
    found = results["classification"]
    assert found["label"] in ("Positive", "Negative", "Neutral")
    assert sorted(item["document"] for item in found["selected_examples"]) == [0, 1, 2]
    assert {item["label"] for item in found["selected_examples"]} == {"Positive", "Negative"}


def test_the_default_search_model_is_one_that_is_there(results: environments.Results) -> None:
    model, label = results["classification_by_the_default_search_model"]
    assert model in ("all-MiniLM-L6-v2", "fake-embedder")
    assert label in ("Positive", "Negative", "Neutral")


def test_a_file_that_is_not_there_is_named(results: environments.Results) -> None:
    assert results["missing_file"] == [404, "file"]


def test_edits_are_made(results: environments.Results) -> None:
    edit = results["edit"]
    assert edit["texts"] == ["hello world"] * 2
    assert edit["usage"]["completion_tokens"] > 0


def test_an_engine_searches(results: environments.Results) -> None:
    found = dict(results["search_by_engine"])
    assert list(found) == [0, 1, 2]
    assert max(found, key=lambda document: found[document]) == 0
