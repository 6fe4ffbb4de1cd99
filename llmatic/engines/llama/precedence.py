"""Who takes part in a step when requests that somebody waits for and lines of batches run side by side.

Owns what that precedence means: while a prompt that somebody waits for is read, background sequences stand
still; while answers are written, they may join as far as the step stays short. Nobody who is waited for
awaits a background sequence (see `beginnings`). Pure.
"""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered

from llmatic.core.types import Priority
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.sequences import Sequence

# Attention walks all cells of a pooled cache in every step, also of those who wait for a first token.
CELLS_SHARE = 0.125
# Of rows that write for those who wait, and rows that would like to join them: how many of these may, and how
# many rows of background prompts beside them.
Beside = Callable[[int, int], tuple[int, int]]


def is_background(sequence: Sequence) -> bool:
    """Nobody waits for it."""
    return sequence.priority >= Priority.BATCH


def taking_part(running: Ordered[Sequence], *, is_held: bool = False) -> list[Sequence]:
    """Those of the running sequences, which are in their order, that the next step may compute.

    `is_held`: nothing in the background.
    """
    if not running or not is_background(running[-1]):
        return list(running)
    urgent = [s for s in running if not is_background(s)]
    if is_held or any(s.is_reading for s in urgent):
        return urgent
    if not urgent:
        return list(running)
    sets = {s.group.adapters for s in urgent}  # others would take steps of their own
    return [s for s in running if s.group.adapters in sets]


def joining(sequences: Ordered[Sequence], beside: Beside) -> tuple[list[Sequence], int] | None:
    """Of those that take part, those that may have rows, and how many rows of prompts there may be.

    None if nothing of it is in the background.
    """
    writing = [id(s) for s in sequences if is_background(s) and s.is_writing]
    if not any(is_background(s) for s in sequences):
        return None
    n_joining, n_prompt_rows = beside(sum(s.is_writing for s in sequences) - len(writing), len(writing))
    left_out = set(writing[n_joining:])
    return [s for s in sequences if id(s) not in left_out], n_prompt_rows


def crowds(sequence: Sequence, running: Iterable[Sequence], limits: Limits) -> bool:
    """Whether a waiting sequence has to wait on so that the background does not hold more than its share of
    the cells. One may always run.
    """
    if not limits.is_pooled or not is_background(sequence):
        return False
    n_cells = sum(len(s.tokens) for s in running if is_background(s))
    return n_cells > 0 and n_cells + len(sequence.tokens) > CELLS_SHARE * limits.n_context


def may_stop(running: Iterable[Sequence]) -> bool:
    """Whether a step can be broken off for somebody who comes: nobody waits for any of it, and what is
    computed of it half can be forgotten.
    """
    return all(is_background(s) and not s.group.spans for s in running)
