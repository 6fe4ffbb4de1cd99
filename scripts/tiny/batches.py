"""Batches for the training loop: pools of examples, sorted by length so that little is padded. CPU only.

Pool `n` of a seed is always the same, so a resumed training goes on with the batches it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .data.example import Example
from .data.mixture import second_stream, stream
from .vocabulary import END_OF_TEXT, encode

_POOL_EXAMPLES = 3072
_LONGEST = 1024
_LATER_FROM_POOL = 15
_SHORT_CONVERSATION, _LONG_CONVERSATION = 6, 30

Row = tuple[list[int], list[bool]]


def _tensors(rows: list[Row]) -> tuple[Tensor, Tensor]:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), END_OF_TEXT)
    learnt = torch.zeros((len(rows), width), dtype=torch.bool)
    for at, (row_ids, row_learnt) in enumerate(rows):
        ids[at, : len(row_ids)] = torch.tensor(row_ids)
        learnt[at, : len(row_ids)] = torch.tensor(row_learnt)
    return ids, learnt


def _examples(stage: int, seed: int, number: int) -> tuple[Random, Iterator[Example]]:
    """The draws of a pool. Every fourth one (in a later stage: every eighth) has conversations long
    enough to show the model positions up to a thousand.
    """
    if stage == 1:
        rng = Random(f"train:{seed}:{number}")
        longest = _LONG_CONVERSATION if number % 4 == 3 else _SHORT_CONVERSATION
        return rng, stream(rng, longest, later=number >= _LATER_FROM_POOL)
    rng = Random(f"second:{seed}:{number}")
    return rng, second_stream(rng, _LONG_CONVERSATION if number % 8 == 7 else _SHORT_CONVERSATION)


def pool(
    tokenizer: Tokenizer, stage: int, seed: int, number: int, n_tokens: int
) -> list[tuple[Tensor, Tensor]]:
    """The batches of one pool: ids and learnt flags, both [rows, time], of about `n_tokens` each."""
    rng, examples = _examples(stage, seed, number)
    rows: list[Row] = []
    for _ in range(_POOL_EXAMPLES):
        ids, learnt = encode(tokenizer, next(examples))
        rows.append((ids[:_LONGEST], learnt[:_LONGEST]))
    rows.sort(key=lambda row: len(row[0]))
    groups: list[list[Row]] = []
    for row in rows:
        if not groups or (len(groups[-1]) + 1) * len(row[0]) > n_tokens:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    return [_tensors(group) for group in groups]


def batches(
    tokenizer: Tokenizer, stage: int, seed: int, n_tokens: int, first_pool: int = 0
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The batches from one pool on, without end: ids, learnt flags, and first how many pools are used
    up with this batch (-1 within a pool).
    """
    number = first_pool
    while True:
        listed = pool(tokenizer, stage, seed, number, n_tokens)
        number += 1
        for at, (ids, learnt) in enumerate(listed):
            yield (number if at + 1 == len(listed) else -1), ids, learnt
