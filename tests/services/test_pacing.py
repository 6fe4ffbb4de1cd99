import pytest

from llmatic.services.pacing import FEWEST, MOST, WRITE_S, in_short_writes

pytestmark = pytest.mark.anyio


class World:
    """Rows that take some time each to drop."""

    def __init__(self, n_rows: int, row_s: float) -> None:
        self.n_rows = n_rows
        self.row_s = row_s
        self.now_s = 0.0
        self.asked: list[int] = []
        self.rests: list[float] = []

    async def drop(self, n: int) -> int:
        self.asked.append(n)
        n = min(n, self.n_rows)
        self.n_rows -= n
        self.now_s += n * self.row_s
        return n

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now_s += seconds

    async def run(self) -> int:
        return await in_short_writes(self.drop, clock=lambda: self.now_s, sleep=self.sleep)


@pytest.mark.parametrize("row_s", [1e-7, 1e-4, 5e-4])
async def test_writes_are_as_large_as_they_may_take(row_s: float) -> None:
    world = World(5000, row_s)
    assert await world.run() == 5000
    assert world.asked[0] == FEWEST
    expected = min(MOST, WRITE_S / row_s)
    assert all(expected - 2 <= n <= expected for n in world.asked[1:])
    assert world.rests == pytest.approx([n * row_s for n in world.asked[: len(world.rests)]])


async def test_slow_rows_still_go_by_tens() -> None:
    world = World(95, 1.0)
    assert await world.run() == 95
    assert world.asked == [FEWEST] * 10
    assert len(world.rests) == 9


async def test_nothing_to_do_is_one_look() -> None:
    world = World(0, 1.0)
    assert await world.run() == 0
    assert world.rests == []
