"""Where the beginning of a prompt comes from.

Decides between sharing what a slot holds, waiting for a running sequence that is about to compute the same,
restoring what was saved, and computing. Pure.
"""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass

from llmatic.engines.llama.cells import common
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.sequences import Sequence
from llmatic.engines.llama.slots import Slots

N_WORTH = 32
Stored = Callable[[bytes, Ordered[int]], int]
_N_GLANCE = 16


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first `n_tokens`: from `leader` once it has them, or `n_held` of them in `slot`, the rest saved."""

    n_tokens: int = 0
    slot: int | None = None
    leader: Sequence | None = None
    n_held: int = 0


def find_beginning(
    sequence: Sequence,
    running: Iterable[Sequence],
    slots: Slots,
    stored: Stored | None,
    limits: Limits,
) -> Beginning | None:
    """The best beginning for a waiting sequence; None if it must wait for its request's first choice.

    A scored prompt is computed in full by the first choice, and the echo comes before any answer. Waiting for
    somebody, or restoring, must gain `N_WORTH` tokens. `limits.n_whole` tokens at least are left to compute.
    """
    n_rest = limits.n_whole
    if sequence.is_scored:
        return Beginning()
    if limits.can_fork and sequence.index:
        sibling = _sibling(sequence, n_rest)
        if sibling is not None:
            return sibling
    if sequence.index and sequence.group.n_to_score:
        return None
    cut = sequence.group.cut
    n_usable = max(0, len(sequence.tokens) - n_rest)
    n_saved = 0 if stored is None else cut(stored(sequence.group.namespace, sequence.tokens[:n_usable]))
    if not limits.can_fork:
        return Beginning(n_saved)
    match = slots.match(sequence)
    n_held = 0 if match is None else cut(min(match.n_tokens, n_usable))
    if n_held < n_rest:  # it may have been computed in fewer rows
        n_held = 0
    leader, n_awaited = _leader(sequence, running, n_usable)
    n_awaited = cut(n_awaited)
    slot = None if match is None else match.slot
    if leader is not None and n_awaited >= max(n_saved, n_held + N_WORTH):
        return Beginning(n_awaited, leader=leader)
    if n_saved >= n_held + N_WORTH:
        n_held = _aligned(n_held, limits.n_block, cut)
        return Beginning(n_saved, slot if n_held else None, n_held=n_held)
    return Beginning(n_held, slot if n_held else None, n_held=n_held)


def _sibling(sequence: Sequence, n_rest: int) -> Beginning | None:
    """The prompt of the same request's running choice that has come furthest."""
    siblings = [s for s in sequence.group.sequences if s.slot is not None]
    leader = max(siblings, key=lambda s: s.n_indexed, default=None)
    n_prompt = sequence.group.n_prompt
    if leader is None or n_prompt <= n_rest or sequence.was_paused:
        return None
    if leader.n_indexed < n_prompt:
        return Beginning(n_prompt, leader=leader)
    n_shared = sequence.group.cut(n_prompt - n_rest)
    return Beginning(n_shared, leader.slot, n_held=n_shared)


def _aligned(n_tokens: int, n_block: int, cut: Callable[[int], int]) -> int:
    """The most of `n_tokens` that ends with a block, and in no rows that are computed at once."""
    while n_block and n_tokens:
        n_whole = n_tokens // n_block * n_block
        n_tokens = cut(n_whole)
        if n_tokens == n_whole:
            return n_whole
    return 0


def _leader(sequence: Sequence, running: Iterable[Sequence], n_usable: int) -> tuple[Sequence | None, int]:
    """Who is going to compute the most of the sequence's beginning, and how much of it."""
    best, n_best = None, 0
    tokens = sequence.tokens
    for other in running:
        prompt = other.group.prompt
        if other.n_computed >= len(prompt) or other.group.namespace != sequence.group.namespace:
            continue
        if other.priority > sequence.priority:  # its turn may be long in coming
            continue
        glance = max(n_best, _N_GLANCE)  # one token tells most of those that are no better
        if n_usable <= glance or len(prompt) <= glance or prompt[glance] != tokens[glance]:
            continue
        n_common = min(common(prompt, 0, tokens, 0), n_usable)
        if n_common > max(n_best, other.n_indexed):
            best, n_best = other, n_common
    return best, n_best
