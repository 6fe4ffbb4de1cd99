"""Conversations: begun, added to, read, forgotten.

Owns the rules: who sees what, and how much a conversation may hold. Event loop's thread.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from llmatic.services.response_items import Item, new_id, row
from llmatic.services.responses import (
    MICROSECONDS,
    checked_after,
    conversation_full,
    is_id,
    no_conversation,
    no_item,
)
from llmatic.store import conversations as table
from llmatic.store.conversations import ConversationFull, ConversationGone, ConversationRecord
from llmatic.store.database import Database, T, Work
from llmatic.store.paging import Order


class Conversations:
    """The conversations of all owners."""

    def __init__(self, database: Database, max_items: int, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._max_items = max_items
        self._clock = clock

    async def create(
        self, owner: str, metadata: Mapping[str, str], items: Sequence[Item]
    ) -> ConversationRecord:
        """A new one. Raises InvalidRequest, InsufficientStorage, Unavailable."""
        if len(items) > self._max_items:
            raise conversation_full(self._max_items)
        record = ConversationRecord(
            id=new_id("conv"),
            owner=owner,
            metadata=orjson.dumps(metadata).decode(),
            created_at=int(self._clock() * MICROSECONDS),
        )
        await self._database.write(table.add_conversation(record, [row(item) for item in items]))
        return record

    async def get(self, owner: str, conversation_id: str) -> ConversationRecord:
        """Raises NotFound."""
        found = None
        if is_id(conversation_id):
            found = await self._database.read(table.get_conversation(owner, conversation_id))
        if found is None:
            raise no_conversation(conversation_id)
        return found

    async def set_metadata(
        self, owner: str, conversation_id: str, metadata: Mapping[str, str]
    ) -> ConversationRecord:
        """The conversation with this metadata in place of its own. Raises NotFound."""
        text = orjson.dumps(metadata).decode()
        found = await self._write(conversation_id, table.set_metadata(owner, conversation_id, text))
        if found is None:
            raise no_conversation(conversation_id)
        return found

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Forget it and its items. Raises NotFound."""
        if not await self._write(conversation_id, table.drop_conversation(owner, conversation_id)):
            raise no_conversation(conversation_id)

    async def append(self, owner: str, conversation_id: str, items: Sequence[Item]) -> None:
        """Add items at the end, all or none. Raises NotFound, InvalidRequest."""
        rows = [row(item) for item in items]
        await self._write(conversation_id, table.append_items(owner, conversation_id, rows, self._max_items))

    async def item_page(
        self, owner: str, conversation_id: str, *, limit: int, order: Order, after: str | None
    ) -> list[Any]:
        """At most `limit` items. Raises NotFound."""
        page = table.item_page(owner, conversation_id, limit=limit, order=order, after=checked_after(after))
        found = await self._read(conversation_id, page)
        if found is None:
            raise no_item(after or "", "after")
        return [orjson.loads(item) for item in found]

    async def item(self, owner: str, conversation_id: str, item_id: str) -> Any:
        """One item. Raises NotFound."""
        found = None
        if is_id(item_id):
            found = await self._read(conversation_id, table.get_item(owner, conversation_id, item_id))
        if found is None:
            raise no_item(item_id)
        return orjson.loads(found)

    async def delete_item(self, owner: str, conversation_id: str, item_id: str) -> ConversationRecord:
        """The conversation without it. Raises NotFound."""
        found = None
        if is_id(item_id):
            found = await self._write(conversation_id, table.drop_item(owner, conversation_id, item_id))
        if found is None:
            raise no_item(item_id)
        return found

    async def _read(self, conversation_id: str, work: Work[T]) -> T:
        try:
            if not is_id(conversation_id):
                raise ConversationGone
            return await self._database.read(work)
        except ConversationGone:
            raise no_conversation(conversation_id) from None

    async def _write(self, conversation_id: str, work: Work[T]) -> T:
        try:
            if not is_id(conversation_id):
                raise ConversationGone
            return await self._database.write(work)
        except ConversationGone:
            raise no_conversation(conversation_id) from None
        except ConversationFull:
            raise conversation_full(self._max_items) from None
