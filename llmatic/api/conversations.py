"""/conversations and their items: begun, added to, read, forgotten.

Owns how each operation is answered. Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.endpoint import Body
from llmatic.api.pages import page_object
from llmatic.api.query import Query
from llmatic.api.replies import Answer
from llmatic.api.response_request import items_of
from llmatic.services.response_items import kept
from llmatic.services.responses import MICROSECONDS
from llmatic.services.terms import Caller
from llmatic.store.conversations import ConversationRecord

Path = Mapping[str, str]


async def serve_conversation(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /conversations."""
    items = await _items(context, body, caller)
    record = await context.stored.conversations.create(
        caller.principal.owner, body.get("metadata") or {}, items
    )
    return _answer(record)


async def serve_metadata(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /conversations/{conversation_id}."""
    record = await context.stored.conversations.set_metadata(
        caller.principal.owner, body["conversation_id"], body.get("metadata") or {}
    )
    return _answer(record)


async def retrieve_conversation(context: ApiContext, path: Path, _query: Query, caller: Caller) -> Answer:
    """GET /conversations/{conversation_id}."""
    return _answer(await context.stored.conversations.get(caller.principal.owner, path["conversation_id"]))


async def delete_conversation(context: ApiContext, path: Path, _query: Query, caller: Caller) -> Answer:
    """DELETE /conversations/{conversation_id}."""
    conversation_id = path["conversation_id"]
    await context.stored.conversations.delete(caller.principal.owner, conversation_id)
    gone = {"id": conversation_id, "object": "conversation.deleted", "deleted": True}
    return Answer(orjson.dumps(gone))


async def serve_new_items(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /conversations/{conversation_id}/items."""
    items = await _items(context, body, caller)
    await context.stored.conversations.append(caller.principal.owner, body["conversation_id"], items)
    return Answer(orjson.dumps(page_object(items, len(items))))


async def list_items(context: ApiContext, path: Path, query: Query, caller: Caller) -> Answer:
    """GET /conversations/{conversation_id}/items."""
    limit = query.get("limit", 20)
    items = await context.stored.conversations.item_page(
        caller.principal.owner,
        path["conversation_id"],
        limit=limit + 1,
        order=query.get("order", "desc"),
        after=query.get("after"),
    )
    return Answer(orjson.dumps(page_object(items, limit)))


async def retrieve_item(context: ApiContext, path: Path, _query: Query, caller: Caller) -> Answer:
    """GET /conversations/{conversation_id}/items/{item_id}."""
    item = await context.stored.conversations.item(
        caller.principal.owner, path["conversation_id"], path["item_id"]
    )
    return Answer(orjson.dumps(item))


async def delete_item(context: ApiContext, path: Path, _query: Query, caller: Caller) -> Answer:
    """DELETE /conversations/{conversation_id}/items/{item_id}."""
    record = await context.stored.conversations.delete_item(
        caller.principal.owner, path["conversation_id"], path["item_id"]
    )
    return _answer(record)


async def _items(context: ApiContext, body: Body, caller: Caller) -> list[dict[str, Any]]:
    """The new items in their kept form."""
    given = items_of(body, "items")
    return kept(await context.stored.responses.resolved(caller.principal.owner, given), "items")


def _answer(record: ConversationRecord) -> Answer:
    return Answer(
        orjson.dumps(
            {
                "id": record.id,
                "object": "conversation",
                "created_at": record.created_at // MICROSECONDS,
                "metadata": orjson.loads(record.metadata),
            }
        )
    )
