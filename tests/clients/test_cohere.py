"""Cohere's SDK and LangChain's package for it, in an environment of their own, against /rerank."""

import pytest

from tests.clients import environments
from tests.clients.conftest import Server


@pytest.fixture(scope="module")
def results(server: Server) -> environments.Results:
    return environments.python_results("cohere", "cohere_examples", server.base_url)


def test_the_newer_client_ranks(results: environments.Results) -> None:
    assert results["newer"]["results"] == [[1, 1.0], [2, 0.5]]
    assert results["newer"]["id"].startswith("rerank-")
    assert results["newer_awaited"] == [1, 2, 0]


def test_the_older_client_gets_its_objects_back(results: environments.Results) -> None:
    assert results["older"] == [
        [1, "red rose", "Red Rose"],
        [2, "one rose", "One Rose"],
        [0, "green grass", "Green Grass"],
    ]


def test_refusals_are_its_own_errors(results: environments.Results) -> None:
    assert results["refused"].startswith("You are not allowed to rank with this model")


def test_langchain_keeps_the_best_documents(results: environments.Results) -> None:
    assert results["langchain"] == [["red rose", 1.0]]
