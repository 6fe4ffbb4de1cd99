import asyncio
from typing import Any

import pytest

from llmatic.core.errors import InsufficientStorage, InvalidRequest
from llmatic.services.uploads import Upload
from tests.services.test_files import World, world

__all__ = ["world"]
pytestmark = pytest.mark.anyio


async def begin(world: World, size: int = 6, purpose: str = "evals") -> Upload:
    return await world.uploads.create(
        "ann", size_bytes=size, filename="a", mime_type="text/plain", purpose=purpose
    )


async def add(world: World, upload: Upload, data: bytes) -> str:
    intake = await world.uploads.part("ann", upload.record.id)
    try:
        await intake.write(data)
        return (await world.uploads.keep_part(intake)).id
    finally:
        await intake.discard()


async def test_an_expired_one_takes_nothing_and_is_swept_after_the_grace(world: World) -> None:
    upload = await begin(world)
    part = await add(world, upload, b"abcdef")
    world.now += 3600
    for wrong in (
        world.uploads.part("ann", upload.record.id),
        world.uploads.complete("ann", upload.record.id, [part]),
    ):
        with pytest.raises(InvalidRequest, match="is already expired"):
            await wrong
    await world.uploads.sweep()
    assert world.stored() == {part}
    assert (await begin(world)).state == "pending"
    world.now += 3600
    await world.uploads.sweep()
    assert world.stored() == set()
    world.now += 24 * 3600
    await world.uploads.sweep()
    with pytest.raises(Exception, match="No such Upload"):
        await world.uploads.cancel("ann", upload.record.id)


async def test_it_is_completed_once_whoever_comes_at_the_same_time(world: World) -> None:
    upload = await begin(world)
    parts = [await add(world, upload, data) for data in (b"abc", b"def")]
    done = await asyncio.gather(
        *(world.uploads.complete("ann", upload.record.id, parts) for _ in range(5)), return_exceptions=True
    )
    made = {outcome.file for outcome in done if isinstance(outcome, Upload)}
    assert len(made) == 1, done
    [file] = made
    assert file is not None
    assert world.stored() == {file.id}


async def test_one_cancelled_while_it_is_put_together_makes_no_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(world)
    part = await add(world, upload, b"abcdef")
    described = world.files.described

    async def cancelling(*arguments: Any, **fields: Any) -> Any:
        await world.uploads.cancel("ann", upload.record.id)
        return await described(*arguments, **fields)

    monkeypatch.setattr(world.files, "described", cancelling)
    with pytest.raises(InvalidRequest, match="is already cancelled"):
        await world.uploads.complete("ann", upload.record.id, [part])
    assert world.stored() == set()


async def test_a_part_that_comes_too_late_leaves_nothing(world: World) -> None:
    upload = await begin(world)
    intake = await world.uploads.part("ann", upload.record.id)
    await intake.write(b"abc")
    await world.uploads.cancel("ann", upload.record.id)
    with pytest.raises(InvalidRequest, match="is already cancelled"):
        await world.uploads.keep_part(intake)
    assert world.stored() == set()


async def test_a_full_disk_while_it_is_put_together_loses_no_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(world)
    part = await add(world, upload, b"abcdef")

    def full(_key: str) -> Any:
        raise InsufficientStorage("The server's disk is full.")

    monkeypatch.setattr(world.blobs.blobs, "create", full)
    with pytest.raises(InsufficientStorage):
        await world.uploads.complete("ann", upload.record.id, [part])
    monkeypatch.undo()
    assert world.stored() == {part}
    done = await world.uploads.complete("ann", upload.record.id, [part])
    assert done.file is not None
    assert done.file.size_bytes == 6
