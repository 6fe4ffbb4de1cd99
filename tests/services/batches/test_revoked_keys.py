"""Batches whose API key opens nothing any more."""

import asyncio
from dataclasses import replace

import pytest

from llmatic.services.batches.ports import Body
from llmatic.services.keys import Keys
from tests.services.batches.conftest import ANN, FakeOperations, Held, World, create, echo, line

pytestmark = pytest.mark.anyio


async def test_a_key_that_is_revoked_has_no_more_lines_answered(world: World) -> None:
    held = Held()

    async def answer(body: Body) -> bytes:
        return await (held.answer if body["say"] == "b" else echo)(body)

    keys = Keys(world.database, b"secret", clock=lambda: world.now)
    record, _ = await keys.create("ann", owner="ann")
    batches = world.server(FakeOperations(answer, n_at_once=1), lease_s=15)
    ann = replace(ANN, id=record.id)
    first = await create(batches, await world.upload(line("a") + line("b") + line("c") + line("d")), ann)
    await held.reached.wait()
    waiting = await world.upload(line("e"))
    await keys.revoke(record.id)
    world.now += 6
    async with asyncio.timeout(20):
        run = batches._running[first.id][0]
        while not run._answers.is_revoked:
            await asyncio.sleep(0)
    held.go.set()
    done = await world.ended(batches, first.id)
    assert (done.status, done.n_completed, done.n_failed) == ("completed", 2, 2)
    refused = {each["custom_id"]: each["response"] for each in await world.read(done.error_file_id)}
    assert refused.keys() == {"c", "d"}
    assert (refused["c"]["status_code"], refused["c"]["body"]["error"]["code"]) == (401, "invalid_api_key")
    later = await world.ended(batches, (await create(batches, waiting, ann)).id)
    assert (later.n_completed, later.n_failed) == (0, 1)
    await keys.close()


async def test_a_key_that_was_replaced_leaves_its_batches_to_the_new_one(world: World) -> None:
    keys = Keys(world.database, b"secret", clock=lambda: world.now)
    old, _ = await keys.create("old", owner="ann")
    await keys.create("new", owner="ann")
    await keys.revoke(old.id)
    batches = world.server()
    batch = await create(batches, await world.upload(line("a")), replace(ANN, id=old.id))
    assert (await world.ended(batches, batch.id)).n_completed == 1


async def test_a_key_that_was_forgotten_opens_nothing(world: World) -> None:
    batches = world.server()
    batch = await create(batches, await world.upload(line("a")), replace(ANN, id="key_gone"))
    assert (await world.ended(batches, batch.id)).n_failed == 1
