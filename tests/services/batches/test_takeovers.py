"""Batches that one server begins and another ends."""

import asyncio
from typing import Any

import pytest

from llmatic.services.batches.ports import Body
from tests.services.batches.conftest import FakeOperations, Held, World, create, echo, line

pytestmark = pytest.mark.anyio


async def test_a_server_that_stops_while_a_batch_ends_keeps_what_was_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, writing, go = Held(), asyncio.Event(), asyncio.Event()
    write = world.database.write

    async def slow(work: Any) -> Any:
        if work.__qualname__.startswith("add_part"):
            writing.set()
            await go.wait()
        return await write(work)

    async def answer(body: Body) -> bytes:
        return await (echo if body["say"] == "a" else held.answer)(body)

    monkeypatch.setattr(world.database, "write", slow)
    batches = world.server(FakeOperations(answer, n_at_once=1))
    batch = await create(batches, await world.upload(line("a") + line("b")))
    await held.reached.wait()
    await batches.cancel("ann", batch.id)
    await writing.wait()
    closing = asyncio.create_task(batches.close())
    for _ in range(5):
        await asyncio.sleep(0)  # now it waits for the last write
    go.set()
    await closing
    done = await world.ended(world.server(), batch.id)
    assert (done.status, done.n_completed) == ("cancelled", 1)


async def test_a_server_that_stops_leaves_the_rest_to_the_next(world: World) -> None:
    held = Held()

    async def answer(body: Body) -> bytes:
        return await (echo if int(body["say"]) < 20 else held.answer)(body)

    first = FakeOperations(answer)
    server = world.server(first)
    batch = await create(server, await world.upload(b"".join(line(str(k)) for k in range(50))))
    await held.reached.wait()
    await server.close()
    second = FakeOperations()
    done = await world.ended(world.server(second), batch.id)
    assert (done.status, done.n_completed, done.generation) == ("completed", 50, 2)
    assert sorted(map(int, second.asked)) == list(range(20, 50))
    found = [each["custom_id"] for each in await world.read(done.output_file_id)]
    assert sorted(map(int, found)) == list(range(50))


async def test_a_server_that_hangs_is_replaced_and_can_do_no_harm(world: World) -> None:
    hanging = Held()
    first = world.idle_server(lease_s=10)
    batch = await create(first, await world.upload(line("a") + line("b")))
    first.start(FakeOperations(hanging.answer))
    await hanging.reached.wait()
    first._watching.cancel()  # type: ignore[union-attr]  # as if its event loop stood still
    world.now += 11
    second = world.server(FakeOperations())
    done = await world.ended(second, batch.id)
    hanging.go.set()
    await asyncio.gather(*(task for _, task in first._running.values()))
    assert (done.status, done.n_completed) == ("completed", 2)
    assert await second.get("ann", batch.id) == done
    assert len(await world.read(done.output_file_id)) == 2
    assert world.parts() == []


async def test_a_lease_is_kept_as_long_as_the_server_lives(world: World) -> None:
    held = Held()
    first, second = FakeOperations(held.answer), FakeOperations()
    server = world.server(first, lease_s=10)
    batch = await create(server, await world.upload(line("a")))
    await held.reached.wait()
    other = world.server(second, lease_s=10)
    for _ in range(10):
        before = (await server.get("ann", batch.id)).lease_until
        world.now += 4
        async with asyncio.timeout(20):
            while (await server.get("ann", batch.id)).lease_until == before:
                pass
    held.go.set()
    done = await world.ended(other, batch.id)
    assert (done.generation, second.asked) == (1, [])
