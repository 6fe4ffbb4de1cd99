"""Stored chat completions: listed, retrieved, their messages, their metadata, deleted.

Owns OpenAI's form of them; they are runs of the kind "chat". Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.pages import page_object
from llmatic.api.query import Query
from llmatic.api.replies import Answer
from llmatic.core.errors import InvalidRequest, NotFound
from llmatic.services.terms import Caller
from llmatic.store.runs import RunBody, RunFilter, RunRecord, metadata_label

Body = dict[str, Any]

# Parameters that a stored completion repeats, and what an absent one was.
_REPEATED = {
    "tool_choice": None,
    "seed": None,
    "top_p": 1.0,
    "temperature": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "tools": None,
    "response_format": None,
}


async def list_stored_chats(
    context: ApiContext, _path: Mapping[str, str], query: Query, caller: Caller
) -> Answer:
    """GET /chat/completions."""
    limit = int(query.get("limit", 20))
    labels = tuple(metadata_label(key, value) for key, value in query.get("metadata", {}).items())
    model = query.get("model")
    if model is not None and context.registry.knows(model):
        model = context.registry.resolve(model).id
    runs = context.stored.runs
    after = query.get("after")
    try:
        records = await runs.page(
            caller.principal.owner,
            RunFilter(model=model, is_stored=True, labels=labels),
            limit=limit + 1,
            order=query.get("order", "asc"),
            after=after,
        )
    except NotFound:
        raise _missing(str(after), "after") from None
    bodies = await runs.bodies(records)
    found = [chat_object(record, bodies[record.id]) for record in records if record.id in bodies]
    return Answer(orjson.dumps(page_object(found, limit)))


async def retrieve_stored_chat(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """GET /chat/completions/{completion_id}."""
    return Answer(orjson.dumps(chat_object(*await _get(context, caller, path["completion_id"]))))


async def list_stored_messages(
    context: ApiContext, path: Mapping[str, str], query: Query, caller: Caller
) -> Answer:
    """GET /chat/completions/{completion_id}/messages."""
    record, body = await _get(context, caller, path["completion_id"])
    messages = message_objects(record, body)
    if query.get("order", "asc") == "desc":
        messages.reverse()
    after = query.get("after")
    if after is not None:
        ids = [message["id"] for message in messages]
        if after not in ids:
            raise InvalidRequest(f"No message with the id '{after[:100]}' was found.", param="after")
        messages = messages[ids.index(after) + 1 :]
    return Answer(orjson.dumps(page_object(messages, int(query.get("limit", 20)))))


async def update_stored_chat(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /chat/completions/{completion_id}."""
    owner, chat_id = caller.principal.owner, body["completion_id"]
    record, texts = await _get(context, caller, chat_id)
    changed = await context.stored.runs.annotate(owner, record.id, {"metadata": body.get("metadata") or {}})
    return Answer(orjson.dumps(chat_object(changed, texts)))


async def delete_stored_chat(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """DELETE /chat/completions/{completion_id}."""
    chat_id = path["completion_id"]
    try:
        await context.stored.runs.delete(caller.principal.owner, chat_id, is_stored=True)
    except NotFound:
        raise _missing(chat_id) from None
    return Answer(orjson.dumps({"object": "chat.completion.deleted", "id": chat_id, "deleted": True}))


def chat_object(record: RunRecord, body: RunBody) -> dict[str, Any]:
    """The reply as it was sent, with the parameters and the metadata that belong to it."""
    assert body.reply is not None, "stored completions have a reply"
    reply, request = orjson.loads(body.reply), orjson.loads(body.request)
    repeated = {name: request.get(name, default) for name, default in _REPEATED.items()}
    extras = {
        "input_user": request.get("user"),
        "metadata": record.summary.get("metadata") or {},
    }
    return {**reply, **repeated, **extras}


def message_objects(record: RunRecord, body: RunBody) -> list[dict[str, Any]]:
    """The messages that were sent, each with an id of its own."""
    messages = orjson.loads(body.request).get("messages", [])
    return [_message(f"{record.id}-{index}", message) for index, message in enumerate(messages)]


def _message(message_id: str, message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    return {
        **message,
        "id": message_id,
        "content": None if parts is not None else content,
        "content_parts": parts,
        "name": message.get("name"),
    }


async def _get(context: ApiContext, caller: Caller, chat_id: str) -> tuple[RunRecord, RunBody]:
    try:
        record, body = await context.stored.runs.get_with_body(caller.principal.owner, chat_id)
    except NotFound:
        raise _missing(chat_id) from None
    if not record.is_stored:
        raise _missing(chat_id)
    return record, body


def _missing(chat_id: str, param: str = "id") -> NotFound:
    return NotFound(f"No such Completion object: {chat_id[:100]}", param=param)
