import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmatic.core.errors import InsufficientStorage, InvalidRequest, NotFound, PayloadTooLarge, Unavailable
from llmatic.services.async_blobs import AsyncBlobs
from llmatic.services.files import FileLimits, Files
from llmatic.services.sweeping import Sweeper
from llmatic.services.uploads import Uploads
from llmatic.store.database import Database, open_database
from llmatic.store.files import FileRecord, get_file
from llmatic.store.local_blobs import LocalBlobs

pytestmark = pytest.mark.anyio

LINE = b'{"text": "a"}\n'


@dataclass
class World:
    """Files and uploads on a clock that stands still."""

    database: Database
    folder: Path
    now: float = 1e9
    blobs: AsyncBlobs = field(init=False)
    files: Files = field(init=False)
    uploads: Uploads = field(init=False)
    sweeper: Sweeper = field(init=False)

    def __post_init__(self) -> None:
        self.blobs = AsyncBlobs(LocalBlobs(self.folder))
        limits = FileLimits(max_bytes=1000, quota_bytes=1500)
        self.files = Files(self.database, self.blobs, limits, clock=lambda: self.now)
        self.uploads = Uploads(self.database, self.blobs, self.files, clock=lambda: self.now)
        self.sweeper = Sweeper(self.database, self.blobs, self.files, self.uploads)

    def stored(self) -> set[str]:
        """The names of all blobs, whole or not."""
        return {path.name for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = open_database(f"sqlite:///{tmp_path}/db")
    made = World(database, tmp_path / "blobs")
    yield made
    made.blobs.close()
    await database.close()


async def upload(
    world: World, data: bytes, owner: str = "ann", purpose: str = "vision", lifetime_s: int | None = None
) -> FileRecord:
    intake = await world.files.intake(owner)
    try:
        await intake.begin("../a.jsonl")
        for k in range(0, len(data), 300):
            await intake.write(data[k : k + 300])
        return await world.files.keep(intake, owner, purpose, lifetime_s)
    finally:
        await intake.discard()


async def streamed(world: World, record: FileRecord, *span: int) -> bytes:
    return b"".join([data async for data in world.files.stream(record, *span)])


async def test_a_file_comes_in_and_goes_out(world: World) -> None:
    record = await upload(world, LINE * 50, purpose="search")
    assert await world.files.get("ann", record.id) == record
    assert b"".join(world.files.content(record)) == await streamed(world, record) == LINE * 50
    assert b"".join(world.files.content(record, 3, 9)) == await streamed(world, record, 3, 9) == LINE[3:9]
    assert record.filename == "../a.jsonl"
    assert world.stored() == {record.id}


async def test_nobody_else_sees_it(world: World) -> None:
    record = await upload(world, b"x")
    for wrong in (world.files.get("bob", record.id), world.files.delete("bob", record.id)):
        with pytest.raises(NotFound, match=f"No such File object: {record.id}"):
            await wrong
    assert await world.files.page("bob", limit=9, order="desc", after=None, purpose=None) == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LINE + b"nope", "Line 2"),
        (LINE * 9 + b"nope", "Line 10"),
        (b"", "File is empty"),
        (b"\n \n", "file is empty"),
    ],
)
async def test_what_cannot_be_used_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, data: bytes, words: str
) -> None:
    monkeypatch.setattr("llmatic.services.files.TURN_BYTES", 7)
    with pytest.raises(InvalidRequest, match=words):
        await upload(world, data, purpose="search")
    assert world.stored() == set()
    assert await world.files.page("ann", limit=9, order="desc", after=None, purpose=None) == ""


async def test_a_batch_reports_its_bad_lines_itself(world: World) -> None:
    assert (await upload(world, b"nope", purpose="batch")).size_bytes == 4


async def test_sizes_and_quotas(world: World) -> None:
    with pytest.raises(PayloadTooLarge, match="at most 1000 bytes"):
        await upload(world, b"x" * 1001)
    kept = await upload(world, b"x" * 1000)
    with pytest.raises(PayloadTooLarge, match="1500 bytes together"):
        await upload(world, b"x" * 501)
    assert world.stored() == {kept.id}
    await upload(world, b"x" * 501, owner="bob")
    await world.files.delete("ann", kept.id)
    await upload(world, b"x" * 1000)


async def test_two_at_once_do_not_pass_the_quota(world: World) -> None:
    outcomes = await asyncio.gather(*(upload(world, b"x" * 900) for _ in range(4)), return_exceptions=True)
    [kept] = [outcome for outcome in outcomes if isinstance(outcome, FileRecord)]
    assert all(isinstance(outcome, PayloadTooLarge) for outcome in outcomes if outcome is not kept)
    assert world.stored() == {kept.id}


async def test_what_has_expired_is_gone_at_once_and_swept_later(world: World) -> None:
    old, young = await upload(world, b"x", lifetime_s=3600), await upload(world, b"y")
    world.now += 3600
    with pytest.raises(NotFound):
        await world.files.get("ann", old.id)
    assert await world.files.sweep() == 1
    assert world.stored() == {young.id}


async def test_an_unknown_cursor_is_told(world: World) -> None:
    with pytest.raises(NotFound):
        await world.files.page("ann", limit=9, order="desc", after="file-0", purpose=None)


@pytest.mark.parametrize("failure", [InsufficientStorage("full"), Unavailable("locked")])
async def test_a_record_that_cannot_be_written_makes_no_file(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def fail(_work: Any) -> None:
        raise failure

    monkeypatch.setattr(world.database, "write", fail)
    with pytest.raises(type(failure)):
        await upload(world, b"x")
    monkeypatch.undo()
    assert await world.files.page("ann", limit=9, order="desc", after=None, purpose=None) == ""
    # Of one that may have been written the blob stays until it is known that it was not.
    assert await world.sweeper.tidy(0) == (1 if isinstance(failure, Unavailable) else 0)
    assert world.stored() == {"store-mark"}


async def test_a_deleted_file_is_told_to_whoever_still_wants_it(world: World) -> None:
    record = await upload(world, b"x")
    await world.files.delete("ann", record.id)
    with pytest.raises(NotFound):
        world.files.content(record)
    with pytest.raises(NotFound):
        await streamed(world, record)


async def test_a_blob_that_cannot_be_deleted_is_left_to_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await upload(world, b"x")

    def fail(_key: str) -> None:
        raise Unavailable("S3 is out of reach")

    monkeypatch.setattr(world.blobs.blobs, "delete", fail)
    await world.files.delete("ann", record.id)
    monkeypatch.undo()
    assert await world.database.read(get_file("ann", record.id)) is None
    assert await world.sweeper.tidy(0) == 1
