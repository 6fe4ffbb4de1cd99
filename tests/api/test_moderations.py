"""POST /moderations over a real socket, with a pool that plays scripts."""

import base64
from collections.abc import Iterable
from dataclasses import replace
from math import log
from typing import Any

import httpx2
import openai
import pytest
from openai.types import ModerationTextInputParam

from llmatic.config import ModelSpec, ModerationSpec
from llmatic.core.encoding import EncodeEvent, EncodeRequest
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest, QueueFull
from llmatic.core.moderation import CATEGORIES, LEGACY_CATEGORIES
from llmatic.core.types import (
    ChatPrompt,
    Delta,
    EncoderInfo,
    Event,
    Finished,
    GenerationRequest,
    Started,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from llmatic.engines import fake_vectors
from tests.api.conftest import Serve, Served
from tests.api.test_chat_media import PICTURE, PNG
from tests.contract_check import assert_response_matches
from tests.fakes import INFO, SPEC

ENCODER = EncoderInfo("classify", 3, ("insult", "threat", "knife"), is_multi_label=True)
CLASSIFIER = ModelSpec(
    "toxic",
    "none",
    engine="fake",
    aliases=("text-moderation-mine",),
    moderation=ModerationSpec(
        categories={
            "insult": ("harassment",),
            "threat": ("harassment/threatening", "self-harm/intent"),
            "knife": ("violence",),
        },
        thresholds={"violence": 0.95},
    ),
)
GUARD = ModelSpec(
    "guard",
    "none",
    engine="fake",
    moderation=ModerationSpec(categories={"S1": ("violence",), "S2": ("hate", "sexual"), "S3": ()}),
)
QUESTIONS = {"hate": "Hateful? {text}", "violence": "Violent? {text}"}
ASKING = ModelSpec(
    "asking",
    "none",
    engine="fake",
    moderation=ModerationSpec(safe=("No",), unsafe=("Yes",), prompts=QUESTIONS),
)


@pytest.fixture(scope="module")
def server(serve: Serve) -> Served:
    return serve({spec.id: spec for spec in (SPEC, CLASSIFIER, GUARD, ASKING)})


@pytest.fixture
def api(server: Served) -> Served:
    server.pool.reset()
    server.pool.encoders = {CLASSIFIER.id: ENCODER}
    server.pool.script = guard
    return server


def guard(request: GenerationRequest) -> Iterable[Event]:
    """Unsafe is as likely as the text's last word says; it lists S1 at 0.75, or S2. Knows yes and no too."""
    assert isinstance(request.prompt, ChatPrompt)
    assert request.constraint is not None
    content = request.prompt.messages[0]["content"]
    words = (content if isinstance(content, str) else content[0]["text"]).split()
    p = float(words[-1]) if words[-1][0].isdigit() else 0.5
    steps: list[dict[str, float]] = [
        {"unsafe": p, "safe": 1 - p, "Yes": p / 4, "No": (1 - p) / 4, "I": 1e-12}
    ]
    is_forced = "S1" in request.constraint.source
    if is_forced:
        steps += [{"\n": 1.0}, {"S1": 0.75, "S2": 0.2, "S3": 0.05}]
    yield Started(10)
    for step in steps:
        text = next(iter(step)) if is_forced else max(step, key=lambda one: step[one])
        top = tuple(TopLogprob(k, one.encode(), log(q)) for k, (one, q) in enumerate(step.items()) if q)
        chosen = next(one for one in top if one.data == text.encode())
        yield Delta(0, text, 1, (TokenLogprob(chosen.token_id, chosen.data, chosen.logprob, top),))
    yield Delta(0, "", 0, (), "stop")
    yield Finished(Usage(10, len(steps)))


def ask(api: Served, inputs: Any, prefix: str = "/v1", **fields: Any) -> httpx2.Response:
    return api.http.post(f"{prefix}/moderations", json={"input": inputs, **fields})


def results(api: Served, inputs: Any, **fields: Any) -> list[dict[str, Any]]:
    reply = ask(api, inputs, **fields)
    assert reply.status_code == 200, reply.text
    assert_response_matches("createModeration", 200, reply.content)
    found: list[dict[str, Any]] = reply.json()["results"]
    return found


def error(reply: httpx2.Response) -> tuple[int, str, str | None]:
    found = reply.json()["error"]
    return reply.status_code, found["message"], found["param"]


@pytest.mark.parametrize("prefix", ["/v1", "", "/oaiv1"])
def test_todays_shape(api: Served, prefix: str) -> None:
    reply = ask(api, "what a threat", prefix)
    assert reply.headers["openai-model"] == "toxic"
    body = reply.json()
    assert body["id"].startswith("modr-")
    assert body["model"] == "toxic"
    (found,) = body["results"]
    assert list(found["categories"]) == list(found["category_scores"]) == list(CATEGORIES)
    assert found["flagged"] is True
    assert {name for name, flag in found["categories"].items() if flag} == {
        "harassment/threatening",
        "self-harm/intent",
    }
    scores = found["category_scores"]
    assert scores["harassment/threatening"] == scores["self-harm/intent"] == pytest.approx(0.9)
    assert scores["harassment"] == scores["violence"] == pytest.approx(0.1)
    assert scores["hate"] == 0
    applied = found["category_applied_input_types"]
    assert {name for name, kinds in applied.items() if kinds == ["text"]} == {
        "harassment",
        "harassment/threatening",
        "self-harm/intent",
        "violence",
    }


def test_the_shape_of_version_1(api: Served) -> None:
    (found,) = results(api, "what a threat", model="text-moderation-latest")
    assert list(found) == ["flagged", "categories", "category_scores"]
    assert list(found["categories"]) == list(found["category_scores"]) == list(LEGACY_CATEGORIES)
    assert found["categories"]["self-harm"] is True, "today's sub-categories were not told apart"
    assert found["category_scores"]["self-harm"] == pytest.approx(0.9)


def test_the_shape_follows_the_name_not_the_model(api: Served) -> None:
    assert len(results(api, "x", model="text-moderation-mine")[0]["categories"]) == 7
    assert len(results(api, "x", model="toxic")[0]["categories"]) == 13


def test_what_version_1_has_no_name_for_is_flagged(api: Served) -> None:
    (found,) = results(api, "an insult", model="text-moderation-stable")
    assert found["flagged"] is True
    assert not any(found["categories"].values())


def test_thresholds_of_categories(api: Served) -> None:
    (found,) = results(api, "knife")
    assert found["category_scores"]["violence"] == pytest.approx(0.9)
    assert found["flagged"] is False


def test_a_list_is_one_request_with_one_result_each(api: Served) -> None:
    found = results(api, ["an insult", "peace", "an insult", "a threat"])
    assert [one["flagged"] for one in found] == [True, False, True, True]
    (request,) = api.pool.encode_requests
    assert request.texts == ("an insult", "peace", "a threat"), "nothing is judged twice"
    assert (request.task, request.too_long) == ("classify", "refuse")


def test_parts_are_judged_together(api: Served) -> None:
    (found,) = results(api, [{"type": "text", "text": "an insult"}, {"type": "text", "text": "a threat"}])
    assert found["categories"]["harassment"]
    assert found["categories"]["harassment/threatening"]


@pytest.mark.parametrize("inputs", ["", " \n", [""], [{"type": "text", "text": ""}]])
def test_nothing_is_not_judged(api: Served, inputs: Any) -> None:
    (found,) = results(api, inputs)
    assert set(found["category_scores"].values()) == {0.0}
    assert not api.pool.encode_requests


def test_a_long_text_is_judged_to_its_end(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(INFO, n_context=16, encoder=ENCODER, writes=False)
    monkeypatch.setattr(api.pool, "info", lambda model_id: small)

    def rows(request: EncodeRequest) -> Iterable[EncodeEvent]:
        return fake_vectors.script(request, 16, ENCODER)

    api.pool.rows = rows
    texts = ["word " * 1000 + "threat", "peace", "knife " + "a " * 40 + "insult", "insult " + "a " * 20]
    found = results(api, texts)
    scores = [
        [one["category_scores"][name] for name in ("harassment/threatening", "violence", "harassment")]
        for one in found
    ]
    assert scores == [
        pytest.approx([0.9, 0.1, 0.1]),
        pytest.approx([0.1, 0.1, 0.1]),
        pytest.approx([0.1, 0.9, 0.9]),
        pytest.approx([0.1, 0.1, 0.9]),
    ]
    assert all(request.too_long == "refuse" for request in api.pool.encode_requests)


def test_tokens_are_counted(api: Served) -> None:
    def count(kind: str, model: str) -> float:
        line = f'llmatic_tokens_total{{kind="{kind}",model="{model}"}} '
        lines = api.http.get("/metrics").text.splitlines()
        return sum(float(found.removeprefix(line)) for found in lines if found.startswith(line))

    before = [count("prompt", "toxic"), count("prompt", "guard"), count("completion", "guard")]
    results(api, ["one two", "three"])
    results(api, "0.5", model="guard")
    after = [count("prompt", "toxic"), count("prompt", "guard"), count("completion", "guard")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 20, 4]


def test_a_picture_is_refused_by_name(api: Served) -> None:
    reply = ask(api, [{"type": "text", "text": "x"}, PICTURE])
    words = "Invalid content type. image_url is only supported by certain models."
    assert error(reply) == (400, words, "input[1].type")
    assert error(ask(api, [PICTURE], model="guard")) == (400, words, "input[0].type")


def test_a_guards_scores_are_its_tokens_probabilities(api: Served) -> None:
    (found,) = results(api, "some text of probability 0.8", model="guard")
    scores = found["category_scores"]
    assert scores["violence"] == pytest.approx(0.8 * 0.75)
    assert scores["hate"] == scores["sexual"] == pytest.approx(0.8 * 0.2)
    assert scores["harassment"] == 0
    assert [name for name, flag in found["categories"].items() if flag] == ["violence"]
    applied = found["category_applied_input_types"]
    assert [name for name in applied if applied[name]] == ["hate", "sexual", "violence"]
    verdict, listed = api.pool.requests
    assert isinstance(verdict.prompt, ChatPrompt)
    assert verdict.prompt.messages == ({"role": "user", "content": "some text of probability 0.8"},)
    assert verdict.constraint is not None
    assert verdict.constraint.source == r"[ \t\r\n]{0,4}(safe|unsafe)"
    assert listed.prompt == verdict.prompt
    assert verdict.sampling.temperature == listed.sampling.temperature == 0


def test_a_guard_lists_also_for_a_verdict_that_it_does_not_give(api: Served) -> None:
    (found,) = results(api, "0.4", model="guard")
    assert found["category_scores"]["violence"] == pytest.approx(0.4 * 0.75)
    assert found["flagged"] is False


def test_a_guard_that_is_sure_is_asked_once(api: Served) -> None:
    (found,) = results(api, "0.0005", model="guard")
    assert found["category_scores"]["violence"] == pytest.approx(0.0005)
    assert len(api.pool.requests) == 1


def test_a_guard_judges_a_list_side_by_side(api: Served) -> None:
    found = results(api, [f"{k / 100}" for k in range(100)], model="guard")
    scores = [one["category_scores"]["hate"] for one in found]
    assert scores == pytest.approx([0.2 * k / 100 for k in range(100)])
    assert len(api.pool.requests) == 100 + 99
    assert len({request.id for request in api.pool.requests}) == 199


def test_a_question_for_each_category(api: Served) -> None:
    found = results(api, ["is 0.9", "is 0.3"], model="asking")
    assert [one["category_scores"]["hate"] for one in found] == pytest.approx([0.9, 0.3])
    assert [one["categories"]["violence"] for one in found] == [True, False]
    prompts = [request.prompt for request in api.pool.requests]
    asked = [prompt.messages[0]["content"] for prompt in prompts if isinstance(prompt, ChatPrompt)]
    assert asked == ["Hateful? is 0.9", "Violent? is 0.9", "Hateful? is 0.3", "Violent? is 0.3"]


def test_a_guard_that_sees(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.pool, "info", lambda model_id: replace(INFO, has_vision=True))
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    picture = {"type": "image_url", "image_url": {"url": url}}
    (found,) = results(api, [{"type": "text", "text": "a 0.8"}, picture], model="guard")
    applied = found["category_applied_input_types"]
    assert (applied["violence"], applied["sexual"], applied["hate"]) == (
        ["text", "image"],
        ["text", "image"],
        ["text"],
    )
    prompt = api.pool.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.messages[0]["content"] == [{"type": "text", "text": "a 0.8"}, {"type": "media", "index": 0}]
    assert [item.data for item in prompt.media] == [PNG]


def test_a_broken_picture_is_named(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.pool, "info", lambda model_id: replace(INFO, has_vision=True))
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    status, _, param = error(ask(api, [{"type": "text", "text": "x"}, broken], model="guard"))
    assert (status, param) == (400, "input[1].image_url.url")


def test_a_guard_with_a_long_text(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Event]:
        assert isinstance(request.prompt, ChatPrompt)
        if len(request.prompt.messages[0]["content"]) > 200:
            raise ContextLengthExceeded("Too long.", param="messages")
        yield from guard(request)

    api.pool.script = script
    (found,) = results(api, "word " * 200 + "0.9", model="guard")
    assert found["category_scores"]["violence"] == pytest.approx(0.9 * 0.75)


def test_a_guard_without_a_verdict_is_no_judgement(api: Served) -> None:
    api.pool.script = lambda request: [Started(1), Delta(0, "", 1, (), "length"), Finished(Usage(1, 1))]
    status, message, _ = error(ask(api, "x", model="guard"))
    assert status == 503
    assert "wrote no verdict" in message


def test_a_label_that_the_model_does_not_have(api: Served) -> None:
    api.pool.encoders = {CLASSIFIER.id: replace(ENCODER, labels=("insults", "threat", "knife"))}
    status, message, _ = error(ask(api, "x"))
    assert status == 503
    assert "models.toxic.moderation.categories: the model has no label 'insult'" in message


@pytest.mark.parametrize("info", [replace(INFO, has_chat_template=False), replace(INFO, encoder=ENCODER)])
def test_a_model_of_the_wrong_kind(api: Served, monkeypatch: pytest.MonkeyPatch, info: Any) -> None:
    wrong = replace(info, encoder=replace(ENCODER, task="embed"), writes=False) if info.encoder else info
    monkeypatch.setattr(api.pool, "info", lambda model_id: wrong)
    status, message, _ = error(ask(api, "x"))
    assert status == 503
    assert "neither classifies nor answers in a chat" in message


def test_an_engine_that_cannot_be_held_to_a_form(api: Served) -> None:
    api.pool.script = lambda request: [InvalidRequest("No regular expressions.", param="moderation")]
    assert error(ask(api, "x", model="guard"))[:2] == (
        503,
        "models.guard.moderation: No regular expressions.",
    )


def test_a_full_queue(api: Served) -> None:
    api.pool.rows = lambda request: [QueueFull("Full.", retry_after_s=2.0)]
    reply = ask(api, "x")
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "2")


def test_models_that_do_not_moderate(api: Served) -> None:
    status, message, param = error(ask(api, "x", model=SPEC.id))
    assert (status, param) == (400, "model")
    assert message.endswith("Models that moderate: toxic, guard, asking.")
    assert error(ask(api, "x", model="nobody"))[0] == 404


def test_a_server_that_does_not_moderate(plain_server: Served) -> None:
    with pytest.raises(openai.NotFoundError, match=r"'moderation:'.*docs/moderations\.md") as no:
        plain_server.sdk().moderations.create(input="x")
    assert no.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "empty_array"),
        ({"input": 3}, "input", "invalid_type"),
        ({"input": ["a", 3]}, "input[1]", "invalid_type"),
        ({"input": [{"type": "text"}]}, "input[0].text", "missing_required_parameter"),
        ({"input": [{"type": "audio"}]}, "input[0].type", "invalid_value"),
        ({"input": ["a", {"type": "text", "text": "b"}]}, "input[1]", "invalid_type"),
        ({"input": "x", "model": 1}, "model", "invalid_type"),
        ({"input": "x", "temperature": 1}, None, None),
        ({"input": ["x"] * 2049}, "input", "array_above_max_length"),
    ],
)
def test_wrong_bodies(api: Served, body: dict[str, Any], param: str, code: str) -> None:
    reply = api.http.post("/v1/moderations", json=body)
    found = reply.json()["error"]
    assert (reply.status_code, found["param"], found["code"]) == (400, param, code), found["message"]


def test_the_official_client(api: Served) -> None:
    sdk = api.sdk()
    reply = sdk.moderations.create(input=["an insult", "peace"])
    assert [one.flagged for one in reply.results] == [True, False]
    assert reply.results[0].categories.harassment is True
    assert reply.results[0].category_scores.harassment_threatening == pytest.approx(0.1)
    assert reply.results[0].category_applied_input_types.violence == ["text"]
    part: ModerationTextInputParam = {"type": "text", "text": "it is 0.8"}
    named = sdk.moderations.create(model="guard", input=[part])
    assert named.model == "guard"
    assert named.results[0].categories.violence is True
