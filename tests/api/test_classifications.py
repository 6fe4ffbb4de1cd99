"""POST /classifications against a pool that plays scripts."""

import re
from typing import Any

import pytest

from llmatic.core.types import Priority, TextPrompt
from tests.api import legacy
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.legacy import FINDER, says, written
from tests.fakes import SPEC, Gate

EXAMPLES = [["A happy moment", "positive"], ["It rains and rains", "NEGATIVE"], ["I am awesome", "Positive"]]
BODY: dict[str, Any] = {"model": SPEC.id, "query": "It rains now", "examples": EXAMPLES}


@pytest.fixture(scope="module")
def both(serve: Serve) -> Served:
    return legacy.start(serve)


@pytest.fixture
def api(both: Served) -> Served:
    served = legacy.as_new(both)
    served.pool.script = says(" Negative\n")
    return served


def classify(api: Served, **fields: Any) -> dict[str, Any]:
    return legacy.answered(api, "createClassification", BODY | fields)


def refused(api: Served, **fields: Any) -> tuple[int, str, str | None, str | None]:
    return legacy.refused(api, "createClassification", BODY | fields)


def pattern(api: Served) -> str:
    constraint = written(api).constraint
    assert constraint is not None
    return constraint.source


def selected(reply: dict[str, Any]) -> list[tuple[int, str]]:
    return [(item["document"], item["label"]) for item in reply["selected_examples"]]


def test_the_reply_has_the_label_and_the_examples(api: Served) -> None:
    reply = classify(api)
    assert reply["object"] == "classification"
    assert (reply["model"], reply["search_model"]) == (SPEC.id, FINDER.id)
    assert reply["label"] == "Negative"
    assert reply["completion"] == written(api).id.rpartition("-")[0]
    assert selected(reply) == [(1, "Negative"), (0, "Positive"), (2, "Positive")]
    assert reply["selected_examples"][0]["text"] == "It rains and rains"
    assert "prompt" not in reply


@pytest.mark.parametrize("prefix", ["/v1", "", "/oaiv1"])
def test_every_prefix_serves_it(api: Served, prefix: str) -> None:
    reply = legacy.ask(api, "createClassification", BODY, f"{prefix}/classifications")
    assert reply.json()["label"] == "Negative"
    assert reply.headers["openai-model"] == "org/fake-1"


def test_the_prompt_lists_the_labels_and_has_the_best_example_last(api: Served) -> None:
    prompt = classify(api, return_prompt=True)["prompt"]
    assert written(api).prompt == TextPrompt(prompt)
    assert "categories: Positive, Negative.\n" in prompt
    assert prompt.endswith("Text: It rains and rains\nCategory: Negative\n---\nText: It rains now\nCategory:")


def test_the_answer_is_held_to_the_labels(api: Served) -> None:
    classify(api, labels=["negative", "neutral", "neutral zone"])
    assert re.fullmatch(pattern(api), " Neutral\n")
    assert re.fullmatch(pattern(api), " Neutral zone\n")
    assert not re.fullmatch(pattern(api), " Positive\n")
    assert written(api).stop == ("\n",)
    assert written(api).max_tokens == len(" Neutral zone\n")


def test_defaults_are_the_documented_ones(api: Served) -> None:
    classify(api)
    request = written(api)
    assert (request.sampling.temperature, request.sampling.n_logprobs) == (0.0, None)
    assert (request.n_choices, request.min_tokens) == (1, 0)
    assert api.pool.encode_requests[0].too_long == "truncate"


def test_every_field_of_the_completion_is_honoured(api: Served) -> None:
    classify(
        api,
        temperature=0.7,
        logit_bias={"5": 3},
        logprobs=2,
        seed=4,
        service_tier="priority",
        cache_salt="s",
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        user="u",
    )
    request = written(api)
    sampling = request.sampling
    assert (sampling.temperature, sampling.seed, sampling.n_logprobs) == (0.7, 4, 2)
    assert sampling.logit_bias == ((5, 3.0),)
    assert (request.priority, request.cache_salt, request.cache_key) == (Priority.PRIORITY, "/s", "k")
    assert request.cache_retention == "24h"
    assert {asked.priority for asked in api.pool.encode_requests} == {Priority.PRIORITY}


def test_the_completion_is_expanded_when_asked_for(api: Served) -> None:
    completion = classify(api, expand=["completion"])["completion"]
    assert completion["choices"][0]["text"] == " Negative"
    assert completion["choices"][0]["logprobs"] is None
    logprobs = classify(api, logprobs=1)["completion"]["choices"][0]["logprobs"]
    assert logprobs["tokens"] == [" Negative"]


def test_max_examples_limits_what_is_selected(api: Served) -> None:
    assert selected(classify(api, max_examples=1)) == [(1, "Negative")]


def test_examples_of_other_labels_are_left_out(api: Served) -> None:
    examples = [["It rains", "weather"], *EXAMPLES]
    reply = classify(api, examples=examples, labels=["positive", "negative", "unsure"])
    assert selected(reply) == [(2, "Negative"), (1, "Positive"), (3, "Positive")]
    assert "Weather" not in str(written(api).prompt)
    assert "Unsure" in str(written(api).prompt)


def test_no_label_is_left_without_an_example_where_room_is_short(api: Served) -> None:
    rain = [[f"It rains now {k} {'and rains ' * 5}", "Negative"] for k in range(50)]
    api.pool.script = says(" Positive\n", n_context=150)
    reply = classify(api, examples=[*rain, ["Bliss", "Positive"]])
    labels = [label for _, label in selected(reply)]
    assert labels[1] == "Positive"
    assert labels.count("Negative") in range(3, 8)


def test_a_prompt_that_is_too_long_by_itself_is_refused(api: Served) -> None:
    api.pool.script = says(" Negative\n", n_context=20)
    assert refused(api)[3] == "context_length_exceeded"
    assert refused(api, query="word " * 5000)[3] == "context_length_exceeded"


def test_an_engine_that_writes_no_label_has_failed(api: Served) -> None:
    api.pool.script = says(" Whatever")
    assert refused(api)[0] == 503


def test_tokens_of_both_models_are_counted(api: Served) -> None:
    before, found_before = legacy.counted(api, SPEC.id), legacy.counted(api, FINDER.id)
    classify(api)
    assert legacy.counted(api, SPEC.id)["completion"] - before.get("completion", 0) == 2
    assert legacy.counted(api, FINDER.id)["prompt"] - found_before.get("prompt", 0) == 3 + 3 + 4 + 3


@pytest.mark.parametrize("name", ["model", "query", "examples"])
def test_missing_fields_are_named(api: Served, name: str) -> None:
    status, message, param, _ = refused(api, **{name: ...})
    assert status == 400
    if name == "model":
        assert message == "you must provide a model parameter"
    else:
        assert (message, param) == (f"Missing required parameter: '{name}'.", name)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"query": ""}, "query", "empty_string"),
        ({"query": 5}, "query", "invalid_type"),
        ({"examples": []}, "examples", "empty_array"),
        ({"examples": [["a", "b"]]}, "examples", "array_below_min_length"),
        ({"examples": [["a", "b"], ["c"]]}, "examples[1]", "array_below_min_length"),
        ({"examples": [["a", "b"], ["c", ""]]}, "examples[1][1]", "empty_string"),
        ({"examples": [["a", "b"], ["c", " "]]}, "examples[1][1]", None),
        ({"examples": [["a", "b"]] * 201}, "examples", "array_above_max_length"),
        ({"examples": {"a": "b"}}, "examples", "invalid_type"),
        ({"file": "file-abc"}, "file", None),
        ({"labels": ["a"]}, "labels", "array_below_min_length"),
        ({"labels": ["a"] * 201}, "labels", "array_above_max_length"),
        ({"labels": [1, 2]}, "labels[0]", "invalid_type"),
        ({"labels": ["", "Positive"]}, "labels[0]", None),
        ({"labels": ["Good", "Bad"]}, "labels", None),
        ({"temperature": -1}, "temperature", "decimal_below_min_value"),
        ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"max_examples": 0}, "max_examples", "integer_below_min_value"),
        ({"expand": ["x"]}, "expand[0]", "invalid_value"),
        ({"max_tokens": 5}, None, None),
    ],
)
def test_wrong_fields_are_named(
    api: Served, fields: dict[str, Any], param: str | None, code: str | None
) -> None:
    status, _, found_param, found_code = refused(api, **fields)
    assert (status, found_param, found_code) == (400, param, code)
    assert api.pool.requests == [] == api.pool.encode_requests


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"model": "nope"}, 404), ({"search_model": "nope"}, 404), ({"model": FINDER.id}, 403)],
)
def test_models_that_cannot_do_it_are_refused(api: Served, fields: dict[str, Any], status: int) -> None:
    assert refused(api, **fields)[0] == status
    assert api.pool.requests == [] == api.pool.encode_requests


@pytest.mark.parametrize("where", ["rows", "script"])
def test_who_hangs_up_ends_the_work(api: Served, where: str) -> None:
    gate = Gate()
    setattr(api.pool, where, lambda request: [gate])
    legacy.hang_up(api, "createClassification", BODY, gate)
    assert api.pool.cancelled.wait(WAIT_S)
    assert len(api.pool.requests) == (where == "script")
