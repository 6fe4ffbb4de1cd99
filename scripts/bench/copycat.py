"""A model that copies: its weights make every word be followed by one certain other word. Pure.

Attention and the feed-forward part write zeros, at their usual cost, so what reaches the output is the
embedding of the last token; the output's rows are the embeddings in another order. Greedy decoding thus walks
around cycles of words, and a prompt that holds a piece of a cycle is a text that the model repeats.
"""

import random
from collections.abc import Sequence

CYCLE = 512
_SEED = 20


def cycles(word_ids: Sequence[int]) -> list[list[int]]:
    """The words, shuffled, in cycles of CYCLE tokens; what is left over is in none."""
    ids = list(word_ids)
    random.Random(_SEED).shuffle(ids)
    return [ids[at : at + CYCLE] for at in range(0, len(ids) - CYCLE + 1, CYCLE)]


def successors(word_ids: Sequence[int], n_vocab: int) -> list[int]:
    """What follows each token: the next of its cycle, itself if it is in none. A permutation."""
    following = list(range(n_vocab))
    for cycle in cycles(word_ids):
        for at, token in enumerate(cycle):
            following[token] = cycle[(at + 1) % len(cycle)]
    return following
