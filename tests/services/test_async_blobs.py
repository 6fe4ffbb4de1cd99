import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from llmatic.core.errors import InsufficientStorage
from llmatic.services.async_blobs import AsyncBlobs
from llmatic.store.local_blobs import LocalBlobs, LocalWriter

pytestmark = pytest.mark.anyio


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[AsyncBlobs]:
    made = AsyncBlobs(LocalBlobs(tmp_path))
    yield made
    made.close()


def stored(blobs: AsyncBlobs) -> list[str]:
    place = blobs.blobs
    assert isinstance(place, LocalBlobs)
    return [path.name for path in place._folder.rglob("*") if path.is_file()]


async def test_what_is_written_is_streamed(blobs: AsyncBlobs) -> None:
    intake = blobs.writer("file-a")
    for k in range(5):
        await intake.write(b"%d" % k * 300_000)
    await intake.commit()
    assert intake.size_bytes == 1_500_000
    await intake.discard()
    data = b"".join([piece async for piece in blobs.stream("file-a", 299_999, 600_001)])
    assert data == b"0" + b"1" * 300_000 + b"2"
    with pytest.raises(KeyError):
        [piece async for piece in blobs.stream("file-b")]


async def test_an_empty_blob(blobs: AsyncBlobs) -> None:
    await blobs.writer("file-a").commit()
    assert [piece async for piece in blobs.stream("file-a")] == []


async def test_a_failed_write_is_told_by_the_next_call(
    blobs: AsyncBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Any, _data: bytes) -> None:
        raise InsufficientStorage("full")

    monkeypatch.setattr(LocalWriter, "write", full)
    for then in ("write", "commit"):
        intake = blobs.writer("file-a")
        await intake.write(b"x")
        with pytest.raises(InsufficientStorage):
            await (intake.write(b"y") if then == "write" else intake.commit())
        await intake.discard()
    assert stored(blobs) == []


async def test_one_given_up_in_the_middle_of_a_write_leaves_nothing(
    blobs: AsyncBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    write = LocalWriter.write

    def slowly(self: LocalWriter, data: bytes) -> None:
        writing.set()
        assert go_on.wait(10)
        write(self, data)

    monkeypatch.setattr(LocalWriter, "write", slowly)
    intake = blobs.writer("file-a")
    await intake.write(b"x")
    await asyncio.to_thread(writing.wait)
    waiting = asyncio.create_task(intake.write(b"y"))
    await asyncio.sleep(0)
    waiting.cancel()
    discarding = asyncio.create_task(intake.discard())
    await asyncio.sleep(0)
    go_on.set()
    await discarding
    assert stored(blobs) == []


async def test_a_stream_given_up_closes_its_file(blobs: AsyncBlobs) -> None:
    intake = blobs.writer("file-a")
    await intake.write(b"x" * 2_000_000)
    await intake.commit()
    async with aclosing(blobs.stream("file-a")) as pieces:
        assert await anext(pieces)
    blobs.close()  # waits for the threads
    assert not any(
        "file-a" in str(link.resolve()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()
    )
