import asyncio
import json
from dataclasses import replace

import pytest

from llmatic.store.database import Database
from llmatic.store.files import (
    FileRecord,
    NoRoom,
    add_file,
    drop_expired,
    drop_file,
    file_object,
    get_file,
    known_files,
    list_files,
    stored_bytes,
)

pytestmark = pytest.mark.anyio

FIRST = FileRecord("file-0", "ann", "дані.jsonl", "batch", 10, 100)


async def test_each_owner_sees_its_own(database: Database) -> None:
    other = replace(FIRST, id="file-1", owner="bob", size_bytes=5)
    for record in (FIRST, other):
        await database.write(add_file(record))
    assert await database.read(get_file("ann", "file-0")) == FIRST
    assert await database.read(get_file("bob", "file-0")) is None
    found = await database.read(list_files("bob", now=0, limit=9))
    assert [json.loads(file) for file in (found or "").splitlines()] == [file_object(other)]
    assert await database.read(stored_bytes("ann", 0)) == 10
    assert await database.read(stored_bytes("nobody", 0)) == 0
    assert await database.read(known_files(["file-0", "file-1", "file-2"])) == {"file-0", "file-1"}
    assert not await database.write(drop_file("bob", "file-0", 0))
    assert await database.write(drop_file("ann", "file-0", 0))
    assert await database.read(get_file("ann", "file-0")) is None


async def test_a_quota_holds_whoever_comes_at_the_same_time(database: Database) -> None:
    records = [replace(FIRST, id=f"file-{k}") for k in range(12)]
    outcomes = await asyncio.gather(
        *(database.write(add_file(record, 55)) for record in records), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [NoRoom] * 7
    assert await database.read(stored_bytes("ann", 0)) == 50
    await database.write(add_file(replace(FIRST, id="file-b", owner="bob"), 55))


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_miss_nothing_and_repeat_nothing(database: Database, order: str) -> None:
    made = [
        replace(FIRST, id=f"file-{k}", created_at=100 + k // 3, purpose="batch" if k % 2 else "vision")
        for k in range(20)
    ]
    for record in made:
        await database.write(add_file(record))
    for purpose in (None, "vision"):
        expected = [
            r for r in sorted(made, key=lambda r: (r.created_at, r.id)) if purpose in (None, r.purpose)
        ]
        if order == "desc":
            expected.reverse()
        seen: list[str] = []
        while page := await database.read(
            list_files(
                "ann",
                now=0,
                limit=4,
                order=order,  # type: ignore[arg-type]
                purpose=purpose,
                after=seen[-1] if seen else None,
            )
        ):
            assert len(page.splitlines()) <= 4
            seen += [json.loads(file)["id"] for file in page.splitlines()]
        assert seen == [record.id for record in expected]
    assert await database.read(list_files("ann", now=0, limit=4, after="file-99")) is None


async def test_what_has_expired_is_neither_listed_nor_kept(database: Database) -> None:
    for k in range(5):
        record = replace(FIRST, id=f"file-{k}", expires_at=None if k == 4 else 100 + k)
        await database.write(add_file(record))
    found = await database.read(list_files("ann", now=102, limit=9))
    assert {json.loads(file)["id"] for file in (found or "").splitlines()} == {"file-3", "file-4"}
    assert not await database.write(drop_file("ann", "file-0", 102))
    assert set(await database.write(drop_expired(102, 2))) < {"file-0", "file-1", "file-2"}
    await database.write(drop_expired(102, 9))
    assert await database.write(drop_expired(102, 9)) == []
    assert await database.read(get_file("ann", "file-2")) is None
    assert await database.read(get_file("ann", "file-3")) is not None


async def test_what_the_files_weigh_follows_them_whoever_comes_at_the_same_time(database: Database) -> None:
    for k in range(30):
        record = replace(FIRST, id=f"file-{k:02}", owner="ann" if k % 3 else "bob", size_bytes=1 + k)
        await database.write(add_file(replace(record, expires_at=100 + k if k < 20 else None)))
    gone = await asyncio.gather(
        *(database.write(drop_expired(110, 4)) for _ in range(6)),
        *(database.write(drop_file("ann", f"file-{k}", 0)) for k in (10, 22, 22, 25, 99)),
        *(database.write(add_file(replace(FIRST, id=f"file-new{k}", size_bytes=1000))) for k in range(3)),
    )
    await database.write(drop_expired(110, 99))
    assert sum(done is True for done in gone) in (2, 3)  # the first may have expired before
    left = [k for k in range(30) if k > 10 and k not in (22, 25)]
    for owner, new in (("ann", 3000), ("bob", 0)):
        mine = sum(1 + k for k in left if (owner == "ann") == bool(k % 3))
        assert await database.read(stored_bytes(owner, 0)) == mine + new
        for file in (await database.read(list_files(owner, now=0, limit=99)) or "").splitlines():
            await database.write(drop_file(owner, json.loads(file)["id"], 0))
        assert await database.read(stored_bytes(owner, 0)) == 0
