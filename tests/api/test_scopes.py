"""What a key may do: scopes by path, models by name."""

import asyncio
import json
import re
import time
from typing import Any

import httpx2
import openai
import pytest
from starlette.routing import Route

from llmatic.api.resource import Resource
from llmatic.config import ModelSpec, ModerationSpec, StoreSettings
from llmatic.core.principal import SCOPES
from tests.api.conftest import WAIT_S, Serve, Served
from tests.contract_check import document, operations
from tests.fakes import ENCODER

WRITER = ModelSpec(id="writer", source="none", engine="fake", aliases=("text",))
HIDDEN = ModelSpec(
    id="hidden", source="none", engine="fake", aliases=("veiled",), moderation=ModerationSpec()
)
# They keep a model's name for later and ask it nothing.
ONLY_NOTE_IT = {"createInteraction", "updateInteraction"}
MISSING = "You have insufficient permissions for this operation. Missing scopes: "
# path's beginning → scope; the first that fits counts
NEEDS = {
    "/organization/": "admin",
    "/files": "files",
    "/uploads": "files",
    "/models": None,
    "/engines/{engine_id}/": "inference",
    "/engines": None,
    "/metrics": None,
    "/openapi.yaml": None,
    "/healthz": None,
    "/readyz": None,
    "/getmodels": None,
}
OPERATIONS = [
    (method, servers[0] + path, path, operation) for path, method, servers, operation in operations()
]


def scope_of(path: str) -> str | None:
    if path == "/":
        return None
    return next((scope for start, scope in NEEDS.items() if path.startswith(start)), "inference")


@pytest.fixture(scope="module")
def own(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(
        models={spec.id: spec for spec in (HIDDEN, WRITER)},
        store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))),
    )


@pytest.fixture(scope="module")
def keys(own: Served) -> dict[str, str]:
    """A key for each scope."""
    return {scope: own.make_key(scope, scopes=(scope,)) for scope in SCOPES}


def said(reply: httpx2.Response) -> str:
    """An error's words, in whatever family's form."""
    found: Any = reply.json() if "json" in reply.headers.get("content-type", "") else None
    error = found.get("error") if isinstance(found, dict) else None
    return error["message"] if isinstance(error, dict) else str(reply.text)


@pytest.mark.parametrize(
    ("method", "url", "path", "operation"), OPERATIONS, ids=lambda value: str(value)[:50]
)
def test_every_operation_needs_its_scope(
    own: Served, keys: dict[str, str], method: str, url: str, path: str, operation: dict[str, Any]
) -> None:
    needed = scope_of(path)
    filled = url.replace("{engine_id}", "writer").replace("{model}", "writer")
    for scope, key in keys.items():
        if operation.get("operationId") == "createAdminApiKey" and scope == "admin":
            continue
        reply = own.http.request(method, filled, headers={"x-api-key": key})
        is_allowed = needed in (None, scope) or scope == "admin"
        assert (f"{MISSING}{needed}." in said(reply)) is not is_allowed, reply.text
        if not is_allowed:
            assert reply.status_code == 403


def test_every_path_of_the_url_table_needs_its_scope(own: Served) -> None:
    """Also below the other prefixes, and whatever the contract describes."""
    prefixes = re.compile(r"(/v1|/oaiv1|/api/v1|/v2)(?=/)")
    for route in own.app.router.routes:
        assert isinstance(route, Route)
        assert isinstance(route.endpoint, Resource)
        path = prefixes.sub("", route.path, count=1).replace(":path}", "}")
        assert route.endpoint.needs == scope_of(path), route.path


def with_model() -> list[tuple[str, str, dict[str, Any]]]:
    """Operation, address, a body that would do, of all that take a model."""
    found = []
    for method, url, _, operation in OPERATIONS:
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        bodies = [example["value"] for example in content.get("examples", {}).values()]
        if "{engine_id}" in url and method == "POST":
            found.append((operation["operationId"], url, bodies[0]))
        body = next((body for body in bodies if "model" in body), None)
        if body is not None and operation["operationId"] not in ONLY_NOTE_IT:
            found.append((operation["operationId"], url, body))
    return found


def test_there_are_operations_with_models() -> None:
    assert len(with_model()) >= 12


@pytest.mark.parametrize(("name", "url", "body"), with_model(), ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("model", ["hidden", "veiled", "no-such-model"])
def test_other_models_do_not_exist(
    own: Served, name: str, url: str, body: dict[str, Any], model: str
) -> None:
    key = own.make_key(models=("text",))
    if "{engine_id}" in url:
        url, body = url.replace("{engine_id}", model), {k: v for k, v in body.items() if k != "model"}
    else:
        body = {**body, "model": model}
    own.pool.reset()
    reply = own.http.post(url, json=body, headers={"x-api-key": key})
    # OpenAI's own /responses says it with a 400.
    assert reply.status_code == (400 if "/responses" in url else 404), reply.text
    assert model in said(reply)
    assert own.pool.model_ids == []


def test_a_key_sees_its_models_only(own: Served) -> None:
    mine = own.sdk(own.make_key(models=("text", "no-such-model")))
    assert [model.id for model in mine.models.list()] == ["writer", "text"]
    headers = {"x-api-key": mine.api_key}
    assert [engine["id"] for engine in own.http.get("/v1/engines", headers=headers).json()["data"]] == [
        "writer",
        "text",
    ]
    assert mine.completions.create(model="writer", prompt="Hi").choices[0].text
    assert own.http.get("/metrics", headers=headers).status_code == 403
    for path in ("models/hidden", "models/veiled", "models/hidden/status", "engines/veiled"):
        assert own.http.get(f"/v1/{path}", headers=headers).status_code == 404
    for path in ("/", "/readyz"):
        shown = own.http.get(path, headers=headers).text
        assert "hidden" not in shown
        assert "writer" in shown
    with pytest.raises(openai.NotFoundError) as caught:
        mine.chat.completions.create(model="hidden", messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("answers", {"search_model": "hidden", "question": "q", "documents": ["d"], "examples": [["a", "b"]],
                     "examples_context": "c"}),
        ("classifications", {"search_model": "veiled", "query": "q", "examples": [["a", "b"], ["c", "d"]]}),
    ],
)  # fmt: skip
def test_nor_does_a_second_model_exist(own: Served, path: str, body: dict[str, Any]) -> None:
    own.pool.reset()
    headers = {"x-api-key": own.make_key(models=("writer",))}
    reply = own.http.post(f"/v1/{path}", json={"model": "writer", **body}, headers=headers)
    assert reply.status_code == 404, reply.text
    assert own.pool.model_ids == []


def test_what_others_of_the_owner_left_opens_no_model(own: Served) -> None:
    """Runs, interactions, responses and batches name models that their maker could use."""
    own.pool.reset()
    all_, one = own.make_key(owner="ann"), own.make_key(owner="ann", models=("writer",))
    headers = {"x-api-key": all_}
    named = {"name": "named", "prompts": [{"role": "user", "content": "Hi"}], "model": "hidden"}
    interaction = own.http.post("/api/v1/interactions", json=named, headers=headers)
    assert interaction.is_success, interaction.text
    waiting = own.http.post(
        "/api/v1/runs", json={"interaction": "named", "stream": True}, headers=headers
    ).json()
    told = own.sdk(all_).responses.create(model="hidden", input="Hi")
    lines = json.dumps(
        {"custom_id": "a", "method": "POST", "url": "/v1/completions",
         "body": {"model": "hidden", "prompt": "Hi"}}
    )  # fmt: skip
    file = own.sdk(all_).files.create(file=("lines", lines.encode()), purpose="batch")
    own.pool.reset()
    headers = {"x-api-key": one}
    refusals = [
        own.http.post("/api/v1/runs", json={"interaction": "named"}, headers=headers),
        own.http.get(f"/api/v1/runs/{waiting['id']}/stream", headers=headers),
        own.http.post(f"/api/v1/interactions/{interaction.json()['id']}/execute", json={}, headers=headers),
    ]
    assert [reply.status_code for reply in refusals] == [404] * 3, [reply.text for reply in refusals]
    mine = own.sdk(one)
    batch = mine.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    deadline = time.monotonic() + WAIT_S
    while batch.status not in ("completed", "failed"):
        assert time.monotonic() < deadline
        batch = mine.batches.retrieve(batch.id)
    assert "hidden" not in own.pool.model_ids
    assert batch.output_file_id is None
    # Its words are the owner's, whichever model said them.
    going_on = mine.responses.create(model="writer", input="And?", previous_response_id=told.id)
    assert going_on.status == "completed"


def test_what_is_chosen_for_the_caller_is_among_its_models(own: Served) -> None:
    own.pool.reset()
    own.pool.encoders = {"writer": ENCODER, "hidden": ENCODER}
    nothing = own.sdk(own.make_key(models=()))
    assert list(nothing.models.list()) == []
    with pytest.raises(openai.NotFoundError):
        own.sdk(own.make_key(models=("writer",))).moderations.create(
            input="x"
        )  # `hidden` is the one that does
    assert own.pool.model_ids == []


def test_two_owners(own: Served) -> None:
    """Keys of one owner are one principal's, others are strangers."""
    made = [own.make_key(owner=owner) for owner in ("ann", "ann", "bob")]
    found = [asyncio.run(own.stored.keys.recognise(key)) for key in made]
    assert [who.owner for who in found if who] == ["ann", "ann", "bob"]
    assert len({who.id for who in found if who}) == 3


def test_the_table_of_this_file_names_what_there_is() -> None:
    paths = list(document()["paths"])
    assert [start for start in NEEDS if not any(path.startswith(start) for path in paths)] == []
