"""Lines of batches over a real socket: those that are not chats, and what may stand in their way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from llmatic.config import LimitSettings, ModelSpec, StoreSettings
from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import EngineFailed, Unavailable
from llmatic.core.limits import Limits
from llmatic.core.types import GenerationRequest, Priority
from llmatic.services.batches import answering
from tests.api.conftest import Serve, Served
from tests.api.test_batches import CHAT, chat, content, ended, lines, start
from tests.api.test_moderations import ASKING, CLASSIFIER, GUARD, guard
from tests.api.test_moderations import ENCODER as CLASSES
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC, Gate, echo

MODERATIONS = "/v1/moderations"
JUDGES: dict[str, ModelSpec] = {spec.id: spec for spec in (SPEC, CLASSIFIER, GUARD, ASKING)}


@pytest.fixture(scope="module")
def judge(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    store = StoreSettings(folder=str(tmp_path_factory.mktemp("judged")))
    return serve(models=JUDGES, store=store)


@pytest.fixture
def sdk(judge: Served) -> Iterator[openai.OpenAI]:
    judge.pool.reset()
    judge.pool.encoders = {CLASSIFIER.id: CLASSES}
    judge.pool.script = guard
    with judge.sdk() as client:
        yield client


@pytest.mark.parametrize(
    "model", [{}, {"model": "toxic"}, {"model": "text-moderation-mine"}, {"model": "guard"}]
)
def test_moderations(sdk: openai.OpenAI, judge: Served, model: dict[str, Any]) -> None:
    """One of them asks for no model at all: that is the same as over HTTP."""
    bodies = [{"input": text, **model} for text in ("what a threat 0.9", "nothing 0.1", "")]
    done = ended(sdk, start(sdk, lines(*bodies, url=MODERATIONS), MODERATIONS))
    assert (done.status, done.error_file_id) == ("completed", None), done.errors
    found = content(sdk, done.output_file_id)
    for number, body in enumerate(bodies):
        said = found[f"line-{number}"]["response"]["body"]
        assert_response_matches("createModeration", 200, json.dumps(said).encode())
        live = judge.http.post(MODERATIONS, json=body).json()
        assert {**said, "id": ""} == {**live, "id": ""}
    asked: list[GenerationRequest | EncodeRequest] = [*judge.pool.requests, *judge.pool.encode_requests]
    assert {request.priority for request in asked} == {Priority.BATCH, Priority.DEFAULT}


def test_moderations_need_a_model_that_judges(sdk: openai.OpenAI) -> None:
    body = {"input": "a", "model": SPEC.id}
    done = ended(sdk, start(sdk, lines(body, url=MODERATIONS), MODERATIONS))
    assert done.errors is not None
    assert done.errors.data is not None
    assert (done.status, done.errors.data[0].line, done.errors.data[0].param) == ("failed", 1, "body.model")


def test_a_line_larger_than_a_body_may_be(serve: Serve, tmp_path: Path) -> None:
    served = serve(store=StoreSettings(folder=str(tmp_path)), max_body_bytes=2000)
    long = chat(messages=[{"role": "user", "content": "x" * 2000}])
    fits = chat()
    fits["messages"][0]["content"] = "x" * (2000 - len(json.dumps(fits, separators=(",", ":"))))
    with served.sdk() as sdk:
        done = ended(sdk, start(sdk, lines(long, fits)))
        assert set(content(sdk, done.output_file_id)) == {"line-1"}
        refused = content(sdk, done.error_file_id)["line-0"]["response"]
        assert (refused["status_code"], refused["body"]) == (413, served.chat(**long).json())


def test_the_tokens_of_a_day_count_and_those_of_a_minute_do_not(serve: Serve, tmp_path: Path) -> None:
    limits = Limits(requests_per_minute=1, tokens_per_minute=30, concurrent_requests=1, tokens_per_day=30)
    served = serve(store=StoreSettings(folder=str(tmp_path)), limits=LimitSettings(keys=limits))
    with served.sdk(served.make_key()) as sdk:
        done = ended(sdk, start(sdk, lines(*[chat()] * 40)))
        answered, refused = content(sdk, done.output_file_id), content(sdk, done.error_file_id)
        assert answered
        assert len(answered) + len(refused) == 40
        assert done.request_counts is not None
        assert done.request_counts.failed == len(refused)
        assert {line["response"]["status_code"] for line in refused.values()} == {429}
        error = next(iter(refused.values()))["response"]["body"]["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")


def test_a_model_that_does_not_load_is_a_failed_line(
    sdk: openai.OpenAI, judge: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "FIRST_PAUSE_S", 0.0)
    n_tries = dict.fromkeys(["dies", "loads"], 0)

    def script(request: Any) -> Any:
        word = request.prompt.messages[0]["content"]
        n_tries[word] += 1
        if word == "loads":
            return [Unavailable("The model could not be loaded.", retry_after_s=9.0)]
        return [EngineFailed("It died.")] if n_tries[word] < 3 else echo(request)

    judge.pool.script = script
    bodies = [chat(messages=[{"role": "user", "content": word}]) for word in n_tries]
    done = ended(sdk, start(sdk, lines(*bodies)))
    assert set(content(sdk, done.output_file_id)) == {"line-0"}
    failed = content(sdk, done.error_file_id)["line-1"]["response"]
    assert (failed["status_code"], failed["body"]["error"]["message"]) == (
        503,
        "The model could not be loaded.",
    )
    assert n_tries == {"dies": 3, "loads": answering.MAX_TRIES}


def test_a_model_that_is_gone_when_the_server_comes_back(serve: Serve, tmp_path: Path) -> None:
    store, gate = StoreSettings(folder=str(tmp_path)), Gate()
    first = serve(models=JUDGES, store=store)
    first.pool.script = lambda _: [gate]
    with first.sdk() as sdk:
        batch = start(sdk, lines(chat(), chat()))
        assert gate.reached.wait(20)
    first.stop()
    second = serve(models={GUARD.id: GUARD}, store=store)
    with second.sdk() as sdk:
        done = ended(sdk, batch)
        refused = content(sdk, done.error_file_id)
        assert (done.status, done.output_file_id) == ("completed", None)
        assert {line["response"]["status_code"] for line in refused.values()} == {404}
        assert refused["line-0"]["response"]["body"]["error"]["code"] == "model_not_found"


def test_input_and_output_in_a_bucket(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server")
    import boto3

    bucket = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    bucket.start()
    host, port = bucket.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("llmatic.services.batches.journal.INLINE_BYTES", 1000)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="batches")
    served = serve(store=StoreSettings(folder=str(tmp_path), blobs="s3://batches/llmatic"))
    with served.sdk() as sdk:
        done = ended(sdk, start(sdk, lines(*[chat()] * 50, chat(n=0))))
        assert (done.status, len(content(sdk, done.output_file_id))) == ("completed", 50)
        assert set(content(sdk, done.error_file_id)) == {"line-50"}
        kept = {done.input_file_id, done.output_file_id, done.error_file_id}
    served.stop()  # which waits for the parts to be cleaned away
    found = {item["Key"].rsplit("/", 1)[-1] for item in s3.list_objects_v2(Bucket="batches")["Contents"]}
    bucket.stop()
    assert {name for name in found if name.startswith(("file-", "batch_"))} == kept


def test_a_chat_that_streams_or_a_background_response_is_refused(sdk: openai.OpenAI, judge: Served) -> None:
    judge.pool.script = echo
    done = ended(sdk, start(sdk, lines(chat(stream=True), chat(stream=False))))
    assert set(content(sdk, done.output_file_id)) == {"line-1"}
    bodies: list[dict[str, Any]] = [
        {"model": SPEC.id, "input": "Hi", "background": True},
        {"model": SPEC.id, "input": "Hi"},
    ]
    done = ended(sdk, start(sdk, lines(*bodies, url="/v1/responses"), "/v1/responses"))
    assert set(content(sdk, done.output_file_id)) == {"line-1"}
    refused = content(sdk, done.error_file_id)["line-0"]["response"]
    assert (refused["status_code"], refused["body"]["error"]["param"]) == (400, "background")
    assert CHAT in {batch.endpoint for batch in sdk.batches.list()}
