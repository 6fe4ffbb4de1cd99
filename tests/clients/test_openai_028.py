"""openai 0.28 cannot be installed beside 3.x: its program runs in an environment of its own."""

import json
import struct

import pytest

from tests.clients import environments
from tests.clients.conftest import Server


@pytest.fixture(scope="module")
def results(server: Server) -> environments.Results:
    return environments.python_results("openai-0.28", "openai_028", server.base_url)


def test_models_are_engines_too(results: environments.Results) -> None:
    lists = results["lists"]
    assert "llmatic-tiny" in lists["engines"]
    assert lists["engine"] == "llmatic-tiny"
    assert "llmatic-tiny" in lists["models"]


def test_completions_by_model_and_by_engine(results: environments.Results) -> None:
    assert results["completion"]
    assert results["completion_by_engine"]["completion_tokens"] <= 8


def test_chat_streams_what_it_answers(results: environments.Results) -> None:
    chat = results["chat"]
    assert "this is a test" in chat["whole"].lower()
    assert chat["streamed"] == chat["whole"]


def test_refusals_are_its_own_errors(results: environments.Results) -> None:
    assert results["refused"] == [400, "temperature"]


def test_functions_are_called(results: environments.Results) -> None:
    called = results["function_call"]
    assert called["finish_reason"] == "function_call"
    assert called["message"]["content"] is None
    assert called["message"]["function_call"]["name"] == "get_weather"
    assert json.loads(called["message"]["function_call"]["arguments"]) == {"city": "Paris"}
    assert "tool_calls" not in called["message"]


def test_a_streamed_function_call_is_the_same(results: environments.Results) -> None:
    streamed = results["function_call_streamed"]
    whole = results["function_call"]
    assert {"name": streamed["name"], "arguments": streamed["arguments"]} == whole["message"]["function_call"]
    assert streamed["finish_reason"] == "function_call"


def test_a_named_function_is_called_whatever_was_asked(results: environments.Results) -> None:
    called = results["function_named"]
    # As OpenAI did it: a function that the client chose ends with "stop".
    assert called["finish_reason"] == "stop"
    assert called["message"]["function_call"]["name"] == "get_weather"
    assert list(json.loads(called["message"]["function_call"]["arguments"])) == ["city"]


def test_function_call_none_gives_text(results: environments.Results) -> None:
    assert results["function_never"]["content"]
    assert "function_call" not in results["function_never"]


def test_a_functions_result_is_put_into_words(results: environments.Results) -> None:
    assert results["function_result"] == "It is 21 degrees and sunny in Paris."


def test_embeddings_by_model_and_by_engine(results: environments.Results) -> None:
    made = results["embedding"]
    assert [len(vector) for vector in made["vectors"]] == [64, 64]
    assert made["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    # It decodes base64 by itself; as numbers the same 32-bit floats are written shorter.
    packed = [struct.pack("<64f", *vector) for vector in made["floats"]]
    assert packed == [struct.pack("<64f", *vector) for vector in made["vectors"]]
    assert packed[0] != packed[1]
    assert results["embedding_of_tokens"] == 2


def test_embeddings_of_a_model_that_writes_are_refused(results: environments.Results) -> None:
    status, message = results["embedding_refused"]
    assert status == 403
    assert message.startswith("You are not allowed to generate embeddings from this model")


def test_edits_by_model_and_by_engine(results: environments.Results) -> None:
    edit = results["edit"]
    assert edit["by_model"] == ["hello world"] * 2
    assert edit["by_engine"] == ["hello world"]
    assert (
        edit["usage"]["total_tokens"] == edit["usage"]["prompt_tokens"] + edit["usage"]["completion_tokens"]
    )


def test_moderations_in_both_shapes(results: environments.Results) -> None:
    today, legacy = results["moderation"]["today"], results["moderation"]["legacy"]
    assert today["flagged"] is True
    assert [name for name, is_flagged in today["categories"].items() if is_flagged] == ["harassment"]
    assert legacy["model"] == "fake-moderator"
    assert [one["flagged"] for one in legacy["results"]] == [True, False]
    assert len(today["category_scores"]) == 13
    assert len(legacy["results"][0]["category_scores"]) == 7


def test_files_from_birth_to_death(results: environments.Results) -> None:
    files = results["files"]
    made = files["made"]
    assert (made["object"], made["bytes"], made["filename"]) == ("file", 16, "train.jsonl")
    assert files["retrieved"] == made
    assert files["listed"]
    assert files["found"] == [made["id"]]
    assert files["content"] == '{"messages": []}'
    assert files["deleted"]
    assert files["gone"] == [404, "id"]
