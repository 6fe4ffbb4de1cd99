"""Anthropic's SDK and LangChain's package for it, in an environment of their own, against /messages."""

import pytest

from tests.clients import environments, shapes
from tests.clients.conftest import Server


@pytest.fixture(scope="module")
def results(server: Server) -> environments.Results:
    return environments.python_results("anthropic", "anthropic_examples", server.base_url)


def test_a_message_is_created(results: environments.Results) -> None:
    *facts, text = results["created"]
    assert facts == ["message", "assistant", "llmatic-tiny", "end_turn"]
    assert "this is a test" in text.lower()
    assert results["awaited"] == [text, text]


def test_a_stream_says_the_same(results: environments.Results) -> None:
    found = results["streamed"]
    assert found["text"] == results["created"][-1]
    assert found["reason"] == "end_turn"
    assert found["events"][:2] == ["message_start", "content_block_start"]
    assert found["events"][-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "text" in found["kinds"]


def test_tokens_are_counted_alike_everywhere(results: environments.Results) -> None:
    whole, streamed, counted, is_same, header, own = results["usage"]
    assert whole == streamed == counted > 0
    assert is_same
    assert header == own == "req_"


def test_an_answer_goes_on_with_a_prefill(results: environments.Results) -> None:
    assert results["prefilled"].startswith(" a test")


def test_why_an_answer_has_ended(results: environments.Results) -> None:
    whole, streamed = results["stopped"]
    assert whole == streamed
    assert whole[:2] == ["stop_sequence", "test"]
    assert "test" not in whole[2]
    assert results["limited"] == ["max_tokens", 2]
    assert results["longer_than_the_context"] in ("end_turn", "model_context_window_exceeded")


def test_tools_are_used_and_answered(results: environments.Results) -> None:
    found = results["used_tools"]
    assert found["reasons"] == ["tool_use", "tool_use"]
    assert found["inputs"][0] == found["inputs"][1]
    assert list(found["inputs"][0]) == ["city"]
    assert found["name"] == "get_weather"
    assert found["answer"]
    assert results["ran_tools"] in ("end_turn", "max_tokens", "tool_use")


def test_an_answer_keeps_to_a_schema(results: environments.Results) -> None:
    shapes.assert_person(results["parsed"])


def test_thoughts_are_blocks_of_their_own(results: environments.Results) -> None:
    found = results["thought"]
    assert [block["type"] for block in found["whole"]] == ["thinking", "text"]
    assert found["whole"][0]["thinking"] == "I think"
    assert found["whole"] == found["streamed"]
    assert found["again"] == "thinking"


def test_refusals_are_its_own_errors(results: environments.Results) -> None:
    found = results["refused"]
    assert found["model"][:3] == ["NotFoundError", 404, "not_found_error"]
    assert found["field"][:3] == ["BadRequestError", 400, "invalid_request_error"]
    assert "temperature" in found["field"][3]
    assert "no tools of its own" in found["tool"][3]
    assert found["kind"][:3] == ["PermissionDeniedError", 403, "permission_error"]
    assert found["long"][3].startswith("prompt is too long: ")
    assert {error[4] for error in found.values()} == {"req_"}


def test_a_process_that_dies_in_the_middle_is_an_error_event(results: environments.Results) -> None:
    first, last, error, kind = results["died"]
    assert (first, last, kind) == ("message_start", "content_block_delta", "api_error")
    assert error == "APIStatusError"


def test_models_are_listed_page_by_page(results: environments.Results) -> None:
    found = results["models"]
    assert "llmatic-tiny" in found["listed"]
    assert "gpt-3.5-turbo" in found["listed"]
    assert found["one"][:3] == ["llmatic-tiny", "model", "llmatic-tiny"]
    assert found["one"][3] > 1000


def test_langchain(results: environments.Results) -> None:
    found = results["langchain"]
    assert found["invoked"] == found["streamed"] == results["created"][-1]
    assert found["tokens"][0] == found["tokens"][1] > 0
    assert found["called"] == ["get_weather"]
    assert found["after"] == "ai"
    shapes.assert_person(found["person"])
