import asyncio
from pathlib import Path

import pytest

from llmatic.core.errors import InsufficientStorage, Unavailable
from llmatic.services.batches import journal as module
from llmatic.services.batches.finishing import write_files
from llmatic.services.batches.journal import Journal, LeaseLost
from llmatic.services.batches.results import Result, Tokens
from llmatic.store.batches import BatchRecord, add_batch, claim_batch, get_batch, list_parts
from llmatic.store.database import Database, T, Work
from llmatic.store.local_blobs import LocalBlobs

pytestmark = pytest.mark.anyio

BATCH = BatchRecord(
    "batch_0", "ann", "{}", "/v1/x", "file-0", "24h", 100, 1000, status="in_progress", n_total=9
)


class Flaky(Database):
    """A database that fails as it is told, before or after it has written."""

    def __init__(self, database: Database, before: list[Exception], after: list[Exception]) -> None:
        self._database = database
        self._before = before
        self._after = after

    async def write(self, work: Work[T]) -> T:
        if self._before:
            raise self._before.pop(0)
        found = await self._database.write(work)
        if self._after:
            raise self._after.pop(0)
        return found


@pytest.fixture
async def held(database: Database) -> Database:
    await database.write(add_batch(BATCH))
    await database.write(claim_batch("batch_0", "me", 10, 20))
    return database


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.0)


def result(number: int, size: int = 2, *, is_completed: bool = True) -> Result:
    text = (b"%d" % number).ljust(size - 1, b" ") + b"\n"
    return Result(number, is_completed, text, Tokens(1, 0, 2, 0))


async def kept(database: Database, blobs: LocalBlobs, results: list[Result]) -> Journal:
    journal = Journal(database, blobs, "batch_0", 1, 0)
    keeping = asyncio.create_task(journal.keep())
    for each in results:
        journal.add(each)
    journal.close()
    await keeping
    return journal


async def test_small_parts_lie_in_the_database_and_large_ones_in_blobs(
    held: Database, tmp_path: Path
) -> None:
    blobs = LocalBlobs(tmp_path)
    journal = Journal(held, blobs, "batch_0", 1, 0)
    keeping = asyncio.create_task(journal.keep())
    for size in (10, module.FLUSH_BYTES):
        journal.add(result(size, size))
        journal.add(result(size + 1, 5, is_completed=False))
        async with asyncio.timeout(20):
            while journal.n_parts < (1 if size == 10 else 2):
                await asyncio.sleep(0)
    journal.close()
    await keeping
    parts = await held.read(list_parts("batch_0"))
    assert [part.blob for part in parts] == [None, "batch_0-1-1"]
    output, errors = await write_files(held, blobs, BATCH, parts, None, 7)
    assert output is not None
    assert errors is not None
    large = result(module.FLUSH_BYTES, module.FLUSH_BYTES)
    assert b"".join(blobs.read(output.id)) == result(10, 10).text + large.text
    small = [result(number, 5).text for number in (11, module.FLUSH_BYTES + 1)]
    assert b"".join(blobs.read(errors.id)) == b"".join(small)


async def test_what_cannot_be_written_now_is_written_later(held: Database, tmp_path: Path) -> None:
    full = InsufficientStorage("full")
    await kept(
        Flaky(held, [full, Unavailable("gone"), full], []), LocalBlobs(tmp_path), [result(1), result(2)]
    )
    assert [part.lines for part in await held.read(list_parts("batch_0"))] == ["1-2"]


async def test_a_write_whose_acknowledgement_was_lost_counts_once(held: Database, tmp_path: Path) -> None:
    flaky = Flaky(held, [], [Unavailable("was it written?")])
    journal = await kept(flaky, LocalBlobs(tmp_path), [result(1), result(2, is_completed=False)])
    assert journal.n_parts == 1
    found = await held.read(get_batch("ann", "batch_0"))
    assert found is not None
    assert (found.n_completed, found.n_failed, found.n_parts, found.n_output_tokens) == (1, 1, 1, 4)


async def test_a_batch_that_another_server_has_claimed_is_let_go(held: Database, tmp_path: Path) -> None:
    await held.write(claim_batch("batch_0", "other", 30, 40))
    with pytest.raises(LeaseLost):
        await kept(held, LocalBlobs(tmp_path), [result(1)])
    assert await held.read(list_parts("batch_0")) == []


async def test_lines_wait_while_too_much_is_on_its_way(held: Database, tmp_path: Path) -> None:
    journal = Journal(held, LocalBlobs(tmp_path), "batch_0", 1, 0)
    journal.add(result(1, module.MAX_WAITING_BYTES))
    room = asyncio.create_task(journal.room())
    await asyncio.sleep(0)
    assert not room.done()
    keeping = asyncio.create_task(journal.keep())
    await room
    journal.close()
    await keeping
