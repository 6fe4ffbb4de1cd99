"""Every operation of the contract: asked well, for what is not there, by nobody, without the scope, wrongly."""

import re
from typing import Any

import pytest

from llmatic.config import ModelSpec, ModerationSpec, StoreSettings
from llmatic.core.types import EncoderInfo
from tests.api.conftest import Serve, Served
from tests.api.walking import CLASSIFIER, ENCODER, PLACES, RANKER, WRITER, Walk
from tests.fakes import ENCODER as EMBEDS

ENCODERS = {
    ENCODER: EMBEDS,
    RANKER: EncoderInfo("rank", 1),
    CLASSIFIER: EncoderInfo("classify", 2, ("good", "bad")),
}
OPEN = {"getIndex", "getHealth", "getReadiness", "getContract"}
FOR_ALL_SCOPES = (
    OPEN
    | {"getMetrics"}
    | {*("listModels", "getModels", "retrieveModel", "getModelStatus", "listEngines", "retrieveEngine")}
)
WITH_IDS = [name for name, (_, path, _) in PLACES.items() if "{" in path]
WITH_JSON = [
    name
    for name, (*_, operation) in PLACES.items()
    if "application/json" in operation.get("requestBody", {}).get("content", {})
]
GUARDED = sorted(PLACES.keys() - OPEN)


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """One with keys, and with the models that the contract's examples name."""
    models = {name: ModelSpec(id=name, source="none", engine="fake") for name in (WRITER, ENCODER, RANKER)}
    moderation = ModerationSpec(categories={"bad": ("violence",)})
    models[CLASSIFIER] = ModelSpec(id=CLASSIFIER, source="none", engine="fake", moderation=moderation)
    return serve(models=models, store=StoreSettings(folder=str(tmp_path_factory.mktemp("walk"))))


@pytest.fixture(scope="module")
def keys(server: Served) -> dict[str, str]:
    return {name: server.make_key(name, scopes=frozenset({name})) for name in ("admin", "training")}


@pytest.fixture
def walk(server: Served, keys: dict[str, str]) -> Walk:
    server.pool.reset()
    server.pool.encoders = dict(ENCODERS)
    return Walk(server, keys["admin"])


@pytest.mark.parametrize("operation_id", PLACES)
def test_a_good_request_is_served(walk: Walk, operation_id: str) -> None:
    reply = walk.ask(operation_id)
    assert reply.status_code in (200, 201, 204), reply.text


@pytest.mark.parametrize("operation_id", WITH_IDS)
@pytest.mark.parametrize("unknown", ["none", "a%20b", "%00", "%ED%A0%80", "x" * 300, "..%2F..", "'", "日本"])
def test_what_is_not_there_is_not_found(walk: Walk, operation_id: str, unknown: str) -> None:
    names = re.findall(r"\{([a-z_]+)\}", PLACES[operation_id][1])
    reply = walk.ask(operation_id, ids=dict.fromkeys(names, unknown))
    assert reply.status_code in (400, 404), reply.text


@pytest.mark.parametrize("operation_id", GUARDED)
def test_nobody_is_served(walk: Walk, operation_id: str) -> None:
    for key in ("", "sk-wrong"):
        assert walk.ask(operation_id, key=key).status_code == 401


@pytest.mark.parametrize("operation_id", sorted(PLACES.keys() - FOR_ALL_SCOPES))
def test_a_scope_is_needed(walk: Walk, keys: dict[str, str], operation_id: str) -> None:
    assert walk.ask(operation_id, key=keys["training"]).status_code == 403


BODIES: list[Any] = [b"", b"{", b"[]", b"null", b'"a"', b'{"foo": 1}', b"\xff", b'{"a": ' * 3000]


@pytest.mark.parametrize("operation_id", WITH_JSON)
@pytest.mark.parametrize("body", BODIES)
def test_a_wrong_body_is_the_callers_mistake(walk: Walk, operation_id: str, body: bytes) -> None:
    reply = walk.ask(operation_id, content=body, json=None)
    assert 400 <= reply.status_code < 500, reply.text
