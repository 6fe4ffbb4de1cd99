"""Which slot of the cache holds what, and what must be done to llama.cpp's memory to make it so.

A slot is a llama.cpp sequence id. It is free, runs a Sequence, or keeps the text of one that has ended, for
others that begin alike. Owns the free slots, the tree of cells and the list of effects; decides what is kept
and what goes first. Pure: effects are done later, in order, by the engine's thread.
"""

from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from llmatic.core.types import CacheRetention
from llmatic.engines.llama.cells import CellTree, Match
from llmatic.engines.llama.sequences import Group, Sequence

N_SAVED_MIN = 16
N_EVICTED = 256


@dataclass(frozen=True, slots=True)
class Fork:
    """Let the empty slot `target` have the first `n_tokens` of slot `source`."""

    source: int
    target: int
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Forget what `slot` holds behind its first `n_tokens`."""

    slot: int
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Free:
    """Forget what `slot` holds."""

    slot: int


@dataclass(frozen=True, slots=True)
class Save:
    """Put what `slot` holds, computed from `tokens`, where it may be restored from."""

    slot: int
    namespace: bytes
    tokens: Ordered[int]
    retention: CacheRetention | None
    is_keyed: bool


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring the first `n_tokens` of the sequence's tokens back into its slot, which holds `n_held`."""

    sequence: Sequence
    n_held: int
    n_tokens: int


Effect = Fork | Trim | Free | Save | Restore


class Slots:
    """`n_slots` slots in one cache.

    `is_pooled`: all share the same cells, so that a prefix held by several is there once. `n_kept_max`: cells
    that texts of ended sequences may hold, in a pooled cache. `can_save`: there is somewhere to save to.
    `can_cut`: a text may lose its end.
    """

    def __init__(
        self,
        n_slots: int,
        *,
        is_pooled: bool,
        n_kept_max: int = 0,
        can_save: bool = False,
        can_cut: bool = True,
    ) -> None:
        self.tree = CellTree()
        self.effects: list[Effect] = []
        self.n_evictions = 0
        self._n_slots = n_slots
        self._is_pooled = is_pooled
        self._n_kept_max = n_kept_max if is_pooled else 0
        self._can_save = can_save
        self._can_cut = can_cut
        self._free = list(range(n_slots))
        self._kept: dict[int, Group] = {}

    @property
    def n_kept_cells(self) -> int:
        """Cells that no running sequence holds."""
        return self.tree.n_idle_cells

    def match(self, sequence: Sequence) -> Match | None:
        """The longest beginning of the sequence's tokens in any slot, one token short of all at most."""
        return self.tree.match(sequence.group.namespace, sequence.tokens[:-1])

    def take(self, sequence: Sequence, *, spare: int | None = None) -> None:
        """Give the sequence an empty slot; if none is free, a kept text goes, but not that of `spare`."""
        if not self._free:
            oldest = min((s for s in self._kept if s != spare), key=self.tree.last_used)
            self._save_kept(oldest)
            self._forget(oldest)
        sequence.slot = heappop(self._free)
        self.tree.open(sequence.slot, sequence.group.namespace)

    def take_from(self, source: int, sequence: Sequence, n_tokens: int) -> None:
        """Give the sequence a slot that begins with the first `n_tokens` of slot `source`.

        It is `source` itself if that keeps a text of which nothing else is left, or if there is no other.
        """
        is_all = n_tokens == self.tree.length(source)
        is_last = not self._free and len(self._kept) == 1
        if source not in self._kept or not (is_all or is_last):
            self.take(sequence, spare=source)
            self.share(source, sequence, n_tokens)
            return
        if not is_all:
            self._save_kept(source)
            self.tree.trim(source, n_tokens)
            self.effects.append(Trim(source, n_tokens))
        del self._kept[source]
        self.tree.wake(source)
        sequence.slot = source
        sequence.n_computed = sequence.n_indexed = n_tokens

    def share(self, source: int, sequence: Sequence, n_tokens: int) -> None:
        """The sequence, in its empty slot, begins with the first `n_tokens` of slot `source`."""
        assert sequence.n_computed == 0
        slot = slot_of(sequence)
        self.tree.fork(source, slot, n_tokens)
        self.effects.append(Fork(source, slot, n_tokens))
        sequence.n_computed = sequence.n_indexed = n_tokens

    def index(self, sequence: Sequence) -> None:
        """Let others find what the sequence has computed since the last time."""
        if sequence.n_indexed < sequence.n_computed:
            new = sequence.tokens[sequence.n_indexed : sequence.n_computed]
            self.tree.extend(slot_of(sequence), new)
            sequence.n_indexed = sequence.n_computed

    def trim(self, sequence: Sequence) -> None:
        """Forget what was computed behind the sequence's own tokens: drafts that were wrong."""
        self.effects.append(Trim(slot_of(sequence), sequence.n_computed))

    def release(self, sequence: Sequence, n_kept: int) -> None:
        """The sequence leaves its slot; its first `n_kept` tokens are worth keeping."""
        slot = slot_of(sequence)
        if n_kept < sequence.n_computed and not self._can_cut:
            n_kept = 0
        elif n_kept < sequence.n_computed or sequence.n_unproven:
            if sequence.n_indexed > n_kept:
                self.tree.trim(slot, n_kept)
                sequence.n_indexed = n_kept
            sequence.n_computed = n_kept
            sequence.n_unproven = 0
            self.effects.append(Trim(slot, n_kept))
        if n_kept >= N_SAVED_MIN and self._n_kept_max:
            self._keep(sequence)
        else:
            if n_kept >= N_SAVED_MIN:
                self._save(slot, sequence.group, sequence.tokens[:n_kept])
            self._forget(slot)
        self.make_room(self._n_kept_max)  # what it shared with kept texts is theirs alone now
        sequence.slot = None
        sequence.n_computed = sequence.n_indexed = 0

    def make_room(self, n_cells: int) -> bool:
        """Evict kept texts until they hold `n_cells` at most: the end of the least recently used first.

        A text loses `N_EVICTED` tokens at a time or more, so that this is not done for every step.
        """
        while self.tree.n_idle_cells > n_cells:
            leaf = self.tree.oldest_leaf()
            if leaf is None:
                return False
            n_left = max(leaf.start, leaf.end - max(self.tree.n_idle_cells - n_cells, N_EVICTED))
            holders = sorted(leaf.holders)
            self._save_kept(holders[0])
            for slot in holders:
                self.tree.trim(slot, n_left)
                if self.tree.is_redundant(slot):
                    self._forget(slot)
                else:
                    self.effects.append(Trim(slot, n_left))
            self.n_evictions += 1
        return True

    def move(self, sequence: Sequence, target: int) -> None:
        """Let the sequence go on in the free slot `target`."""
        source = slot_of(sequence)
        self._free.remove(target)
        heapify(self._free)
        self.tree.move(source, target)
        sequence.slot = target
        if sequence.n_computed:
            self.effects.append(Fork(source, target, sequence.n_computed))
        self.effects.append(Free(source))
        heappush(self._free, source)

    def close_gaps(self, running: Ordered[Sequence]) -> None:
        """Move sequences from the highest slots to free ones until those in use are 0, 1, 2, …"""
        for sequence in sorted(running, key=slot_of, reverse=True):
            if slot_of(sequence) < len(running):
                return
            self.move(sequence, self._free[0])

    def clear(self) -> None:
        """Forget everything, saving nothing; no sequence may hold a slot."""
        for slot in list(self._kept):
            self._forget(slot)
        self.effects.clear()

    def save_all(self) -> None:
        """Save every kept text, before the cache goes away."""
        for slot in self._kept:
            self._save_kept(slot)

    def check_integrity(self, running: Ordered[Sequence]) -> None:
        """Raise AssertionError if anything contradicts itself. For tests."""
        self.tree.check_integrity()
        taken = [slot_of(s) for s in running]
        assert sorted([*taken, *self._free, *self._kept]) == list(range(self._n_slots)), (
            "slots lost or doubled"
        )
        for sequence in running:
            slot = slot_of(sequence)
            assert self.tree.length(slot) == sequence.n_indexed
            assert self.tree.text(slot) == sequence.tokens[: sequence.n_indexed]
        assert self.tree.n_idle_cells <= max(0, self._n_kept_max)

    def _keep(self, sequence: Sequence) -> None:
        slot = slot_of(sequence)
        self.index(sequence)
        if sequence.group.is_keyed:
            self._save(slot, sequence.group, sequence.tokens[: sequence.n_computed])
        self.tree.rest(slot)
        self._kept[slot] = sequence.group
        if self.tree.is_redundant(slot):
            self._forget(slot)

    def _save_kept(self, slot: int) -> None:
        self._save(slot, self._kept[slot], self.tree.text(slot))

    def _save(self, slot: int, group: Group, tokens: list[int]) -> None:
        if self._can_save and not group.is_private and len(tokens) >= N_SAVED_MIN:
            self.effects.append(Save(slot, group.namespace, tokens, group.retention, group.is_keyed))

    def _forget(self, slot: int) -> None:
        self.tree.drop(slot)
        self._kept.pop(slot, None)
        self.effects.append(Free(slot))
        heappush(self._free, slot)


def slot_of(sequence: Sequence) -> int:
    """The slot of a running sequence."""
    assert sequence.slot is not None
    return sequence.slot
