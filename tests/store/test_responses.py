"""Responses and conversations in the database: chains, pages, leases, ends."""

from typing import Any

import pytest

from llmatic.store import conversations as talks
from llmatic.store import responses as table
from llmatic.store.conversations import ConversationFull, ConversationGone, ConversationRecord
from llmatic.store.database import Database
from llmatic.store.responses import ItemRow, ResponseRecord

pytestmark = pytest.mark.anyio
NOW = 1_000


def record(response_id: str, previous: str | None = None, **fields: Any) -> ResponseRecord:
    values: dict[str, Any] = {
        "owner": "ann",
        "status": "completed",
        "body": "{}",
        "n_events": 3,
        "created_at": 1,
    } | fields
    return ResponseRecord(id=response_id, previous_id=previous, **values)


def rows(*ids: str) -> list[ItemRow]:
    return [ItemRow(item_id, f'"{item_id}"') for item_id in ids]


async def chain_of(database: Database, n: int) -> None:
    for k in range(n):
        previous = f"r{k - 1}" if k else None
        await database.write(table.add_response(record(f"r{k}", previous), rows(f"i{k}"), rows(f"o{k}")))


async def test_a_chain_is_read_oldest_first(database: Database) -> None:
    await chain_of(database, 4)
    chain = await database.read(table.get_chain("ann", "r2", now=NOW, max_items=100))
    assert chain is not None
    assert chain.ids == ("r2", "r1", "r0")
    assert chain.items == ('"i0"', '"o0"', '"i1"', '"o1"', '"i2"', '"o2"')
    assert (chain.is_cut, chain.missing) == (False, None)
    newest = await database.read(table.get_chain("ann", "r2", now=NOW, max_items=3))
    assert newest is not None
    assert (newest.items, newest.is_cut) == (('"o1"', '"i2"', '"o2"'), True)
    assert await database.read(table.get_chain("bob", "r2", now=NOW, max_items=3)) is None


async def test_a_gap_in_a_chain_is_told(database: Database) -> None:
    await chain_of(database, 4)
    assert await database.write(table.drop_response("ann", "r1"))
    chain = await database.read(table.get_chain("ann", "r3", now=NOW, max_items=100))
    assert chain is not None
    assert chain.missing == "r1"


async def test_the_items_go_with_their_response(database: Database) -> None:
    await chain_of(database, 1)
    assert await database.read(table.find_items("ann", ["i0", "o0", "x"], NOW)) == {
        "i0": '"i0"',
        "o0": '"o0"',
    }
    assert await database.read(table.find_items("bob", ["i0"], NOW)) == {}
    assert not await database.write(table.drop_response("bob", "r0"))
    assert await database.write(table.drop_response("ann", "r0"))
    assert await database.read(table.find_items("ann", ["i0"], NOW)) == {}


async def test_the_end_comes_once(database: Database) -> None:
    await database.write(table.add_response(record("r", status="queued", lease_until=5), rows("i")))
    assert await database.write(table.set_status("r", "in_progress"))
    assert await database.write(table.finish_response(record("r"), rows("o")))
    assert not await database.write(table.finish_response(record("r", status="failed"), rows("p")))
    assert not await database.write(table.set_status("r", "cancelled"))
    found = await database.read(table.get_response("ann", "r", NOW))
    assert found is not None
    assert (found[0].status, found[0].lease_until, found[1]) == ("completed", None, ['"o"'])


async def test_leases(database: Database) -> None:
    for name in ("a", "b", "c"):
        await database.write(table.add_response(record(name, status="in_progress", lease_until=10), ()))
    await database.write(table.set_status("c", "cancelled"))
    assert await database.write(table.renew_leases(["a", "c", "x"], 99)) == {"a"}
    assert await database.write(table.fail_abandoned(50)) == 1
    states = [await database.read(table.get_response("ann", name, NOW)) for name in ("a", "b", "c")]
    assert [found[0].status for found in states if found] == ["in_progress", "failed", "cancelled"]


async def test_what_has_expired_is_gone(database: Database) -> None:
    await database.write(table.add_response(record("r0", expires_at=50), rows("i0")))
    await database.write(table.add_response(record("r1", "r0", expires_at=90), rows("i1")))
    assert await database.read(table.get_response("ann", "r0", 50)) is None
    chain = await database.read(table.get_chain("ann", "r1", now=60, max_items=9))
    assert chain is not None
    assert chain.missing == "r0"
    await database.write(table.keep_longer(["r0", "r1"], 100, 60))
    assert await database.write(table.drop_expired(95, 10)) == 1
    assert await database.read(table.get_response("ann", "r0", 95)) is not None


async def test_pages_of_the_input(database: Database) -> None:
    await database.write(table.add_response(record("r"), rows("a", "b", "c"), rows("o")))

    async def page(**fields: Any) -> list[str] | None:
        wanted: dict[str, Any] = {"limit": 2, "order": "asc", "after": None} | fields
        return await database.read(table.input_page("ann", "r", now=NOW, **wanted))

    assert await page() == ['"a"', '"b"']
    assert await page(after="b") == ['"c"']
    assert await page(order="desc", after="c") == ['"b"', '"a"']
    assert await page(after="o") is None


async def test_conversations(database: Database) -> None:
    await database.write(talks.add_conversation(ConversationRecord("c", "ann", "{}", 1), rows("a", "b")))
    await database.write(talks.append_items("ann", "c", rows("c", "d"), 4))
    with pytest.raises(ConversationFull):
        await database.write(talks.append_items("ann", "c", rows("e"), 4))
    with pytest.raises(ConversationGone):
        await database.write(talks.append_items("bob", "c", rows("e"), 9))
    assert await database.write(talks.drop_item("ann", "c", "b")) is not None
    assert await database.write(talks.drop_item("ann", "c", "b")) is None
    await database.write(talks.append_items("ann", "c", rows("e"), 4))
    up = await database.read(talks.item_page("ann", "c", limit=9, order="asc"))
    assert up == ['"a"', '"c"', '"d"', '"e"']
    assert await database.read(talks.item_page("ann", "c", limit=2, order="desc", after="d")) == [
        '"c"',
        '"a"',
    ]
    assert await database.read(talks.item_page("ann", "c", limit=2, order="desc", after="b")) is None
    with pytest.raises(ConversationGone):
        await database.read(talks.item_page("bob", "c", limit=2, order="desc"))
    assert await database.read(talks.get_item("ann", "c", "d")) == '"d"'
    changed = await database.write(talks.set_metadata("ann", "c", '{"a":"b"}'))
    assert changed is not None
    assert changed.metadata == '{"a":"b"}'
    assert await database.write(talks.set_metadata("bob", "c", "{}")) is None
    assert not await database.write(talks.drop_conversation("bob", "c"))
    assert await database.write(talks.drop_conversation("ann", "c"))
    assert await database.read(table.find_items("ann", ["a"], NOW)) == {}
