"""The npm packages openai and ai (Vercel's AI SDK) on Node, as applications use them."""

import json

import pytest

from tests.clients import environments, shapes
from tests.clients.conftest import Server

ANNA = {"name": "Anna", "age": 31}


@pytest.fixture(scope="module")
def openai(server: Server) -> environments.Results:
    return environments.node_results("openai_examples", server.base_url)


@pytest.fixture(scope="module")
def ai(server: Server) -> environments.Results:
    return environments.node_results("ai_examples", server.base_url)


@pytest.fixture(scope="module")
def embeddings(server: Server) -> environments.Results:
    return environments.node_results("embedding_examples", server.base_url)


@pytest.fixture(scope="module")
def files(server: Server) -> environments.Results:
    return environments.node_results("file_examples", server.base_url)


def test_zod_answers_are_parsed(openai: environments.Results) -> None:
    assert openai["person"] == ANNA
    shapes.assert_contact(openai["contact"])
    assert openai["contact"]["level"] in (1, 2)


def test_tools_are_called_and_parsed(openai: environments.Results) -> None:
    choice = openai["tool"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    [call] = choice["message"]["tool_calls"]
    assert call["id"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert openai["parsed_tool"] == [{"city": "Paris"}]


def test_the_runner_runs_tools(openai: environments.Results) -> None:
    assert openai["run_tools"]["cities"] == openai["run_tools_streamed"]["cities"] == ["Paris"]
    assert openai["run_tools"]["answer"]
    assert openai["run_tools_streamed"]["answer"] == openai["run_tools"]["answer"]
    assert "".join(openai["run_tools_streamed"]["pieces"]) == openai["run_tools"]["answer"]


def test_two_calls_are_streamed_apart(openai: environments.Results) -> None:
    stream = openai["stream"]
    assert [(index, name, json.loads(arguments)) for index, name, arguments in stream["seen"]] == [
        (0, "get_weather", {"city": "Paris"}),
        (1, "get_weather", {"city": "Rome"}),
    ]
    assert stream["choice"]["finish_reason"] == "tool_calls"
    ids = {call["id"] for call in stream["choice"]["message"]["tool_calls"]}
    assert len(ids) == 2
    assert stream["usage"]["completion_tokens"] > 0


def test_a_streamed_answer_is_parsed(openai: environments.Results) -> None:
    assert openai["stream_parsed"] == ANNA


def test_a_named_tool_is_called_whatever_was_asked(openai: environments.Results) -> None:
    [call] = openai["named"]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert list(json.loads(call["function"]["arguments"])) == ["city"]


def test_failures_are_the_packages_own_errors(openai: environments.Results) -> None:
    assert openai["cut_off"] == "LengthFinishReasonError"
    name, status, kind, param = openai["refused"]
    assert (name, status, kind) == ("BadRequestError", 400, "invalid_request_error")
    assert param.startswith("tool_choice")


def test_ai_generates_text(ai: environments.Results) -> None:
    assert ai["text"] == "This is a test"


def test_ai_runs_tools_in_steps(ai: environments.Results) -> None:
    assert ai["tool"]["cities"] == ["Paris"]
    assert ai["tool"]["steps"] == 2
    assert ai["tool"]["reason"] == "stop"
    assert ai["tool"]["text"]


def test_ai_streams_tools_and_text(ai: environments.Results) -> None:
    streamed = ai["tool_streamed"]
    assert streamed["cities"] == ["Paris"]
    assert streamed["text"] == ai["tool"]["text"]
    wanted = {
        "tool-input-start",
        "tool-input-delta",
        "tool-input-end",
        "tool-call",
        "tool-result",
        "text-delta",
    }
    assert wanted <= set(streamed["parts"])


def test_ai_forces_tools(ai: environments.Results) -> None:
    assert ai["required"]
    assert {call["toolName"] for call in ai["required"]} == {"get_weather"}
    assert all(list(call["input"]) == ["city"] for call in ai["required"])
    assert ai["named"][0] == {"toolName": "get_weather", "input": {"city": "Paris"}}
    assert ai["none"] == []


def test_ai_generates_objects_json_and_choices(ai: environments.Results) -> None:
    assert ai["object"] == ANNA
    shapes.assert_contact(ai["nested"])
    assert ai["json"] == ANNA
    assert ai["choice"] in ("positive", "negative")


def test_ai_streams_partial_objects(ai: environments.Results) -> None:
    assert ai["object_streamed"]["output"] == ANNA
    shapes.assert_growing(ai["object_streamed"]["parts"], ANNA)


def test_ai_fails_with_its_own_errors(ai: environments.Results) -> None:
    assert ai["cut_off"] == [True, "AI_NoObjectGeneratedError"]
    is_api_error, status, error = ai["refused"]
    assert is_api_error
    assert status == 400
    assert error["type"] == "invalid_request_error"


def test_openai_embeds_texts_and_tokens(embeddings: environments.Results) -> None:
    made = embeddings["openai"]
    assert [len(vector) for vector in made["vectors"]] == [64, 64, 64]
    # It asks for base64 when nothing is said, and decodes it.
    assert made["vectors"] == embeddings["openai_floats"]
    assert made["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    assert made["model"] == "fake-embedder"
    assert embeddings["openai_tokens"] == [8, 8]


def test_embeddings_are_refused_by_name(embeddings: environments.Results) -> None:
    assert embeddings["openai_empty"][:3] == ["BadRequestError", 400, "input[1]"]
    assert "input cannot be an empty string" in embeddings["openai_empty"][3]
    assert embeddings["openai_writer"][:2] == ["PermissionDeniedError", 403]


def test_ai_embeds_one_and_many(embeddings: environments.Results) -> None:
    assert embeddings["ai_one"] == {"length": 64, "tokens": 3}
    other, alike = embeddings["ai_many"]
    assert alike > other


def test_openai_keeps_files(files: environments.Results) -> None:
    found = files["file"]
    made = found["made"]
    assert (made["filename"], made["purpose"], made["bytes"]) == ("щенки.jsonl", "answers", 30)
    assert made["expires_at"] == made["created_at"] + 3600
    assert found["listed"] == [made["id"]]
    assert found["ready"] == made
    assert found["content"] == '{"text": "Puppy A is happy."}\n'
    assert found["gone"] == {"id": made["id"], "object": "file", "deleted": True}
    assert found["missing"] == ["NotFoundError", f"404 No such File object: {made['id']}"]


def test_openai_uploads_in_parts(files: environments.Results) -> None:
    assert files["upload"] == {"status": "completed", "content": "abcdef", "cancelled": "cancelled"}
