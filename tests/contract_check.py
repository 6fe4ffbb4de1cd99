"""Holds replies against `openapi.yaml`, for every test that has one.

Whole replies go through openapi-core, events of a stream through the component schema of their chunk.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import jsonschema_rs
import orjson
import yaml
from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from llmatic.app import contract_path

CHUNKS = {
    "chat": "CreateChatCompletionStreamResponse",
    "completion": "CreateCompletionStreamResponse",
    "error": "ErrorResponse",
}


@cache
def document() -> dict[str, Any]:
    """The contract as parsed."""
    parsed: dict[str, Any] = yaml.load(contract_path().read_bytes(), Loader=yaml.CSafeLoader)
    return parsed


@cache
def _openapi() -> OpenAPI:
    config = Config(extra_media_type_deserializers={"application/yaml": yaml.safe_load})
    return OpenAPI.from_dict(document(), config=config)


@cache
def component(name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


def assert_response_matches(
    operation_id: str,
    status: int,
    body: bytes,
    *,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> None:
    """The reply to an operation is one that the contract describes."""
    method, path = _place(operation_id)
    request = MockRequest("http://localhost", method, path)
    response = MockResponse(body, status, headers or {}, content_type)
    _openapi().validate_response(request, response)


def assert_chunk_matches(kind: Literal["chat", "completion", "error"], chunk: dict[str, Any]) -> None:
    """One event of a stream, already parsed, is one that the contract describes."""
    component(CHUNKS[kind]).validate(chunk)


def assert_stream_matches(kind: Literal["chat", "completion"], body: bytes) -> list[dict[str, Any]]:
    """A whole stream of events that ends well; returns its chunks."""
    events = [event for event in body.decode().split("\n\n") if event and not event.startswith(":")]
    assert all(event.startswith("data: ") for event in events), events
    assert events[-1] == "data: [DONE]"
    chunks = [orjson.loads(event.removeprefix("data: ")) for event in events[:-1]]
    for chunk in chunks:
        assert_chunk_matches(kind, chunk)
    return chunks


def operations() -> Iterator[tuple[str, str, list[str], dict[str, Any]]]:
    """Path, method, prefixes of its servers, operation."""
    for path, item in document()["paths"].items():
        servers = [server["url"].rstrip("/") for server in item.get("servers", document()["servers"])]
        for method, operation in item.items():
            if method in ("get", "post", "put", "patch", "delete"):
                yield path, method.upper(), servers, operation


def _place(operation_id: str) -> tuple[str, str]:
    """Method and a full path of an operation, placeholders filled in."""
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict) and operation.get("operationId") == operation_id:
                server = item.get("servers", document()["servers"])[0]["url"].rstrip("/")
                return method, server + re.sub(r"\{[a-z_]+\}", "m", path)
    raise KeyError(operation_id)
