from dataclasses import replace

import pytest

from llmatic.store.batches import (
    BatchRecord,
    Part,
    add_batch,
    add_part,
    change_batch,
    claim_batch,
    drop_parts,
    ending_batches,
    get_batch,
    list_batches,
    list_parts,
    part_data,
    release_batches,
    renew_leases,
    request_cancel,
    waiting_batches,
)
from llmatic.store.database import Database
from llmatic.store.errors import AlreadyThere
from llmatic.store.files import FileRecord, get_file

pytestmark = pytest.mark.anyio

FIRST = BatchRecord("batch_0", "ann", "{}", "/v1/embeddings", "file-0", "24h", 100, 1000)
FILE = FileRecord("file-1", "ann", "a", "batch_output", 10, 100)


async def test_each_owner_sees_its_own(database: Database) -> None:
    await database.write(add_batch(FIRST))
    assert await database.read(get_batch("ann", "batch_0")) == FIRST
    assert await database.read(get_batch("bob", "batch_0")) is None
    assert await database.read(list_batches("bob", limit=9)) == []
    assert await database.write(request_cancel("bob", "batch_0", 5)) is None
    assert await database.read(list_batches("ann", limit=9, after="batch_9")) is None


async def test_pages_miss_nothing_and_repeat_nothing(database: Database) -> None:
    made = [replace(FIRST, id=f"batch_{k}", created_at=100 + k // 3) for k in range(20)]
    for record in made:
        await database.write(add_batch(record))
    seen: list[BatchRecord] = []
    while page := await database.read(list_batches("ann", limit=4, after=seen[-1].id if seen else None)):
        seen += page
    assert seen == sorted(made, key=lambda record: (record.created_at, record.id), reverse=True)


async def test_one_server_at_a_time_holds_a_batch(database: Database) -> None:
    await database.write(add_batch(FIRST))
    held = await database.write(claim_batch("batch_0", "one", 10, 20))
    assert held == replace(FIRST, holder="one", lease_until=20, generation=1)
    assert await database.write(claim_batch("batch_0", "two", 19, 30)) is None
    assert await database.read(renew_leases("one", None)) == {"batch_0": (1, "validating")}
    assert await database.write(renew_leases("one", 25)) == {"batch_0": (1, "validating")}
    assert await database.write(claim_batch("batch_0", "two", 24, 40)) is None
    taken = await database.write(claim_batch("batch_0", "two", 25, 40))
    assert taken is not None
    assert taken.generation == 2
    assert await database.write(renew_leases("one", 99)) == {}
    await database.write(release_batches("one", ["batch_0"]))
    assert await database.write(claim_batch("batch_0", "three", 39, 50)) is None
    await database.write(release_batches("two", ["batch_0"], 39))
    assert await database.write(claim_batch("batch_0", "three", 39, 50)) is not None


async def test_whoever_has_lost_it_changes_nothing(database: Database) -> None:
    await database.write(add_batch(FIRST))
    await database.write(claim_batch("batch_0", "one", 10, 20))
    await database.write(claim_batch("batch_0", "two", 30, 40))
    part = Part("batch_0", 0, "1-3", 2, data=b"abc")
    assert not await database.write(add_part(1, part, {"n_completed": 3}))
    assert not await database.write(change_batch("batch_0", 1, "validating", {"status": "failed"}, [FILE]))
    assert await database.read(list_parts("batch_0")) == []
    assert await database.read(get_file("ann", "file-1")) is None
    found = await database.read(get_batch("ann", "batch_0"))
    assert found is not None
    assert (found.status, found.n_completed) == ("validating", 0)


async def test_parts_are_counted_and_kept_in_order(database: Database) -> None:
    await database.write(add_batch(FIRST))
    await database.write(claim_batch("batch_0", "one", 10, 20))
    for number in (0, 1):
        part = Part("batch_0", number, f"{number}", 2, data=b"%d" % number)
        assert await database.write(add_part(1, part, {"n_completed": 2, "n_input_tokens": 10}))
    with pytest.raises(AlreadyThere):
        await database.write(add_part(1, Part("batch_0", 1, "7", 0, blob="b"), {"n_completed": 1}))
    assert await database.read(list_parts("batch_0")) == [
        Part("batch_0", 0, "0", 2),
        Part("batch_0", 1, "1", 2),
    ]
    assert await database.read(part_data("batch_0", 1)) == b"1"
    found = await database.read(get_batch("ann", "batch_0"))
    assert found is not None
    assert (found.n_parts, found.n_completed, found.n_input_tokens) == (2, 4, 20)
    await database.write(drop_parts("batch_0", 1))
    assert await database.read(list_parts("batch_0")) == []
    assert await database.write(claim_batch("batch_0", "two", 10**15, 10**16)) is None


async def test_an_end_comes_with_its_files(database: Database) -> None:
    await database.write(add_batch(FIRST))
    await database.write(claim_batch("batch_0", "one", 10, 20))
    values = {"status": "completed", "completed_at": 15, "output_file_id": "file-1"}
    assert not await database.write(change_batch("batch_0", 1, "finalizing", values, [FILE]))
    assert await database.read(get_file("ann", "file-1")) is None
    assert await database.write(change_batch("batch_0", 1, "validating", values, [FILE]))
    assert await database.read(get_file("ann", "file-1")) == FILE
    found = await database.write(request_cancel("ann", "batch_0", 16))
    assert found is not None
    assert (found.status, found.cancelling_at) == ("completed", None)


async def test_what_waits_and_what_is_to_be_ended(database: Database) -> None:
    for k, owner in enumerate(["ann", "ann", "bob", "bob"]):
        await database.write(
            add_batch(replace(FIRST, id=f"batch_{k}", owner=owner, created_at=200 - k // 2 - k))
        )
    assert sorted(await database.read(waiting_batches(10))) == [("ann", "batch_1"), ("bob", "batch_3")]
    assert await database.read(ending_batches(10, 9)) == []
    await database.write(claim_batch("batch_1", "one", 10, 20))
    assert sorted(await database.read(waiting_batches(10))) == [("ann", "batch_0"), ("bob", "batch_3")]
    await database.write(request_cancel("bob", "batch_2", 11))
    assert await database.read(ending_batches(12, 9)) == ["batch_2"]
    assert set(await database.read(ending_batches(1000, 9))) == {f"batch_{k}" for k in range(4)}
