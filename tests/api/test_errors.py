"""What goes wrong is said in OpenAI's words, with four keys and the right status."""

from typing import Any

import openai
import pytest

from llmatic.api.errors import error_headers
from llmatic.core.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidRequest,
    LlmaticError,
    PayloadTooLarge,
    QueueFull,
    Unavailable,
)
from llmatic.core.types import GenerationRequest
from tests.api.conftest import Serve, Served
from tests.fakes import SPEC


def said(reply: Any) -> tuple[int, str, str | None, str | None]:
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return reply.status_code, error["message"], error["param"], error["code"]


def test_unknown_model(api: Served) -> None:
    words = "The model `nope` does not exist or you do not have access to it."
    assert said(api.chat(model="nope")) == (404, words, None, "model_not_found")
    assert said(api.completion(model="nope")) == (404, words, None, "model_not_found")
    assert said(api.http.get("/v1/models/nope")) == (404, words, None, "model_not_found")
    assert said(api.http.post("/engines/nope/completions", json={})) == (404, words, None, "model_not_found")
    with pytest.raises(openai.NotFoundError):
        api.sdk().chat.completions.create(model="nope", messages=[{"role": "user", "content": ""}])


def test_unknown_path(api: Served) -> None:
    assert said(api.http.post("/v1/x")) == (404, "Invalid URL (POST /v1/x)", None, None)
    assert said(api.http.get("/v1/models/")) == (404, "Invalid URL (GET /v1/models/)", None, None)
    assert said(api.http.get("/v1/getmodels"))[0] == 404


@pytest.mark.parametrize("path", ["/v1/completions", "/oaiv1/completions", "/engines/m/completions"])
def test_only_post(api: Served, path: str) -> None:
    reply = api.http.get(path)
    assert said(reply) == (405, "Only POST requests are accepted.", None, "method_not_supported")
    assert reply.headers["allow"] == "POST, OPTIONS"


def test_wrong_method(api: Served) -> None:
    reply = api.http.post("/v1/models")
    hint = "(HINT: Perhaps you meant to use a different HTTP method?)"
    assert said(reply) == (405, f"Not allowed to POST on /v1/models. {hint}", None, None)
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"


def test_options_and_head(api: Served) -> None:
    options = api.http.options("/v1/completions")
    assert (options.status_code, options.headers["allow"]) == (204, "POST, OPTIONS")
    head = api.http.head("/v1/models")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("raw", [b"", b"{,}", b"[]", b"\xff\xfe", b'{"model":NaN}', b"[" * 100_000])
def test_bad_bodies(api: Served, raw: bytes) -> None:
    status, message, param, code = said(api.http.post("/v1/completions", content=raw))
    assert (status, param, code) == (400, None, None)
    assert message.startswith("We could not parse the JSON body of your request.")


def test_content_type_does_not_matter(api: Served) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    raw = b'{"model":"gpt-4o-mini","prompt":"Hi"}'
    assert api.http.post("/v1/completions", content=raw, headers=headers).is_success


def test_body_cap(serve: Serve) -> None:
    served = serve(max_body_bytes=1000)
    assert said(served.completion(prompt="x" * 2000))[0] == 413

    def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100

    assert said(served.http.post("/v1/completions", content=chunks()))[0] == 413
    assert served.completion(prompt="x").is_success


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 2, "best_of": 1}, "(currently 2) to be at most 'best_of' (currently 1)"),
        ({"n": 1, "best_of": 2, "stream": True}, "Cannot stream results when 'best_of' is greater than 'n'."),
        ({"logit_bias": {"9999999999": 1}}, "You should only be submitting non-negative integers."),
        ({"prompt": [1, 2], "suffix": "x"}, "A 'suffix' needs a prompt of text"),
        ({"suffix": "x", "echo": True, "logprobs": 1}, "Cannot combine 'logprobs' with 'echo'"),
        ({"prompt": ["x"] * 1000, "n": 128}, "Too many choices: 1000 prompts with 128 choices each."),
        ({"foo": 1}, "Unrecognized request argument supplied: foo"),
        ({"max_tokens": -1}, "Expected a value >= 0, but got -1 instead."),
    ],
)
def test_completion_fields(api: Served, fields: dict[str, Any], message: str) -> None:
    status, text, _, _ = said(api.completion(**fields))
    assert (status, message in text) == (400, True), text
    assert not api.pool.requests


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ContextLengthExceeded("too long", param="messages"), 400),
        (InvalidRequest("no template"), 400),
        (QueueFull("full", retry_after_s=1.2), 429),
        (Unavailable("loading failed", retry_after_s=3), 503),
        (EngineFailed("died"), 503),
    ],
)
def test_engine_errors_before_the_start_keep_their_status(
    api: Served, error: LlmaticError, status: int, stream: bool
) -> None:
    api.pool.script = lambda request: [error]
    reply = api.chat(stream=stream)
    assert said(reply) == (status, error.message, error.param, error.code)
    if error.retry_after_s is not None:
        assert int(reply.headers["retry-after"]) >= error.retry_after_s


def test_unforeseen_errors_are_hidden(api: Served) -> None:
    def script(request: GenerationRequest) -> Any:
        raise ZeroDivisionError("secret")

    api.pool.script = script
    reply = api.chat()
    words = "The server had an error while processing your request. Sorry about that!"
    assert said(reply) == (500, words, None, None)
    assert reply.headers["x-should-retry"] == "false"
    assert reply.json()["error"]["type"] == "server_error"


def test_every_reply_has_a_fresh_request_id(api: Served) -> None:
    replies = [
        api.chat(),
        api.chat(model="nope"),
        api.http.get("/nope"),
        api.http.get("/v1/completions"),
        api.http.get("/v1/models", headers={"host": "evil.example"}),
    ]
    ids = {reply.headers["x-request-id"] for reply in replies}
    assert len(ids) == 5
    assert all(len(name) == 36 and name.startswith("req_") for name in ids)
    with pytest.raises(openai.NotFoundError) as caught:
        api.sdk().models.retrieve("nope")
    assert caught.value.request_id


def test_headers_of_errors() -> None:
    assert (b"connection", b"close") in error_headers(PayloadTooLarge("big"))
    assert error_headers(InvalidRequest("no")) == []
    assert error_headers(QueueFull("full", retry_after_s=0.1)) == [(b"retry-after", b"1")]


def test_unknown_fields_can_be_ignored(serve: Serve) -> None:
    assert serve(unknown_fields="ignore").chat(foo=1, model=SPEC.id).is_success
