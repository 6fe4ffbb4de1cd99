"""The npm package @anthropic-ai/sdk on Node, against /messages."""

import pytest

from tests.clients import environments
from tests.clients.conftest import Server


@pytest.fixture(scope="module")
def results(server: Server) -> environments.Results:
    return environments.node_results("anthropic_examples", server.base_url)


def test_whole_and_streamed_say_the_same(results: environments.Results) -> None:
    text, reason, n_tokens = results["created"]
    assert "this is a test" in text.lower()
    assert results["streamed"] == [text, reason, text]
    assert results["counted"] == n_tokens


def test_tools_are_used_and_answered(results: environments.Results) -> None:
    found = results["called"]
    assert found["reason"] == "tool_use"
    assert ["city"] in found["inputs"]
    assert found["answer"] == "message"


def test_refusals_and_pages(results: environments.Results) -> None:
    assert results["refused"] == ["NotFoundError", 404, "not_found_error"]
    assert {"llmatic-tiny", "thinker"} <= set(results["listed"])
    assert len(results["listed"]) == len(set(results["listed"]))
