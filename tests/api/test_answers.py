"""POST /answers against a pool that plays scripts."""

from typing import Any

import pytest

from llmatic.core.errors import QueueFull
from llmatic.core.types import EncoderInfo, Priority, TextPrompt
from tests.api import legacy
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.legacy import FINDER, says, written
from tests.fakes import SPEC, Gate

DOCUMENTS = ["Puppy B is sad.", "Puppy A is happy.", "Cats sleep."]
BODY: dict[str, Any] = {
    "model": SPEC.id,
    "question": "Which puppy is happy?",
    "examples": [["How long do people live?", "78 years."]],
    "examples_context": "Life is 78 years long.",
    "documents": DOCUMENTS,
}


@pytest.fixture(scope="module")
def both(serve: Serve) -> Served:
    return legacy.start(serve)


@pytest.fixture
def api(both: Served) -> Served:
    served = legacy.as_new(both)
    served.pool.script = says(" puppy A.")
    return served


def answer(api: Served, **fields: Any) -> dict[str, Any]:
    return legacy.answered(api, "createAnswer", BODY | fields)


def refused(api: Served, **fields: Any) -> tuple[int, str, str | None, str | None]:
    return legacy.refused(api, "createAnswer", BODY | fields)


def prompt(api: Served) -> str:
    asked = written(api).prompt
    assert isinstance(asked, TextPrompt)
    return asked.text


def test_the_best_documents_are_in_the_prompt_and_in_the_reply(api: Served) -> None:
    reply = answer(api)
    assert reply["object"] == "answer"
    assert (reply["model"], reply["search_model"]) == (SPEC.id, FINDER.id)
    assert reply["answers"] == ["puppy A."]
    assert reply["completion"] == written(api).id.rpartition("-")[0]
    assert [item["document"] for item in reply["selected_documents"]] == [1, 0, 2]
    assert reply["selected_documents"][0]["text"] == DOCUMENTS[1]
    scores = [item["score"] for item in reply["selected_documents"]]
    assert scores == sorted(scores, reverse=True)
    assert "Cats sleep.\nPuppy B is sad.\nPuppy A is happy.\n===\nQ: Which puppy is happy?\nA:" in prompt(api)
    assert "prompt" not in reply


@pytest.mark.parametrize("prefix", ["/v1", "", "/oaiv1"])
def test_every_prefix_serves_it(api: Served, prefix: str) -> None:
    reply = legacy.ask(api, "createAnswer", BODY, f"{prefix}/answers")
    assert reply.json()["answers"] == ["puppy A."]
    assert reply.headers["openai-model"] == "org/fake-1"


def test_defaults_are_the_documented_ones(api: Served) -> None:
    answer(api)
    request = written(api)
    assert (request.max_tokens, request.n_choices, request.sampling.temperature) == (16, 1, 0.0)
    assert request.sampling.n_logprobs is None
    assert request.stop == ("\nQ:", "\n---", "\n===")
    assert api.pool.encode_requests[0].too_long == "truncate"


def test_every_field_of_the_completion_is_honoured(api: Served) -> None:
    answer(
        api,
        temperature=0.7,
        max_tokens=5,
        stop="x",
        n=3,
        logit_bias={"5": -100},
        logprobs=2,
        seed=4,
        service_tier="flex",
        cache_salt="s",
        prompt_cache_key="k",
        prompt_cache_retention="in_memory",
        user="u",
    )
    request = written(api)
    sampling = request.sampling
    assert (sampling.temperature, sampling.seed, sampling.n_logprobs) == (0.7, 4, 2)
    assert sampling.logit_bias == ((5, -100.0),)
    assert (request.max_tokens, request.stop, request.n_choices) == (5, ("x",), 3)
    assert (request.priority, request.cache_salt, request.cache_key) == (Priority.FLEX, "/s", "k")
    assert request.cache_retention == "in_memory"
    assert {asked.priority for asked in api.pool.encode_requests} == {Priority.FLEX}


def test_n_answers_are_read_up_to_the_next_question(api: Served) -> None:
    api.pool.script = says(" A.\n---\nQ: more", " B\nsays so. ", "\nQ: what")
    assert answer(api, n=3, stop=["#"])["answers"] == ["A.", "B\nsays so.", ""]


def test_the_completion_is_expanded_when_asked_for(api: Served) -> None:
    completion = answer(api, expand=["completion", "file"], n=2)["completion"]
    assert [choice["text"] for choice in completion["choices"]] == [" puppy A."] * 2
    assert completion["choices"][0]["logprobs"] is None
    assert completion["usage"]["completion_tokens"] == 4
    assert completion["model"] == SPEC.id
    assert isinstance(answer(api, expand=["file"])["completion"], str)


def test_logprobs_expand_the_completion(api: Served) -> None:
    reply = answer(api, logprobs=0, return_prompt=True)
    logprobs = reply["completion"]["choices"][0]["logprobs"]
    assert logprobs["tokens"] == [" puppy A."]
    assert logprobs["text_offset"] == [len(reply["prompt"])]


def test_return_prompt_returns_it(api: Served) -> None:
    assert answer(api, return_prompt=True)["prompt"] == prompt(api)


def test_max_rerank_limits_what_is_selected(api: Served) -> None:
    assert [item["document"] for item in answer(api, max_rerank=1)["selected_documents"]] == [1]
    assert "Cats" not in prompt(api)


def test_blank_documents_are_left_out(api: Served) -> None:
    found = answer(api, documents=["", "Puppy A is happy.", " \n"])["selected_documents"]
    assert [item["document"] for item in found] == [1]
    assert answer(api, documents=["", " "])["selected_documents"] == []
    assert "---\nQ: Which" in prompt(api)


def test_without_documents_nothing_is_searched(api: Served) -> None:
    reply = answer(api, documents=[])
    assert (reply["selected_documents"], reply["search_model"]) == ([], "ada")
    assert answer(api, documents=[], search_model="text-embedding-ada-002")["search_model"] == FINDER.id
    assert api.pool.encode_requests == []


def test_an_alias_searches(api: Served) -> None:
    assert answer(api, search_model="text-embedding-ada-002")["search_model"] == FINDER.id


def test_a_ranking_model_searches_too(api: Served) -> None:
    api.pool.encoders[FINDER.id] = EncoderInfo("rank", 1)
    reply = answer(api, question="Who is happy.", max_rerank=1)
    assert [(item["document"], item["score"]) for item in reply["selected_documents"]] == [(1, 244.444)]
    assert api.pool.encode_requests[0].query == "Who is happy."


def test_what_does_not_fit_the_context_is_left_out_least_relevant_first(api: Served) -> None:
    documents = [f"puppy number {k} {'is ' * 10}" for k in range(20)]
    documents += ["Which puppy is happy? " * 200, "Which puppy is happy? A."]
    api.pool.script = says(" A.", n_context=200)
    reply = answer(api, documents=documents, return_prompt=True)
    selected = [item["document"] for item in reply["selected_documents"]]
    assert selected[0] == 21
    assert 20 not in selected
    assert 8 <= len(selected) <= 12
    n_words = len(reply["prompt"].split())
    assert 200 - 16 - 13 < n_words <= 200 - 16


def test_huge_documents_are_not_sent_to_the_engine(api: Served) -> None:
    huge = "puppy " * 40_000
    assert [item["document"] for item in answer(api, documents=[huge, "happy"])["selected_documents"]] == [1]
    assert max(len(str(request.prompt)) for request in api.pool.requests) < 1000


def test_a_prompt_that_is_too_long_by_itself_is_refused(api: Served) -> None:
    api.pool.script = says(" A.", n_context=20)
    status, message, _, code = refused(api)
    assert (status, code) == (400, "context_length_exceeded")
    assert message.startswith("This model's maximum context length is")
    assert refused(api, max_tokens=100_000)[3] == "context_length_exceeded"


def test_tokens_of_both_models_are_counted(api: Served) -> None:
    before, found_before = legacy.counted(api, SPEC.id), legacy.counted(api, FINDER.id)
    answer(api)
    after, found_after = legacy.counted(api, SPEC.id), legacy.counted(api, FINDER.id)
    assert after["completion"] - before["completion"] == 2
    assert after["prompt"] - before["prompt"] == len(prompt(api).split())
    n_searched = sum(len(text.split()) for text in [BODY["question"], *DOCUMENTS])
    assert found_after["prompt"] - found_before["prompt"] == n_searched


@pytest.mark.parametrize("name", ["model", "question", "examples", "examples_context", "documents"])
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
        ({"question": ""}, "question", "empty_string"),
        ({"question": ["x"]}, "question", "invalid_type"),
        ({"examples": []}, "examples", "empty_array"),
        ({"examples": "x"}, "examples", "invalid_type"),
        ({"examples": [["q", "a"], ["q"]]}, "examples[1]", "array_below_min_length"),
        ({"examples": [["q", "a", "b"]]}, "examples[0]", "array_above_max_length"),
        ({"examples": [["q", ""]]}, "examples[0][1]", "empty_string"),
        ({"examples": [["q", 5]]}, "examples[0][1]", "invalid_type"),
        ({"examples": [["q", "a"]] * 201}, "examples", "array_above_max_length"),
        ({"documents": ["x"] * 201}, "documents", "array_above_max_length"),
        ({"documents": [["x"]]}, "documents[0]", "invalid_type"),
        ({"documents": None}, "documents", "missing_required_parameter"),
        ({"file": "file-abc"}, "file", None),
        ({"max_rerank": 0}, "max_rerank", "integer_below_min_value"),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
        ({"n": 11}, "n", "integer_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"logit_bias": {"a": 1}}, "logit_bias", None),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "decimal_above_max_value"),
        ({"return_prompt": "yes"}, "return_prompt", "invalid_type"),
        ({"expand": "completion"}, "expand", "invalid_type"),
        ({"expand": ["engine"]}, "expand[0]", "invalid_value"),
        ({"expand": [1]}, "expand[0]", "invalid_type"),
        ({"best_of": 2}, None, None),
    ],
)
def test_wrong_fields_are_named(
    api: Served, fields: dict[str, Any], param: str | None, code: str | None
) -> None:
    status, _, found_param, found_code = refused(api, **fields)
    assert (status, found_param, found_code) == (400, param, code)
    assert api.pool.requests == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "nope"}, 404),
        ({"search_model": "nope"}, 404),
        ({"search_model": "nope", "documents": []}, 404),
        ({"model": FINDER.id}, 403),
        ({"search_model": SPEC.id}, 403),
    ],
)
def test_models_that_cannot_do_it_are_refused_before_any_work(
    api: Served, fields: dict[str, Any], status: int
) -> None:
    assert refused(api, **fields)[0] == status
    assert api.pool.requests == [] == api.pool.encode_requests


def test_a_server_without_a_search_model_says_so(serve: Serve) -> None:
    lonely = serve()
    lonely.pool.script = says(" A.")
    status, message, param, _ = refused(lonely)
    assert (status, param) == (400, "search_model")
    assert "configured" in message
    assert answer(lonely, documents=[])["answers"] == ["A."]


def test_a_full_queue_is_a_429(api: Served) -> None:
    api.pool.rows = lambda request: [QueueFull("full", retry_after_s=2.0)]
    assert refused(api)[0] == 429
    assert api.pool.requests == []


@pytest.mark.parametrize("where", ["rows", "script"])
def test_who_hangs_up_ends_the_work(api: Served, where: str) -> None:
    gate = Gate()
    setattr(api.pool, where, lambda request: [gate])
    legacy.hang_up(api, "createAnswer", BODY, gate)
    assert api.pool.cancelled.wait(WAIT_S)
    assert len(api.pool.requests) == (where == "script")
