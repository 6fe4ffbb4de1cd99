"""Tiers, prompt caching, predictions and adapters: what reaches the engine, what is told, what is refused."""

from typing import Any

import openai
import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import QueueFull
from llmatic.core.types import Delta, Event, Finished, GenerationRequest, Priority, Started, Usage
from tests.api.conftest import Serve, Served
from tests.api.wire import events
from tests.contract_check import assert_chunk_matches, assert_response_matches
from tests.fakes import SPEC

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]


def sent(api: Served) -> GenerationRequest:
    """What the engine was asked last."""
    return api.pool.requests[-1]


@pytest.mark.parametrize(
    ("asked", "priority", "told"),
    [
        (None, Priority.DEFAULT, "default"),
        ("auto", Priority.DEFAULT, "default"),
        ("default", Priority.DEFAULT, "default"),
        ("scale", Priority.DEFAULT, "default"),
        ("flex", Priority.FLEX, "flex"),
        ("priority", Priority.PRIORITY, "priority"),
        ("fast", Priority.PRIORITY, "priority"),
    ],
)
def test_tiers(api: Served, asked: str | None, priority: Priority, told: str) -> None:
    reply = api.chat(service_tier=asked)
    assert sent(api).priority is priority
    assert reply.json()["service_tier"] == told
    chunks = events(api.chat(service_tier=asked, stream=True).text)[:-1]
    assert {chunk["service_tier"] for chunk in chunks} == {told}
    assert api.completion(service_tier=asked, prompt=["a", "b"]).is_success
    assert [request.priority for request in api.pool.requests[-2:]] == [priority] * 2


def test_a_text_completion_names_the_tier_if_asked(api: Served) -> None:
    assert "service_tier" not in api.completion().json()
    assert "service_tier" not in events(api.completion(stream=True).text)[0]
    reply = api.completion(service_tier="flex")
    assert_response_matches("createCompletion", 200, reply.content, headers=dict(reply.headers.items()))
    assert reply.json()["service_tier"] == "flex"
    chunks = events(api.completion(service_tier="fast", stream=True).text)[:-1]
    assert {chunk["service_tier"] for chunk in chunks} == {"priority"}
    for chunk in chunks:
        assert_chunk_matches("completion", chunk)


@pytest.mark.parametrize(
    ("fields", "key", "retention"),
    [
        ({}, "", None),
        ({"prompt_cache_key": None, "prompt_cache_retention": None}, "", None),
        ({"prompt_cache_key": "k" * 64, "prompt_cache_retention": "24h"}, "k" * 64, "24h"),
        ({"prompt_cache_key": "", "prompt_cache_retention": "in_memory"}, "", "in_memory"),
        ({"prompt_cache_retention": "in-memory"}, "", "in_memory"),
    ],
)
def test_what_is_to_be_kept(api: Served, fields: dict[str, Any], key: str, retention: str | None) -> None:
    for reply in (api.chat(**fields), api.completion(**fields)):
        assert reply.is_success
        assert (sent(api).cache_key, sent(api).cache_retention) == (key, retention)


@pytest.mark.parametrize(
    ("options", "is_keyed"),
    [
        ({}, False),
        ({"mode": "implicit"}, False),
        ({"ttl": "30m"}, True),
        ({"ttl": None, "mode": None}, False),
    ],
)
def test_cache_options(api: Served, options: dict[str, Any], is_keyed: bool) -> None:
    assert api.chat(prompt_cache_options=options).is_success
    assert bool(sent(api).cache_key) is is_keyed
    api.chat(prompt_cache_options=options, prompt_cache_key="k")
    assert sent(api).cache_key == "k"


def test_callers_share_prompts_only_where_they_should(api: Served, serve: Serve) -> None:
    def salts(served: Served, key: str) -> list[str]:
        headers = {"authorization": f"Bearer {key}"}
        body: dict[str, Any] = {"model": SPEC.id, "prompt": "Hi"}
        for more in ({}, {"cache_salt": "s"}, {"cache_salt": "t"}):
            reply = served.http.post("/v1/completions", json={**body, **more}, headers=headers)
            assert reply.is_success
        return [request.cache_salt for request in served.pool.requests[-3:]]

    apart, shared = serve(api_keys=("a", "b")), serve(api_keys=("a", "b"), share_prompt_cache=True)
    assert len({*salts(apart, "a"), *salts(apart, "b")}) == 6
    assert "" not in salts(apart, "a")
    assert salts(apart, "a") == salts(apart, "a")
    assert salts(shared, "a") == salts(shared, "b") == salts(api, "anyone")
    assert salts(api, "anyone")[0] == ""
    clients = {request.client for served in (apart, shared) for request in served.pool.requests}
    assert len(clients) == 2


@pytest.mark.parametrize(
    "content", ["one two", [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]]
)
def test_predictions_reach_the_engine(api: Served, content: Any) -> None:
    fields = {"n": 2, "logprobs": True, "presence_penalty": 1, "max_completion_tokens": 9}
    assert api.chat(prediction={"type": "content", "content": content}, **fields).is_success
    assert sent(api).prediction == "one two"
    assert api.chat(prediction=None).is_success
    assert sent(api).prediction == ""


def counted(request: GenerationRequest) -> list[Event]:
    return [Started(100), Delta(0, "word", 10, (), "stop"), Finished(Usage(100, 10, 64, 7, 3))]


def test_counts_of_predicted_and_cached_tokens(api: Served) -> None:
    api.pool.script = counted
    reply = api.sdk().chat.completions.create(
        model=SPEC.id, messages=MESSAGES, prediction={"type": "content", "content": "x"}
    )
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.accepted_prediction_tokens == 7
    assert reply.usage.completion_tokens_details.rejected_prediction_tokens == 3
    assert reply.usage.total_tokens == 110
    assert reply.usage.prompt_tokens_details is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 64
    stream = events(api.chat(stream=True, stream_options={"include_usage": True}).text)
    assert stream[-2]["usage"] == reply.usage.model_dump(exclude_unset=True)
    whole = api.completion(prompt=["a", "b"]).json()
    assert whole["usage"]["prompt_tokens_details"] == {"cached_tokens": 128}


def test_chunks_count_what_is_known_by_then(api: Served) -> None:
    chunks = events(api.chat(stream=True, continuous_usage_stats=True).text)[:-1]
    cached = [chunk["usage"]["prompt_tokens_details"]["cached_tokens"] for chunk in chunks]
    assert cached == [0] * (len(chunks) - 1) + [2]


def test_the_sdk_sends_all_of_it(api: Served) -> None:
    reply = api.sdk().chat.completions.create(
        model=SPEC.id,
        messages=MESSAGES,
        service_tier="flex",
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        prompt_cache_options={"mode": "implicit"},
        prediction={"type": "content", "content": [{"type": "text", "text": "p"}]},
        extra_body={"cache_salt": "s"},
    )
    assert reply.service_tier == "flex"
    asked = sent(api)
    assert (asked.priority, asked.cache_key, asked.cache_retention) == (Priority.FLEX, "k", "24h")
    assert (asked.prediction, asked.cache_salt) == ("p", "/s")


def test_a_model_with_a_base_has_its_own_defaults(serve: Serve) -> None:
    tuned = ModelSpec("tuned", "", aliases=("t",), base=SPEC.id, sampling={"temperature": 0.25})
    served = serve(models={SPEC.id: SPEC, tuned.id: tuned})
    for name in ("tuned", "t"):
        assert served.chat(model=name).json()["model"] == "tuned"
        assert served.pool.model_ids[-1] == "tuned"
        assert sent(served).sampling.temperature == 0.25
    assert served.chat().json()["model"] == SPEC.id


def test_a_full_queue_says_where_one_would_stand_and_when_to_come_back(api: Served) -> None:
    words = "The queue is full: 12 requests wait."
    api.pool.script = lambda request: [QueueFull(words, retry_after_s=2.2)]
    reply = api.chat()
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "3")
    assert reply.json()["error"]["message"] == words
    assert_response_matches("createChatCompletion", 429, reply.content, headers=dict(reply.headers.items()))
    with pytest.raises(openai.RateLimitError):
        api.sdk().chat.completions.create(model=SPEC.id, messages=MESSAGES)


TIERS = "'auto', 'default', 'flex', 'scale', 'priority', {} 'fast'"
RETENTIONS = "'in_memory', '24h', {} 'in-memory'"
TEXT_PARTS = "one of a string or array of objects"


def wrong_type(expected: str, found: str) -> tuple[str, str]:
    return f"expected {expected}, but got {found} instead.", "invalid_type"


def wrong_value(value: str, allowed: str) -> tuple[str, str]:
    return f"Invalid value: {value}. Supported values are: {allowed}.", "invalid_value"


def too_long(most: int) -> tuple[str, str]:
    return (
        f"Expected a string with maximum length {most}, but got a string with length {most + 1} instead.",
        "string_above_max_length",
    )


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("service_tier", "batch", wrong_value("'batch'", TIERS.format("and"))),
        ("service_tier", {}, wrong_type(f"one of {TIERS.format('or')}", "an object")),
        ("prompt_cache_key", 7, wrong_type("a string", "an integer")),
        ("prompt_cache_key", "k" * 65, too_long(64)),
        ("prompt_cache_retention", 24, wrong_type(f"one of {RETENTIONS.format('or')}", "an integer")),
        ("prompt_cache_retention", "1h", wrong_value("'1h'", RETENTIONS.format("and"))),
        ("cache_salt", True, wrong_type("a string", "a boolean")),
        ("cache_salt", "", ("but got an empty string instead.", "empty_string")),
        ("cache_salt", "s" * 257, too_long(256)),
    ],
)
def test_wrong_terms(api: Served, field: str, value: Any, error: tuple[str, str]) -> None:
    for reply in (api.chat(**{field: value}), api.completion(**{field: value})):
        assert reply.status_code == 400
        said = reply.json()["error"]
        assert (said["param"], said["code"]) == (field, error[1])
        assert said["message"].endswith(error[0])
    assert not api.pool.requests


@pytest.mark.parametrize(
    ("value", "where", "error"),
    [
        ("text", "", wrong_type("an object", "a string")),
        ({}, ".type", ("Missing required parameter: 'prediction.type'.", "missing_required_parameter")),
        ({"type": "content"}, ".content", ("parameter: 'prediction.content'.", "missing_required_parameter")),
        ({"type": "other", "content": "x"}, ".type", wrong_value("'other'", "'content'")),
        ({"type": "content", "content": None}, ".content", wrong_type(TEXT_PARTS, "null")),
        ({"type": "content", "content": 5}, ".content", wrong_type(TEXT_PARTS, "an integer")),
        ({"type": "content", "content": []}, ".content", ("got an empty array instead.", "empty_array")),
        (
            {"type": "content", "content": [{"type": "text", "text": 1}]},
            ".content[0].text",
            wrong_type("a string", "an integer"),
        ),
        (
            {"type": "content", "content": "x", "n": 1},
            ".n",
            ("Unknown parameter: 'prediction.n'.", "unknown_parameter"),
        ),
    ],
)
def test_wrong_predictions(api: Served, value: Any, where: str, error: tuple[str, str]) -> None:
    reply = api.chat(prediction=value)
    said = reply.json()["error"]
    assert (reply.status_code, said["param"], said["code"]) == (400, f"prediction{where}", error[1])
    assert said["message"].endswith(error[0])


@pytest.mark.parametrize(
    ("value", "where", "error"),
    [
        ("30m", "", wrong_type("an object", "a string")),
        ({"ttl": "12h"}, ".ttl", wrong_value("'12h'", "'30m'")),
        ({"ttl": 30}, ".ttl", wrong_type("one of '30m'", "an integer")),
        ({"size": 1}, ".size", ("Unknown parameter: 'prompt_cache_options.size'.", "unknown_parameter")),
    ],
)
def test_wrong_cache_options(api: Served, value: Any, where: str, error: tuple[str, str]) -> None:
    reply = api.chat(prompt_cache_options=value)
    said = reply.json()["error"]
    param = f"prompt_cache_options{where}"
    assert (reply.status_code, said["param"], said["code"]) == (400, param, error[1])
    assert said["message"].endswith(error[0])


def test_a_text_completion_takes_no_prediction(api: Served) -> None:
    reply = api.completion(prediction={"type": "content", "content": "x"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "Unrecognized request argument supplied: prediction"
