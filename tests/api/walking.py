"""One good request for every operation of the contract, and the making of what it has to find."""

import hashlib
import itertools
import re
from collections.abc import Callable
from typing import Any, Final

import httpx2

from llmatic.core.types import Delta, Finished, Started, Usage
from tests.api.conftest import Served
from tests.contract_check import assert_response_matches, operations

WRITER: Final = "llmatic-tiny"
ENCODER: Final = "all-MiniLM-L6-v2"
RANKER: Final = "ranker"
CLASSIFIER: Final = "classifier"
HELLO: Final = [{"role": "user", "content": "Hi"}]
CHAT: Final[dict[str, Any]] = {"model": WRITER, "messages": HELLO}
NUMBERS: Final = itertools.count()
LINE: Final = (
    b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", '
    b'"body": {"model": "llmatic-tiny", "messages": [{"role": "user", "content": "Hi"}]}}\n'
)
PLACES: Final = {
    operation["operationId"]: (method, prefixes[0] + path, operation)
    for path, method, prefixes, operation in operations()
}


class Walk:
    """Asks with one key. Every reply is held against the contract."""

    def __init__(self, served: Served, key: str) -> None:
        self.served = served
        self.key = key

    def ask(
        self,
        operation_id: str,
        *,
        key: str | None = None,
        ids: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        """The reply to a good request. `ids`: what to put into its path; made if not given."""
        method, path, _ = PLACES[operation_id]
        options = self.options(operation_id) | options
        ids = options.pop("ids", {}) | (ids or {})
        if missing := set(re.findall(r"\{([a-z_]+)\}", path)) - ids.keys():
            ids = self.made_ids(missing) | ids
        key = self.key if key is None else key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        reply = self.served.http.request(method, path.format_map(ids), headers=headers, **options)
        kind = reply.headers.get("content-type", "").partition(";")[0]
        if kind != "text/event-stream":
            sent = dict(reply.headers.items())
            assert_response_matches(
                operation_id, reply.status_code, reply.content, content_type=kind, headers=sent
            )
        return reply

    def made(self, operation_id: str, **options: Any) -> dict[str, Any]:
        """What an operation that makes something answers."""
        reply = self.ask(operation_id, **options)
        assert reply.status_code in (200, 201), reply.text
        body: dict[str, Any] = reply.json()
        return body

    def made_ids(self, names: set[str]) -> dict[str, str]:
        """Ids of things that are there, by the names of the path parameters."""
        if "conversation_id" in names:
            conversation = self.made("createConversation", json={"items": HELLO})["id"]
            items = self.made("listConversationItems", ids={"conversation_id": conversation})["data"]
            return {"conversation_id": conversation, "item_id": items[0]["id"]}
        return {name: MAKERS[name](self) for name in names}

    def options(self, operation_id: str) -> dict[str, Any]:
        """Body and query of a good request: the contract's example, and what `PREPARED` puts in its place."""
        prepared = PREPARED[operation_id](self) if operation_id in PREPARED else {}
        content = PLACES[operation_id][2].get("requestBody", {}).get("content", {})
        if "application/json" in content:
            example = next(iter(content["application/json"]["examples"].values()))["value"]
            prepared["json"] = example | prepared.get("json", {})
        return prepared


def _completed_upload(walk: Walk) -> dict[str, Any]:
    upload = walk.made("createUpload")["id"]
    part = walk.made("addUploadPart", ids={"upload_id": upload})["id"]
    md5 = hashlib.md5(LINE).hexdigest()
    return {"ids": {"upload_id": upload}, "json": {"part_ids": [part], "md5": md5}}


def _background_response(walk: Walk) -> dict[str, Any]:
    body = {"model": WRITER, "input": "Hi", "background": True}
    return {"ids": {"response_id": walk.made("createResponse", json=body)["id"]}}


def _published_interaction(walk: Walk) -> dict[str, Any]:
    made = walk.made("createInteraction")
    walk.made("publishInteraction", ids={"interaction_id": made["id"]})
    return {"json": {"interaction": made["name"]}}


def _says(text: str) -> Callable[[Walk], dict[str, Any]]:
    def prepare(walk: Walk) -> dict[str, Any]:
        walk.served.pool.script = lambda _: [Started(1), Delta(0, text, 1, (), "stop"), Finished(Usage(1, 1))]
        return {}

    return prepare


def _with_json(**fields: Any) -> Callable[[Walk], dict[str, Any]]:
    return lambda _: {"json": fields}


def _with_encoder(_walk: Walk) -> dict[str, Any]:
    return {"ids": {"engine_id": ENCODER}}


def _with_times(_walk: Walk) -> dict[str, Any]:
    return {"params": {"start_time": 1735689600, "end_time": 1735776000}}


MAKERS: Final[dict[str, Callable[[Walk], str]]] = {
    "model": lambda _: WRITER,
    "engine_id": lambda _: WRITER,
    "file_id": lambda walk: walk.made("createFile")["id"],
    "upload_id": lambda walk: walk.made("createUpload")["id"],
    "batch_id": lambda walk: walk.made("createBatch")["id"],
    "response_id": lambda walk: walk.made("createResponse")["id"],
    "completion_id": lambda walk: walk.made("createChatCompletion", json=CHAT | {"store": True})["id"],
    "key_id": lambda walk: walk.made("createAdminApiKey")["id"],
    "run_id": lambda walk: walk.made("createRun")["id"],
    "interaction_id": lambda walk: walk.made("createInteraction")["id"],
}
PREPARED: Final[dict[str, Callable[[Walk], dict[str, Any]]]] = {
    "createFile": lambda _: {"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", LINE)}},
    "createUpload": _with_json(bytes=len(LINE)),
    "addUploadPart": lambda _: {"files": {"data": ("a", LINE)}},
    "completeUpload": _completed_upload,
    "createBatch": lambda walk: {
        "json": {"input_file_id": walk.made("createFile")["id"], "endpoint": "/v1/chat/completions"}
    },
    "cancelResponse": _background_response,
    "createInteraction": lambda _: {"json": {"name": f"Greeting{next(NUMBERS)}"}},
    "forkInteraction": lambda _: {"json": {"name": f"Fork{next(NUMBERS)}"}},
    "executeInteractionByName": _published_interaction,
    "createEngineEmbedding": _with_encoder,
    "createSearch": _with_encoder,
    "createRerank": _with_json(model=RANKER),
    "createRerankV2": _with_json(model=RANKER),
    "createModeration": _with_json(model=CLASSIFIER),
    "createClassification": _says("Negative"),
    "getUsageOfCompletions": _with_times,
    "getUsageOfEmbeddings": _with_times,
    "getUsageOfModerations": _with_times,
}
