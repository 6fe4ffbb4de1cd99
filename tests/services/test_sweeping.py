import pytest

from llmatic.store.local_blobs import LocalBlobs, LocalWriter
from tests.services.test_files import World, upload, world

__all__ = ["world"]
pytestmark = pytest.mark.anyio


def orphan(world: World, key: str) -> None:
    writer = world.blobs.blobs.create(key)
    writer.write(b"x")
    writer.commit()


async def test_blobs_that_nobody_knows_are_removed(world: World) -> None:
    kept = await upload(world, b"x")
    for key in ("file-0", "part_0", "other-0"):
        orphan(world, key)
    assert await world.sweeper.tidy(60) == 0
    assert await world.sweeper.tidy(0) == 2
    assert world.stored() == {kept.id, "other-0", "store-mark"}


async def test_blobs_of_another_database_are_left_alone(world: World) -> None:
    writer = world.blobs.blobs.create("store-mark")
    writer.write(b"somebody else's")
    writer.commit()
    orphan(world, "file-0")
    assert await world.sweeper.tidy(0) == 0
    assert world.stored() == {"file-0", "store-mark"}


async def test_what_dead_writers_left_is_removed(world: World) -> None:
    writer = world.blobs.blobs.create("file-0")
    writer.write(b"x")
    blobs = world.blobs.blobs
    assert isinstance(blobs, LocalBlobs)
    assert isinstance(writer, LocalWriter)
    await world.sweeper.tidy(0)
    assert len(list(blobs._incoming.iterdir())) == 1
    writer._file.close()  # as the kernel does when it dies
    await world.sweeper.tidy(0)
    assert list(blobs._incoming.iterdir()) == []
    writer.discard()
