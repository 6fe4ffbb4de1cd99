"""Pydantic AI's agents over chat completions and over responses, in an environment of their own."""

import pytest

from tests.clients import environments, shapes
from tests.clients.conftest import Server

ANSWER = "It is 21 degrees and sunny in Paris."


@pytest.fixture(scope="module", params=["pydantic_ai_examples", "pydantic_ai_responses"])
def results(server: Server, request: pytest.FixtureRequest) -> environments.Results:
    return environments.python_results("agents", request.param, server.base_url)


def test_an_agent_answers_in_text(results: environments.Results) -> None:
    assert results["text"] == "This is a test"


def test_output_comes_by_a_required_tool(results: environments.Results) -> None:
    shapes.assert_person(results["output_by_tool"])


def test_output_comes_by_a_schema(results: environments.Results) -> None:
    assert results["output_by_schema"] == {"name": "Anna", "age": 31}


@pytest.mark.parametrize("way", ["nested_by_tool", "nested_by_schema"])
def test_nested_output(results: environments.Results, way: str) -> None:
    shapes.assert_contact(results[way])
    assert isinstance(results[way]["is_friend"], bool)


def test_one_of_two_outputs_is_chosen(results: environments.Results) -> None:
    found = results["one_of_two"]
    assert found["class"] in ("Person", "Address")
    assert len(found["output"]) == 2


def test_a_tool_runs_and_its_result_is_told(results: environments.Results) -> None:
    assert results["tool"] == {"calls": ["Paris"], "output": ANSWER, "requests": 2}


def test_a_tool_runs_within_a_stream(results: environments.Results) -> None:
    streamed = results["tool_streamed"]
    assert streamed["calls"] == ["Paris"]
    assert len(streamed["pieces"]) > 1
    assert "".join(streamed["pieces"]) == ANSWER


def test_output_is_streamed_in_parts(results: environments.Results) -> None:
    parts = results["output_streamed"]
    assert parts
    assert parts[-1] == results["output_by_tool"]


def test_an_answer_cut_off_is_told(results: environments.Results) -> None:
    name, words = results["cut_off"]
    assert name == "OutputTokenLimitExceeded"
    assert "limit" in words


def test_a_schema_that_cannot_be_enforced_is_refused(results: environments.Results) -> None:
    refused = results["refused"]
    assert refused["status"] == 400
    assert refused["body"]["type"] == "invalid_request_error"
    assert refused["body"]["param"].startswith(("response_format", "text.format"))
