"""Which position of llama.cpp's cache the n-th token of a slot has.

It is n, but behind pictures in models that tell places apart (M-RoPE): there all rows of a picture stand in a
grid, and the text goes on behind its longer side. Owns that arithmetic for every slot. Pure; the engine's
thread uses it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmatic.engines.llama.media.rows import GridPart

N_DIMS = 4  # time, row, column, and one that is not used


class Positions:
    """Of `n_slots` slots; everything else is told in tokens."""

    def __init__(self, n_slots: int) -> None:
        self._grids: list[list[GridPart]] = [[] for _ in range(n_slots)]
        self._n_saved = [0] * n_slots

    def of(self, slot: int, n_tokens: int) -> int:
        """The position behind the slot's first `n_tokens`; that of a picture's beginning among its rows."""
        position = n_tokens
        for grid in self._grids[slot]:
            if grid.start + grid.n_rows <= n_tokens:
                position -= grid.n_rows - grid.n_positions
            elif grid.start < n_tokens:
                position -= n_tokens - grid.start
        return position

    def ends_in_grid(self, slot: int, n_tokens: int) -> bool:
        """Whether the first `n_tokens` end among the rows of a picture."""
        return any(grid.start < n_tokens < grid.start + grid.n_rows for grid in self._grids[slot])

    def of_tokens(self, positions: Sequence[int], slots: Sequence[int]) -> Sequence[int]:
        """Of tokens that go on where their slots end."""
        saved = self._n_saved
        if not any(saved):
            return positions
        return [position - saved[slot] for position, slot in zip(positions, slots, strict=True)]

    def of_rows(
        self, positions: Sequence[int], slots: Sequence[int], grid: GridPart | None, *, n_dims: int
    ) -> NDArray[np.int32]:
        """Of rows of embeddings, [n_dims, n]; those of a `grid` are of one slot."""
        found = np.tile(np.asarray(self.of_tokens(positions, slots), np.int32), (n_dims, 1))
        if grid is not None:
            found[:3] = grid.places + self.of(slots[0], grid.start)
            found[3] = 0
        return found

    def add(self, slot: int, grid: GridPart) -> None:
        """Rows of that grid are in the slot now; more of them may follow."""
        if all(known.start != grid.start for known in self._grids[slot]):
            self._set(slot, [*self._grids[slot], grid])

    @staticmethod
    def end_of(n_tokens: int, grids: Iterable[GridPart]) -> int:
        """The position behind `n_tokens` tokens of a text with these `grids`, of which it may end in none."""
        inside = (grid for grid in grids if grid.start + grid.n_rows <= n_tokens)
        return n_tokens - sum(grid.n_rows - grid.n_positions for grid in inside)

    def set(self, slot: int, n_tokens: int, grids: Iterable[GridPart]) -> None:
        """The slot has the first `n_tokens` of a text with these `grids`."""
        self._set(slot, [grid for grid in grids if grid.start + grid.n_rows <= n_tokens])

    def fork(self, source: int, target: int, n_tokens: int) -> None:
        """`target` has the first `n_tokens` of `source`."""
        self.set(target, n_tokens, self._grids[source])

    def trim(self, slot: int, n_tokens: int) -> None:
        """Only the first `n_tokens` are left."""
        self.fork(slot, slot, n_tokens)

    def clear(self) -> None:
        """Nothing is left anywhere."""
        for slot in range(len(self._grids)):
            self._set(slot, [])

    def _set(self, slot: int, grids: list[GridPart]) -> None:
        self._grids[slot] = grids
        self._n_saved[slot] = sum(grid.n_rows - grid.n_positions for grid in grids)
