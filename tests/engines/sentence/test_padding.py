import numpy as np

from llmatic.engines.encoding.backend import Item
from llmatic.engines.sentence.padding import columns_of

ALL = ("input_ids", "attention_mask", "token_type_ids")


def lists(items: list[Item], names: tuple[str, ...] = ALL, length: int = 3) -> list[list[list[int]]]:
    columns = columns_of(items, names, 9, length)
    assert all(column.dtype == np.int64 and column.shape == (len(items), length) for column in columns)
    return [column.tolist() for column in columns]


def test_shorter_items_are_filled_up_at_the_end() -> None:
    assert lists([Item([1, 2, 3], [0, 1, 1]), Item([4])]) == [
        [[1, 2, 3], [4, 9, 9]],
        [[1, 1, 1], [1, 0, 0]],
        [[0, 1, 1], [0, 0, 0]],
    ]


def test_one_item_with_nothing_to_fill() -> None:
    assert lists([Item([1, 2, 3])]) == [[[1, 2, 3]], [[1, 1, 1]], [[0, 0, 0]]]
    assert lists([Item([1, 2, 3], [0, 0, 1])])[2] == [[0, 0, 1]]


def test_one_item_filled_up() -> None:
    assert lists([Item([1])]) == [[[1, 9, 9]], [[1, 0, 0]], [[0, 0, 0]]]


def test_only_the_columns_that_are_wanted() -> None:
    assert lists([Item([1, 2, 3])], ("attention_mask",)) == [[[1, 1, 1]]]
