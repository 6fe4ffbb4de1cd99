import asyncio
from dataclasses import replace

import pytest

from llmatic.store.database import Database
from llmatic.store.files import NoRoom, add_file, get_file, stored_bytes
from llmatic.store.uploads import (
    PartRecord,
    UploadRecord,
    add_part,
    add_upload,
    cancel_upload,
    complete_upload,
    drop_parts,
    drop_uploads,
    get_parts,
    get_upload,
    known_parts,
    parts_to_drop,
    store_mark,
)
from tests.store.test_files import FIRST as FILE

pytestmark = pytest.mark.anyio

FIRST = UploadRecord("upload_0", "ann", "дані.jsonl", "text/jsonl", "batch", 10, None, "pending", 100, 200)
PART = PartRecord("part_0", "upload_0", 6, 150)


async def test_each_owner_sees_its_own(database: Database) -> None:
    await database.write(add_upload(FIRST, 100))
    assert await database.read(get_upload("ann", "upload_0")) == FIRST
    assert await database.read(get_upload("bob", "upload_0")) is None
    assert not await database.write(add_part("bob", PART, 99))
    assert not await database.write(cancel_upload("bob", "upload_0"))


async def test_what_is_announced_counts_until_the_upload_ends(database: Database) -> None:
    await database.write(add_file(FILE))
    with pytest.raises(NoRoom):
        await database.write(add_upload(FIRST, 19))
    await database.write(add_upload(FIRST, 20))
    with pytest.raises(NoRoom):
        await database.write(add_file(replace(FILE, id="file-1", size_bytes=1), 20))
    assert await database.read(stored_bytes("ann", 199)) == 20
    assert await database.read(stored_bytes("ann", 200)) == 10
    await database.write(cancel_upload("ann", "upload_0"))
    assert await database.read(stored_bytes("ann", 199)) == 10


async def test_parts_are_taken_while_it_is_open_and_until_it_is_full(database: Database) -> None:
    await database.write(add_upload(FIRST, 100))
    assert await database.write(add_part("ann", PART, 10))
    assert not await database.write(add_part("ann", replace(PART, id="part_1"), 10))
    assert not await database.write(add_part("ann", replace(PART, id="part_1", created_at=200), 99))
    assert await database.read(get_parts("upload_0")) == [PART]
    assert await database.read(known_parts(["part_0", "part_1"])) == {"part_0"}
    await database.write(cancel_upload("ann", "upload_0"))
    assert not await database.write(add_part("ann", replace(PART, id="part_1"), 99))


async def test_it_is_completed_once(database: Database) -> None:
    await database.write(add_upload(FIRST, 100))
    files = [replace(FILE, id=f"file-{k}") for k in range(5)]
    outcomes = await asyncio.gather(
        *(database.write(complete_upload(FIRST, ["part_0", "part_1"], file, 10)) for file in files)
    )
    assert outcomes.count(True) == 1
    kept = files[outcomes.index(True)]
    assert await database.read(get_upload("ann", "upload_0")) == replace(
        FIRST, status="completed", part_ids=("part_0", "part_1"), file_id=kept.id
    )
    assert await database.read(get_file("ann", kept.id)) == kept
    assert await database.read(stored_bytes("ann", 100)) == 10
    assert not await database.write(cancel_upload("ann", "upload_0"))


async def test_it_stays_open_when_there_is_no_room(database: Database) -> None:
    await database.write(add_upload(FIRST, 100))
    with pytest.raises(NoRoom):
        await database.write(complete_upload(FIRST, ["part_0"], FILE, 9))
    assert await database.read(get_upload("ann", "upload_0")) == FIRST


async def test_what_is_over_is_forgotten_parts_first(database: Database) -> None:
    for k, expires_at in enumerate((200, 300, 300)):
        upload_id = f"upload_{k}"
        await database.write(add_upload(replace(FIRST, id=upload_id, expires_at=expires_at), 100))
        await database.write(add_part("ann", replace(PART, id=f"part_{k}", upload_id=upload_id), 99))
    await database.write(cancel_upload("ann", "upload_2"))
    assert sorted(await database.read(parts_to_drop(200, 9))) == ["part_0", "part_2"]
    assert len(await database.read(parts_to_drop(200, 1))) == 1
    assert await database.write(drop_uploads(300)) == 0
    await database.write(drop_parts(["part_0", "part_2"]))
    assert await database.write(drop_uploads(300)) == 2
    assert await database.read(get_upload("ann", "upload_1")) is not None


async def test_the_mark_is_made_once(database: Database) -> None:
    marks = await asyncio.gather(*(database.write(store_mark(word)) for word in "abcdef"))
    assert len(set(marks)) == 1
    assert await database.write(store_mark("z")) == marks[0]
