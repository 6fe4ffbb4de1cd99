"""Items of unlike lengths as rectangular columns, as the models take them.

Owns the shape of a batch. Pure.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmatic.engines.encoding.backend import Item

Column = NDArray[np.int64]


def columns_of(items: Sequence[Item], names: Sequence[str], pad_id: int, length: int) -> list[Column]:
    """For each of `names` (input_ids, attention_mask, token_type_ids) an array [len(items), length].

    Shorter items are filled up at the end; `length` is at least that of the longest.
    """
    if len(items) == 1 and len(items[0].ids) == length:
        return [_whole(items[0], name) for name in names]
    ids = np.full((len(items), length), pad_id, np.int64)
    mask = np.zeros((len(items), length), np.int64)
    types = np.zeros((len(items), length), np.int64)
    for row, item in enumerate(items):
        n_tokens = len(item.ids)
        ids[row, :n_tokens] = item.ids
        mask[row, :n_tokens] = 1
        if item.type_ids is not None:
            types[row, :n_tokens] = item.type_ids
    made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return [made[name] for name in names]


def _whole(item: Item, name: str) -> Column:
    """A batch of one needs no padding."""
    if name == "input_ids":
        return np.array([item.ids], np.int64)
    if name == "attention_mask":
        return np.ones((1, len(item.ids)), np.int64)
    if item.type_ids is None:
        return np.zeros((1, len(item.ids)), np.int64)
    return np.array([item.type_ids], np.int64)
