"""instructor's ways of extracting models, in its own environment (it needs an older openai)."""

import pytest

from tests.clients import environments, shapes
from tests.clients.conftest import Server

ANNA = {"name": "Anna", "age": 31}


@pytest.fixture(scope="module")
def results(server: Server) -> environments.Results:
    return environments.python_results("instructor", "instructor_examples", server.base_url)


def test_a_model_is_extracted_by_a_named_tool(results: environments.Results) -> None:
    shapes.assert_person(results["tools"])


def test_a_model_is_extracted_by_a_schema(results: environments.Results) -> None:
    assert results["json_schema"] == ANNA


@pytest.mark.parametrize("mode", ["nested_by_tools", "nested_by_json_schema", "strict_tools"])
def test_nested_models_lists_choices_and_nulls(results: environments.Results, mode: str) -> None:
    shapes.assert_contact(results[mode])
    assert results[mode]["level"] in (1, 2, 3)


def test_the_completion_comes_along(results: environments.Results) -> None:
    found = results["with_completion"]
    shapes.assert_person(found["person"])
    assert found["n_calls"] == 1
    assert found["finish_reason"] in ("stop", "tool_calls")
    assert found["total_tokens"] > 0


@pytest.mark.parametrize(("mode", "whole"), [("partial", "tools"), ("partial_json_schema", "json_schema")])
def test_partial_models_grow_to_the_whole(results: environments.Results, mode: str, whole: str) -> None:
    shapes.assert_growing(results[mode], results[whole])


def test_parallel_tools_are_all_extracted(results: environments.Results) -> None:
    assert results["parallel"] == [{"city": "Paris"}, {"city": "Rome"}]


def test_an_answer_cut_off_is_incomplete(results: environments.Results) -> None:
    assert "IncompleteOutputException" in results["cut_off"]


def test_a_schema_that_cannot_be_enforced_is_refused(results: environments.Results) -> None:
    assert "BadRequestError" in results["refused"]
