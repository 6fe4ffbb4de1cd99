"""Tokens and positions of slots with pictures in a grid."""

import numpy as np

from llmatic.engines.llama.media.rows import GridPart
from llmatic.engines.llama.positions import Positions

# 6 rows, 2 high and 3 wide: 3 positions
PLACES = np.array([[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]], np.int32)
GRID = GridPart(PLACES, 4, 6, 3)


def test_without_grids_a_token_has_its_own_number() -> None:
    positions = Positions(2)
    assert positions.of(1, 17) == 17
    assert positions.of_tokens([3, 4], [0, 1]) == [3, 4]
    assert positions.of_rows([3, 4], [0, 1], None, n_dims=4).tolist() == [[3, 4]] * 4


def test_text_goes_on_behind_the_longer_side() -> None:
    positions = Positions(2)
    found = positions.of_rows(range(4, 10), [0] * 6, GRID, n_dims=4)
    assert found.tolist() == [[4] * 6, [4, 4, 4, 5, 5, 5], [4, 5, 6, 4, 5, 6], [0] * 6]
    positions.add(0, GRID)
    assert [positions.of(0, n) for n in (3, 4, 5, 9, 10, 11)] == [3, 4, 4, 4, 7, 8]
    assert positions.of_tokens([10, 3], [0, 1]) == [7, 3]


def test_a_second_picture_begins_behind_the_first() -> None:
    positions = Positions(1)
    positions.add(0, GRID)
    second = GridPart(PLACES[:, 3:], 12, 6, 3)
    assert positions.of_rows(range(15, 18), [0] * 3, second, n_dims=4)[1].tolist() == [10, 10, 10]
    positions.add(0, second)
    positions.add(0, second)
    assert positions.of(0, 18) == 12


def test_what_is_shared_cut_and_forgotten_takes_its_grids_along() -> None:
    positions = Positions(3)
    positions.add(0, GRID)
    positions.fork(0, 1, 10)
    positions.fork(0, 2, 4)
    assert [positions.of(slot, 12) for slot in range(3)] == [9, 9, 12]
    assert positions.ends_in_grid(1, 5)
    assert not positions.ends_in_grid(1, 4)
    assert not positions.ends_in_grid(1, 10)
    positions.trim(1, 9)
    assert positions.of(1, 12) == 12
    positions.clear()
    assert positions.of(0, 12) == 12
