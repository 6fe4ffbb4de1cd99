"""POST /edits against a pool that plays scripts."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest, QueueFull
from llmatic.core.types import ChatPrompt, Priority, TextPrompt
from tests import fakes
from tests.api import legacy
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.legacy import FINDER, written
from tests.fakes import SPEC, Gate, Step

DEFAULTS = ModelSpec(
    id="tuned", source="none", engine="fake", sampling={"temperature": 0.2, "max_tokens": 9, "stop": ["!"]}
)
BODY: dict[str, Any] = {"model": SPEC.id, "input": "What day of the wek is it?", "instruction": "Fix it."}


@pytest.fixture(scope="module")
def both(serve: Serve) -> Served:
    return legacy.start(serve, DEFAULTS)


@pytest.fixture
def api(both: Served) -> Served:
    return legacy.as_new(both)


def edit(api: Served, **fields: Any) -> dict[str, Any]:
    return legacy.answered(api, "createEdit", BODY | fields)


def refused(api: Served, **fields: Any) -> tuple[int, str, str | None, str | None]:
    return legacy.refused(api, "createEdit", BODY | fields)


def test_the_reply_has_the_edited_texts(api: Served) -> None:
    reply = edit(api, n=2)
    assert list(reply) == ["object", "created", "choices", "usage"]
    assert reply["object"] == "edit"
    assert reply["choices"] == [
        {"text": "Hello wörld!", "index": 0, "finish_reason": "stop"},
        {"text": "Hello wörld!", "index": 1, "finish_reason": "stop"},
    ]
    assert reply["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 8,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


@pytest.mark.parametrize("prefix", ["/v1", "", "/oaiv1"])
def test_every_prefix_and_the_engines_serve_it(api: Served, prefix: str) -> None:
    reply = legacy.ask(api, "createEdit", BODY, f"{prefix}/edits")
    assert reply.headers["openai-model"] == "org/fake-1"
    body = {name: value for name, value in BODY.items() if name != "model"}
    for engine in ("org/fake-1", "org%2Ffake-1", "gpt-4o-mini"):
        named = legacy.ask(api, "createEngineEdit", body, f"{prefix}/engines/{engine}/edits")
        assert named.json()["choices"] == reply.json()["choices"]
    assert set(api.pool.model_ids) == {SPEC.id}


def test_the_model_is_told_what_to_do_and_given_the_text(api: Served) -> None:
    edit(api)
    request = written(api)
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.messages[1]["content"] == "Fix it:\n\nWhat day of the wek is it?"
    assert request.prediction == BODY["input"]
    assert (request.max_tokens, request.stop, request.n_choices) == (None, (), 1)
    assert (request.sampling.temperature, request.sampling.top_p) == (1.0, 1.0)


@pytest.mark.parametrize("text", [..., None, ""])
def test_without_input_a_text_is_written(api: Served, text: Any) -> None:
    body = {name: value for name, value in (BODY | {"input": text}).items() if value is not ...}
    assert legacy.ask(api, "createEdit", body).status_code == 200
    request = written(api)
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.messages[1]["content"] == "Fix it."


def test_every_field_is_honoured(api: Served) -> None:
    edit(
        api,
        n=20,
        temperature=0.5,
        top_p=0.25,
        seed=3,
        service_tier="flex",
        cache_salt="s",
        prompt_cache_key="k",
        prompt_cache_retention="in_memory",
        user="u",
    )
    request = written(api)
    assert (request.n_choices, request.priority, request.cache_salt) == (20, Priority.FLEX, "/s")
    assert (request.cache_key, request.cache_retention) == ("k", "in_memory")
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.5, 0.25, 3)


def test_the_models_own_defaults_hold(api: Served) -> None:
    edit(api, model="tuned")
    request = written(api)
    assert (request.sampling.temperature, request.max_tokens, request.stop) == (0.2, 9, ("!",))
    edit(api, model="tuned", temperature=1)
    assert written(api).sampling.temperature == 1.0


def test_a_model_that_cannot_chat_continues_a_text(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "INFO", replace(fakes.INFO, has_chat_template=False))
    edit(api)
    request = written(api)
    assert isinstance(request.prompt, TextPrompt)
    assert request.prompt.text.endswith(
        "Text:\nWhat day of the wek is it?\nInstruction: Fix it.\nEdited text:\n"
    )
    assert request.stop == ("\n###",)


def test_a_text_too_long_is_refused_under_its_own_name(api: Served) -> None:
    words = "This model's maximum context length is 9 tokens. However, your messages resulted in 10 tokens."
    api.pool.script = lambda _: [ContextLengthExceeded(words, param="messages")]
    assert refused(api) == (400, words, "input", "context_length_exceeded")


def test_refusals_of_the_engine_name_fields_of_this_operation(api: Served) -> None:
    def refuse(param: str) -> Iterable[Step]:
        yield InvalidRequest("no", param=param, code="c")

    api.pool.script = lambda _: refuse("messages")
    assert refused(api) == (400, "no", "input", "c")
    api.pool.script = lambda _: refuse("temperature")
    assert refused(api) == (400, "no", "temperature", "c")
    api.pool.script = lambda _: [QueueFull("full", retry_after_s=1.0)]
    assert refused(api)[0] == 429


def test_tokens_are_counted(api: Served) -> None:
    before = legacy.counted(api, SPEC.id)
    edit(api)
    after = legacy.counted(api, SPEC.id)
    kinds = {"prompt": 7, "prompt_cached": 2, "completion": 4}
    assert {kind: after[kind] - before.get(kind, 0) for kind in kinds} == kinds


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"instruction": ...}, "instruction", "missing_required_parameter"),
        ({"instruction": ""}, "instruction", "empty_string"),
        ({"instruction": ["x"]}, "instruction", "invalid_type"),
        ({"model": ...}, None, None),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": ["x"]}, "input", "invalid_type"),
        ({"n": 21}, "n", "integer_above_max_value"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"top_p": 1.1}, "top_p", "decimal_above_max_value"),
        ({"max_tokens": 5}, None, None),
        ({"stream": True}, None, None),
    ],
)
def test_wrong_fields_are_named(
    api: Served, fields: dict[str, Any], param: str | None, code: str | None
) -> None:
    status, _, found_param, found_code = refused(api, **fields)
    assert (status, found_param, found_code) == (400, param, code)
    assert api.pool.requests == []


def test_models_that_cannot_do_it_are_refused(api: Served) -> None:
    assert refused(api, model="nope")[0] == 404
    status, message, _, _ = refused(api, model=FINDER.id)
    assert (status, message) == (
        403,
        "You are not allowed to sample from this model: 'finder' writes no text.",
    )
    assert api.pool.requests == []


def test_who_hangs_up_ends_the_work(api: Served) -> None:
    gate = Gate()
    api.pool.script = lambda _: [gate]
    legacy.hang_up(api, "createEdit", BODY, gate)
    assert api.pool.cancelled.wait(WAIT_S)
