"""Conversations in the database, and their items in the order in which they came.

Owns the SQL. Functions take a connection with an open transaction: give them to `Database.read` or `write`.
An item's place is a number that its conversation hands out and never uses again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from llmatic.store.paging import Order
from llmatic.store.responses import ItemRow
from llmatic.store.tables import conversation_items, conversations


class ConversationGone(Exception):
    """There is no such conversation, or not any more."""


class ConversationFull(Exception):
    """It would hold more items than are allowed."""


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation without its items. `metadata` is JSON; the time is in microseconds since 1970."""

    id: str
    owner: str
    metadata: str
    created_at: int


def add_conversation(record: ConversationRecord, items: Sequence[ItemRow]) -> Callable[[Connection], None]:
    """Insert it and its first items."""

    def work(connection: Connection) -> None:
        values = {name: getattr(record, name) for name in ConversationRecord.__dataclass_fields__}
        counts = {"n_items": len(items), "next_position": len(items)}
        connection.execute(insert(conversations).values(values | counts))
        _add_items(connection, record.id, items, 0)

    return work


def get_conversation(owner: str, conversation_id: str) -> Callable[[Connection], ConversationRecord | None]:
    """One conversation of the owner."""
    wanted = select(conversations).where(*_mine(owner, conversation_id))

    def work(connection: Connection) -> ConversationRecord | None:
        row = connection.execute(wanted).first()
        return None if row is None else _record(row)

    return work


def set_metadata(
    owner: str, conversation_id: str, metadata: str
) -> Callable[[Connection], ConversationRecord | None]:
    """The changed conversation, if there is one."""
    changed = update(conversations).where(*_mine(owner, conversation_id)).values(metadata=metadata)

    def work(connection: Connection) -> ConversationRecord | None:
        connection.execute(changed)
        return get_conversation(owner, conversation_id)(connection)

    return work


def drop_conversation(owner: str, conversation_id: str) -> Callable[[Connection], bool]:
    """Forget it and its items; whether there was one."""
    gone = delete(conversations).where(*_mine(owner, conversation_id))
    return lambda connection: connection.execute(gone).rowcount > 0


def append_items(
    owner: str, conversation_id: str, items: Sequence[ItemRow], max_items: int
) -> Callable[[Connection], None]:
    """Add items at the end, all of them or none. Raises ConversationGone, ConversationFull."""

    def work(connection: Connection) -> None:
        # The row stays locked until the end of the transaction, so that no two appends mix.
        grown = (
            update(conversations)
            .where(*_mine(owner, conversation_id))
            .values(
                n_items=conversations.c.n_items + len(items),
                next_position=conversations.c.next_position + len(items),
            )
            .returning(conversations.c.n_items, conversations.c.next_position)
        )
        row = connection.execute(grown).first()
        if row is None:
            raise ConversationGone
        if row.n_items > max_items:
            raise ConversationFull
        _add_items(connection, conversation_id, items, row.next_position - len(items))

    return work


def item_page(
    owner: str, conversation_id: str, *, limit: int, order: Order, after: str | None = None
) -> Callable[[Connection], list[str] | None]:
    """At most `limit` items; None if there is no item `after`. Raises ConversationGone."""

    def work(connection: Connection) -> list[str] | None:
        _require(connection, owner, conversation_id)
        here, place = conversation_items.c.conversation_id == conversation_id, conversation_items.c.position
        wanted = select(conversation_items.c.data).where(here)
        if after is not None:
            known = select(place).where(here, conversation_items.c.item_id == after)
            last = connection.execute(known).scalar()
            if last is None:
                return None
            wanted = wanted.where(place < last if order == "desc" else place > last)
        wanted = wanted.order_by(place.desc() if order == "desc" else place.asc()).limit(limit)
        return list(connection.execute(wanted).scalars())

    return work


def get_item(owner: str, conversation_id: str, item_id: str) -> Callable[[Connection], str | None]:
    """One item. Raises ConversationGone."""

    def work(connection: Connection) -> str | None:
        _require(connection, owner, conversation_id)
        wanted = select(conversation_items.c.data).where(*_item(conversation_id, item_id))
        data: str | None = connection.execute(wanted).scalar()
        return data

    return work


def drop_item(
    owner: str, conversation_id: str, item_id: str
) -> Callable[[Connection], ConversationRecord | None]:
    """The conversation without the item; None if it has no such item. Raises ConversationGone."""

    def work(connection: Connection) -> ConversationRecord | None:
        record = _require(connection, owner, conversation_id)
        gone = delete(conversation_items).where(*_item(conversation_id, item_id))
        if not connection.execute(gone).rowcount:
            return None
        fewer = update(conversations).where(*_mine(owner, conversation_id))
        connection.execute(fewer.values(n_items=conversations.c.n_items - 1))
        return record

    return work


def _require(connection: Connection, owner: str, conversation_id: str) -> ConversationRecord:
    record = get_conversation(owner, conversation_id)(connection)
    if record is None:
        raise ConversationGone
    return record


def _mine(owner: str, conversation_id: str) -> tuple[Any, ...]:
    return conversations.c.id == conversation_id, conversations.c.owner == owner


def _item(conversation_id: str, item_id: str) -> tuple[Any, ...]:
    return conversation_items.c.conversation_id == conversation_id, conversation_items.c.item_id == item_id


def _add_items(connection: Connection, conversation_id: str, items: Sequence[ItemRow], first: int) -> None:
    if items:
        rows = [
            {
                "conversation_id": conversation_id,
                "position": first + index,
                "item_id": item.id,
                "data": item.data,
            }
            for index, item in enumerate(items)
        ]
        connection.execute(insert(conversation_items), rows)


def _record(row: Row[Any]) -> ConversationRecord:
    return ConversationRecord(
        **{name: getattr(row, name) for name in ConversationRecord.__dataclass_fields__}
    )
