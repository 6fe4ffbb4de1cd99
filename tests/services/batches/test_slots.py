import asyncio

import pytest

from llmatic.services.batches.slots import FairSlots

pytestmark = pytest.mark.anyio


async def take(slots: FairSlots, owner: str, order: list[str]) -> None:
    await slots.take(owner)
    order.append(owner)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_owners_with_fewer_slots_go_first() -> None:
    slots, order = FairSlots(2), list[str]()
    waiting = [asyncio.create_task(take(slots, owner, order)) for owner in "aaaabb"]
    await turns()
    assert order == ["a", "a"]
    slots.give("a")
    await turns()
    assert order == ["a", "a", "b"]
    slots.give("a")
    await turns()
    assert order == ["a", "a", "b", "a"]
    for owner in "baba":
        slots.give(owner)
        await turns()
    assert sorted(order) == list("aaaabb")
    assert slots.n_held == 0
    await asyncio.gather(*waiting)


async def test_a_large_line_takes_several_and_is_not_overtaken() -> None:
    slots, order = FairSlots(4), list[str]()
    await slots.take("a", 3)
    large = asyncio.create_task(slots.take("b", 3))
    await turns()
    small = asyncio.create_task(take(slots, "c", order))
    await turns()
    assert (order, slots.n_held) == ([], 3)
    slots.give("a", 3)
    await large
    await small
    assert slots.n_held == 4


async def test_those_behind_a_large_line_that_is_cancelled_go_on() -> None:
    slots, order = FairSlots(4), list[str]()
    await slots.take("a", 3)
    large = asyncio.create_task(slots.take("b", 3))
    await turns()
    small = asyncio.create_task(take(slots, "c", order))
    await turns()
    large.cancel()
    await small
    assert slots.n_held == 4


async def test_whoever_stops_waiting_takes_nothing() -> None:
    slots, order = FairSlots(1), list[str]()
    await slots.take("a")
    gone = asyncio.create_task(take(slots, "b", order))
    stays = asyncio.create_task(take(slots, "b", order))
    await turns()
    gone.cancel()
    await turns()
    slots.give("a")
    await stays
    assert (order, slots.n_held) == (["b"], 1)


async def test_a_slot_granted_to_whoever_is_cancelled_is_free_again() -> None:
    slots = FairSlots(1)
    await slots.take("a")
    waiting = asyncio.create_task(slots.take("b"))
    await turns()
    slots.give("a")
    waiting.cancel()
    await turns()
    assert slots.n_held == 0
    await slots.take("c")
