"""What /responses refuses: unknown things, fields and parts, inputs that are too long."""

from collections.abc import Iterable
from typing import Any

import pytest

from llmatic.core.errors import ContextLengthExceeded
from llmatic.core.types import ChatPrompt, Delta, Finished, GenerationRequest, Started, Usage
from tests.api.asking_responses import TOOL, UNKNOWN, made, messages, respond
from tests.api.conftest import Served
from tests.fakes import INFO, Step


def test_unknown_things(api: Served) -> None:
    error = respond(api, previous_response_id=UNKNOWN).json()["error"]
    assert error == {
        "message": f"Previous response with id '{UNKNOWN}' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }
    assert respond(api, model="nope").json()["error"] == {
        "message": "The requested model 'nope' does not exist.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    for path in (
        f"/v1/responses/{UNKNOWN}",
        "/v1/responses/%00",
        "/v1/responses/%F0%9F%98%80",
        "/v1/responses/a'b",
    ):
        assert api.http.get(path).status_code == 404
        assert api.http.delete(path).status_code == 404
        assert api.http.get(f"{path}/input_items").status_code == 404
        assert api.http.post(f"{path}/cancel").status_code == 404
    for strange in ("\x00", "x" * 100, "😀"):
        assert respond(api, previous_response_id=strange).status_code == 400
        assert respond(api, conversation=strange).status_code == 404
        assert respond(api, input=[{"id": strange}]).status_code == 404


@pytest.mark.parametrize(
    ("fields", "message", "param", "code"),
    [
        ({"foo": 1}, "Unknown parameter: 'foo'.", "foo", "unknown_parameter"),
        (
            {"max_output_tokens": 15},
            "integer below minimum value",
            "max_output_tokens",
            "integer_below_min_value",
        ),
        ({"temperature": 3}, "decimal above maximum", "temperature", "decimal_above_max_value"),
        ({"top_logprobs": 21}, "above maximum", "top_logprobs", "integer_above_max_value"),
        ({"prompt": {"id": "p"}}, "There are no stored prompt templates", "prompt", "unsupported_parameter"),
        ({"image": {"context_compression": "auto"}}, "as it takes them", "image", "unsupported_parameter"),
        (
            {"tools": [{**TOOL, "defer_loading": True}]},
            "All tools are shown",
            "tools[0].defer_loading",
            "unsupported_value",
        ),
        (
            {"tools": [{"type": "programmatic_tool_calling"}]},
            "runs no code",
            "tools[0].type",
            "unsupported_value",
        ),
        (
            {"input": [{"type": "compaction_trigger"}]},
            "not compacted here",
            "input[0].type",
            "unsupported_value",
        ),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "1", "name": "f", "arguments": "", "namespace": "n"}
                ]
            },
            "without namespaces",
            "input[0].namespace",
            "unsupported_parameter",
        ),
        (
            {"tools": [{**TOOL, "output_schema": None, "nonsense": 1}]},
            "Unknown parameter: 'tools[0].nonsense'.",
            "tools[0].nonsense",
            "unknown_parameter",
        ),
        (
            {"tools": [{"type": "web_search"}]},
            "does not search the web",
            "tools[0].type",
            "unsupported_value",
        ),
        (
            {"tools": [{"type": "mcp", "server_label": "x"}]},
            "calls no other",
            "tools[0].type",
            "unsupported_value",
        ),
        (
            {"tools": [{"type": "custom", "name": "x"}]},
            "A function whose only",
            "tools[0].type",
            "unsupported_value",
        ),
        (
            {"tools": [{"type": "function"}]},
            "Missing required",
            "tools[0].name",
            "missing_required_parameter",
        ),
        ({"tools": [TOOL, TOOL]}, "there twice", "tools[1].name", "invalid_value"),
        ({"tool_choice": "required"}, "only allowed when 'tools'", "tool_choice", None),
        ({"include": ["file_search_call.results"]}, "no such tools", "include[0]", "unsupported_value"),
        ({"reasoning": {"summary": "concise"}}, "word for word", "reasoning.summary", "unsupported_value"),
        ({"text": {"verbosity": "low"}}, "does not support 'low'", "text.verbosity", "unsupported_value"),
        ({"text": {"format": {"type": "xml"}}}, "Invalid value: 'xml'", "text.format.type", "invalid_value"),
        ({"truncation": "some"}, "Invalid value: 'some'", "truncation", "invalid_value"),
        ({"input": 7}, "Invalid type for 'input'", "input", "invalid_type"),
        ({"input": []}, "Missing required parameter: 'input'", "input", "missing_required_parameter"),
        ({"input": None}, "Missing required parameter: 'input'", "input", "missing_required_parameter"),
        ({"input": [{"role": "user"}]}, "Missing", "input[0].content", "missing_required_parameter"),
        ({"input": [{"type": "compaction"}]}, "not compacted", "input[0].type", "unsupported_value"),
        ({"input": [{"content": "x"}]}, "Missing", "input[0].type", "missing_required_parameter"),
        ({"background": True, "store": False}, "needs 'store'", "background", "invalid_value"),
        ({"stream_options": {}}, "only allowed when 'stream'", "stream_options", None),
        ({"metadata": {"a": 1}}, "Invalid type", "metadata.a", "invalid_type"),
        ({"model": None}, "Missing required parameter: 'model'.", "model", "missing_required_parameter"),
    ],
)
def test_refusals(api: Served, fields: dict[str, Any], message: str, param: str, code: str | None) -> None:
    reply = respond(api, **fields)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert message in error["message"]
    assert (error["param"], error["code"]) == (param, code)
    assert not api.pool.requests


def test_parts_that_are_refused(api: Served) -> None:
    def refused(role: str, part: dict[str, Any]) -> Any:
        return respond(api, input=[{"role": role, "content": [part]}]).json()["error"]

    assert "Files are not read here" in refused("user", {"type": "input_file", "file_id": "f"})["message"]
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    assert refused("assistant", picture)["param"] == "input[0].content[0].type"
    assert refused("user", {"type": "input_image"})["param"] == "input[0].content[0].image_url"
    assert refused("user", {"type": "input_image", "file_id": "f"})["param"] == "input[0].content[0].file_id"
    assert refused("user", picture)["param"] == "input"


def test_the_two_ways_to_go_on_exclude_each_other(api: Served) -> None:
    error = respond(api, previous_response_id=UNKNOWN, conversation="conv_1").json()["error"]
    assert error["code"] == "mutually_exclusive_parameters"


def test_an_input_too_long_in_the_words_of_responses(api: Served) -> None:
    api.pool.script = lambda request: [ContextLengthExceeded("too long", param="messages")]
    for stream in (True, False):
        reply = respond(api, stream=stream)
        assert reply.status_code == 400
        assert reply.json()["error"] == {
            "message": "Your input exceeds the context window of this model. Please adjust your input and try "
            "again.",
            "type": "invalid_request_error",
            "param": "input",
            "code": "context_length_exceeded",
        }


def test_truncation_drops_the_oldest(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        assert isinstance(request.prompt, ChatPrompt)
        if len(request.prompt.messages) > 4:
            yield ContextLengthExceeded("too long", param="messages")
        yield Started(3)
        yield Delta(0, "ok", 1, (), "stop")
        yield Finished(Usage(3, 1))

    api.pool.script = script
    items = [{"role": "system", "content": "S"}]
    for turn in range(20):
        items += [{"role": "user", "content": f"u{turn}"}, {"role": "assistant", "content": f"a{turn}"}]
    items.append({"role": "user", "content": "last"})
    assert respond(api, input=items).status_code == 400
    body = made(api, input=items, truncation="auto")
    assert [message["content"] for message in messages(api)] == ["S", "u19", "a19", "last"]
    listed = api.http.get(f"/v1/responses/{body['id']}/input_items", params={"limit": 100}).json()
    assert len(listed["data"]) == 42
    error = respond(api, input=[*items, *items[-1:], *items[-1:], *items[1:2]], truncation="auto")
    assert error.status_code == 200


def test_leaving_out_costs_by_what_fits(api: Served) -> None:
    """However long the conversation is, only prompts that are not much too long are tried."""

    def script(request: GenerationRequest) -> Iterable[Step]:
        assert isinstance(request.prompt, ChatPrompt)
        n_tokens = len(request.prompt.messages) * INFO.n_context // 21
        if n_tokens > INFO.n_context:
            yield ContextLengthExceeded("too long", param="messages")
        yield Started(n_tokens)
        yield Delta(0, "ok", 1, (), "stop")
        yield Finished(Usage(3, 1))

    api.pool.script = script
    items = [{"role": role, "content": "x"} for _ in range(1000) for role in ("user", "assistant")]
    made(api, input=[*items, {"role": "user", "content": "last"}], truncation="auto")
    tried = [len(messages(api, at)) for at in range(1, len(api.pool.requests))]
    assert tried[-1] == 21
    assert max(tried) <= 2 * 21
    assert len(tried) <= 8


def test_what_never_fits_is_refused(api: Served) -> None:
    api.pool.script = lambda request: [ContextLengthExceeded("too long", param="messages")]
    items = [{"role": "user", "content": "a"}] * 5
    assert respond(api, input=items, truncation="auto").json()["error"]["code"] == "context_length_exceeded"
