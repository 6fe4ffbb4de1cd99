import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from openai.types import Batch

from llmatic.config import ModelSpec, StoreSettings
from llmatic.core.encoding import EncodeRequest
from llmatic.core.types import GenerationRequest, Priority
from tests import fakes
from tests.api.conftest import WAIT_S, Serve, Served
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC, Gate, echo

ENCODER = ModelSpec(id="encoder", source="none", engine="fake")
ENDED = {"completed", "failed", "expired", "cancelled"}
CHAT: Final = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A server with a database of its own, so that nobody else's batches run on it."""
    store = StoreSettings(folder=str(tmp_path_factory.mktemp("batches")))
    return serve(models={SPEC.id: SPEC, ENCODER.id: ENCODER}, store=store)


@pytest.fixture
def api(server: Served) -> Served:
    server.pool.reset()
    return server


@pytest.fixture
def sdk(api: Served) -> Iterator[openai.OpenAI]:
    with api.sdk() as client:
        yield client


def lines(*bodies: dict[str, Any], url: str = CHAT) -> bytes:
    """An input whose lines are called line-0, line-1, …"""
    requests = [
        {"custom_id": f"line-{k}", "method": "POST", "url": url, "body": body}
        for k, body in enumerate(bodies)
    ]
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": SPEC.id, "messages": [{"role": "user", "content": "Hi"}], **fields}


def start(sdk: openai.OpenAI, data: bytes, endpoint: str = CHAT, **fields: Any) -> Batch:
    file = sdk.files.create(file=("in.jsonl", data), purpose="batch")
    return sdk.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,  # type: ignore[arg-type]
        completion_window="24h",
        **fields,
    )


def watched(sdk: openai.OpenAI, batch: Batch) -> Iterator[Batch]:
    """The batch again and again; fails instead of waiting for ever."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        yield sdk.batches.retrieve(batch.id)
    pytest.fail(f"still {batch.status}")


def ended(sdk: openai.OpenAI, batch: Batch) -> Batch:
    return next(found for found in watched(sdk, batch) if found.status in ENDED)


def content(sdk: openai.OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """The lines of a file by custom id."""
    assert file_id is not None
    found = [json.loads(line) for line in sdk.files.content(file_id).text.splitlines()]
    assert all(line.keys() == {"id", "custom_id", "response", "error"} for line in found)
    return {line["custom_id"]: line for line in found}


def test_chats_are_answered_as_over_http(sdk: openai.OpenAI, api: Served) -> None:
    batch = start(sdk, lines(chat(), chat(n=2, service_tier="priority")), metadata={"ніч": "1"})
    assert (batch.status, batch.object, batch.endpoint) == ("validating", "batch", CHAT)
    done = ended(sdk, batch)
    assert (done.status, done.metadata, done.model) == ("completed", {"ніч": "1"}, SPEC.id)
    assert done.request_counts is not None
    assert done.usage is not None
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (2, 2, 0)
    assert done.created_at <= (done.in_progress_at or 0) <= (done.completed_at or 0)
    assert done.expires_at == done.created_at + 86_400
    found = content(sdk, done.output_file_id)
    assert set(found) == {"line-0", "line-1"}
    for line in found.values():
        body = json.dumps(line["response"]["body"]).encode()
        assert_response_matches("createChatCompletion", line["response"]["status_code"], body)
    live = api.chat().json()
    said = found["line-0"]["response"]["body"]
    assert said["choices"] == live["choices"]
    assert said["usage"] == live["usage"]
    assert done.usage.output_tokens == 3 * live["usage"]["completion_tokens"]
    assert {request.priority for request in api.pool.requests[:2]} == {Priority.BATCH}
    file = sdk.files.retrieve(done.output_file_id or "")
    assert (file.purpose, file.filename, file.expires_at) == (
        "batch_output",
        f"{batch.id}_output.jsonl",
        None,
    )


@pytest.mark.parametrize(
    ("endpoint", "operation", "body"),
    [
        ("/v1/completions", "createCompletion", {"model": SPEC.id, "prompt": ["a", "b"]}),
        ("/v1/embeddings", "createEmbedding", {"model": "encoder", "input": ["a", "b"]}),
        ("/v1/responses", "createResponse", {"model": SPEC.id, "input": "Hi"}),
    ],
)
def test_every_endpoint(
    sdk: openai.OpenAI, api: Served, endpoint: str, operation: str, body: dict[str, Any]
) -> None:
    api.pool.encoders["encoder"] = fakes.ENCODER
    done = ended(sdk, start(sdk, lines(body, url=endpoint), endpoint))
    response = content(sdk, done.output_file_id)["line-0"]["response"]
    assert response["status_code"] == 200
    assert_response_matches(operation, 200, json.dumps(response["body"]).encode())
    asked: list[GenerationRequest | EncodeRequest] = [*api.pool.requests, *api.pool.encode_requests]
    assert {request.priority for request in asked} == {Priority.BATCH}


def test_a_line_is_refused_as_over_http(sdk: openai.OpenAI, api: Served) -> None:
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    done = ended(
        sdk,
        start(
            sdk,
            lines(
                chat(temperature=3),
                chat(nothing=1),
                chat(stream=True),
                chat(chat_template_kwargs={"a": deep}),
                chat(),
            ),
        ),
    )
    assert (done.status, len(content(sdk, done.output_file_id))) == ("completed", 1)
    refused = content(sdk, done.error_file_id)
    assert done.request_counts is not None
    assert done.request_counts.failed == 4
    for name, fields in (("line-0", {"temperature": 3}), ("line-1", {"nothing": 1})):
        live = api.chat(**fields)
        assert refused[name]["response"]["body"] == live.json()
        assert refused[name]["response"]["status_code"] == live.status_code == 400
    assert refused["line-2"]["response"]["body"]["error"]["param"] == "stream"
    assert "nested" in refused["line-3"]["response"]["body"]["error"]["message"]


def test_an_exception_nobody_foresaw_is_a_line_with_500(sdk: openai.OpenAI, api: Served) -> None:
    def broken(_request: object) -> Any:
        raise ZeroDivisionError

    api.pool.script = broken
    done = ended(sdk, start(sdk, lines(chat())))
    response = content(sdk, done.error_file_id)["line-0"]["response"]
    assert (response["status_code"], response["body"]["error"]["type"]) == (500, "server_error")


def test_faults_of_the_input_come_with_their_lines(sdk: openai.OpenAI) -> None:
    data = lines(chat(), {"model": "nothing"}) + b"{nope\n"
    done = ended(sdk, start(sdk, data))
    assert (done.status, done.output_file_id, done.error_file_id) == ("failed", None, None)
    assert done.errors is not None
    assert done.errors.data is not None
    assert [(e.code, e.line) for e in done.errors.data] == [("model_not_found", 2), ("invalid_json_line", 3)]
    assert done.errors.data[0].message == "The provided model 'nothing' is not supported by the Batch API."


def test_counts_grow_while_it_runs_and_cancelling_keeps_them(sdk: openai.OpenAI, api: Served) -> None:
    gate = Gate()

    def script(request: Any) -> Any:
        if request.max_tokens == 7:
            return [gate]
        return echo(request)

    api.pool.script = script
    batch = start(sdk, lines(chat(), chat(), chat(max_tokens=7)))
    batch = next(b for b in watched(sdk, batch) if b.request_counts and b.request_counts.completed == 2)
    assert batch.request_counts is not None
    assert (batch.status, batch.request_counts.total, batch.output_file_id) == ("in_progress", 3, None)
    assert sdk.batches.cancel(batch.id).status == "cancelling"
    done = ended(sdk, batch)
    assert done.status == "cancelled"
    assert done.cancelled_at is not None
    assert set(content(sdk, done.output_file_id)) == {"line-0", "line-1"}
    assert content(sdk, done.error_file_id)["line-2"]["error"]["code"] == "batch_cancelled"
    assert api.pool.n_open == 0


def test_it_is_too_late_to_cancel_what_has_ended(sdk: openai.OpenAI) -> None:
    done = ended(sdk, start(sdk, lines(chat())))
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'completed'"):
        sdk.batches.cancel(done.id)


def test_pages(sdk: openai.OpenAI, api: Served) -> None:
    made = [start(sdk, lines(chat())).id for _ in range(5)]
    assert [batch.id for batch, _ in zip(sdk.batches.list(limit=2), range(5), strict=False)] == made[::-1]
    page = api.http.get("/v1/batches", params={"limit": 2, "after": made[3]})
    assert_response_matches("listBatches", 200, page.content)
    assert [batch["id"] for batch in page.json()["data"]] == [made[2], made[1]]
    assert (page.json()["first_id"], page.json()["last_id"]) == (made[2], made[1])
    for query, param in (({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"order": "asc"}, None)):
        refused = api.http.get("/v1/batches", params=query)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert api.http.get("/v1/batches", params={"after": "batch_none"}).status_code == 404


def test_files_that_a_batch_made_expire(sdk: openai.OpenAI) -> None:
    batch = start(sdk, lines(chat()), output_expires_after={"anchor": "created_at", "seconds": 3600})
    file = sdk.files.retrieve(ended(sdk, batch).output_file_id or "")
    assert file.expires_at == file.created_at + 3600


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"endpoint": "/v1/rerank"}, 400, "endpoint"),
        ({"endpoint": ...}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": "file-none"}, 404, "input_file_id"),
        ({"input_file_id": 7}, 400, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata.a"),
        ({"metadata": {str(k): "" for k in range(17)}}, 400, "metadata"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 60}},
            400,
            "output_expires_after.seconds",
        ),
        ({"unknown": 1}, 400, None),
    ],
)
def test_what_cannot_be_made(api: Served, fields: dict[str, Any], status: int, param: str | None) -> None:
    body = {"input_file_id": "file-none", "endpoint": CHAT, "completion_window": "24h"} | fields
    reply = api.http.post(
        "/v1/batches", json={name: value for name, value in body.items() if value is not ...}
    )
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)


def test_what_is_not_there(api: Served) -> None:
    for reply in (api.http.get("/v1/batches/batch_none"), api.http.post("/v1/batches/batch_none/cancel")):
        assert (reply.status_code, reply.json()["error"]["message"]) == (
            404,
            "No batch found with id 'batch_none'.",
        )


def test_a_file_of_another_purpose(sdk: openai.OpenAI) -> None:
    file = sdk.files.create(file=("a.txt", b"a"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose 'user_data'"):
        sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def test_keys_have_batches_and_models_of_their_own(serve: Serve, tmp_path: Path) -> None:
    served = serve(models={SPEC.id: SPEC, ENCODER.id: ENCODER}, store=StoreSettings(folder=str(tmp_path)))
    ann = served.sdk(served.make_key("ann", models=(ENCODER.id,)))
    bob = served.sdk(served.make_key("bob"))
    batch = ended(ann, start(ann, lines(chat())))
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert batch.errors.data[0].code == "model_not_found"
    assert list(bob.batches.list()) == []
    for call in (bob.batches.retrieve, bob.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call(batch.id)
    with pytest.raises(openai.NotFoundError):
        bob.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    reader = served.sdk(served.make_key("reader", scopes=("files",)))
    with pytest.raises(openai.PermissionDeniedError, match="inference"):
        reader.batches.list()
    for client in (ann, bob, reader):
        client.close()
