"""The OpenAI Agents SDK over chat completions and over responses, in an environment of its own."""

import pytest

from tests.clients import environments, shapes
from tests.clients.conftest import Server

ANSWER = "It is 21 degrees and sunny in Paris."
RESULT = "sunny, 21 degrees"


@pytest.fixture(scope="module", params=["openai_agents_examples", "openai_agents_responses"])
def results(server: Server, request: pytest.FixtureRequest) -> environments.Results:
    return environments.python_results("agents", request.param, server.base_url)


def test_an_agent_answers_in_text(results: environments.Results) -> None:
    assert results["text"] == "This is a test"


def test_a_tool_runs_and_its_result_is_told(results: environments.Results) -> None:
    assert results["tool"] == {
        "calls": ["Paris"],
        "output": ANSWER,
        "items": ["tool_call_item", "tool_call_output_item", "message_output_item"],
        "requests": 2,
    }


def test_a_tool_runs_within_a_stream(results: environments.Results) -> None:
    streamed = results["tool_streamed"]
    assert streamed["calls"] == ["Paris"]
    assert streamed["items"] == ["tool_called", "tool_output", "message_output_created"]
    assert len(streamed["pieces"]) > 1
    assert "".join(streamed["pieces"]) == streamed["output"] == ANSWER


def test_a_required_tool_is_called_whatever_was_asked(results: environments.Results) -> None:
    assert results["required_tool"] == {"output": RESULT, "n_calls": 1}


def test_a_named_tool_is_called(results: environments.Results) -> None:
    assert results["named_tool"] == {"output": RESULT, "calls": ["Paris"]}


def test_tool_choice_none_gives_text(results: environments.Results) -> None:
    assert results["no_tool"]["calls"] == []
    assert results["no_tool"]["output"]
    assert "<tool_call>" not in results["no_tool"]["output"]


def test_parallel_calls_can_be_had_or_not(results: environments.Results) -> None:
    assert results["both_at_once"] == ["Paris", "Rome"]
    assert results["one_at_a_time"] == ["Paris"]


def test_a_named_handoff_hands_over(results: environments.Results) -> None:
    assert results["handoff"]["last"] == "Greeter"
    assert results["handoff"]["output"]


def test_typed_output(results: environments.Results) -> None:
    assert results["output"] == {"name": "Anna", "age": 31}


def test_nested_typed_output(results: environments.Results) -> None:
    shapes.assert_contact(results["nested_output"])
    assert 0 <= results["nested_output"]["age"] <= 150


def test_an_answer_cut_off_is_a_models_misbehaviour(results: environments.Results) -> None:
    assert results["cut_off"] == "ModelBehaviorError"


def test_a_schema_that_cannot_be_enforced_is_refused(results: environments.Results) -> None:
    assert results["refused"]["type"] == "invalid_request_error"
    assert results["refused"]["param"].startswith(("response_format", "text.format"))
