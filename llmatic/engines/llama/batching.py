"""How the rows of the next batch are shared out.

Owns the order in which running sequences get rows: first those that write, a row each and one for every
guess to check, then prompts, within the rows that the pace allows. A batch holds rows of tokens or rows of
embeddings, never both. Pure.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmatic.core.types import Adapter
from llmatic.engines.llama.media.rows import GridPart
from llmatic.engines.llama.sequences import Sequence
from llmatic.engines.llama.slots import Effect, slot_of

N_TURN_STEPS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """`n_rows` rows of a sequence; `is_prompt`: they do not only write."""

    sequence: Sequence
    n_rows: int
    is_prompt: bool


@dataclass(slots=True)
class Plan:
    """One batch, row by row, and what its output rows are for.

    Do `effects` first; decode with `adapters`. `samples`: (sequence, output row) to draw a token from; the
    rows of its drafts follow. `scores`: (sequence, position, output row), the row of a prompt's token at
    `position`, which rates the next one. `rows`: what is decoded instead of `tokens` when a picture or sound
    is read; not `is_causal`: each of them sees all. `grid`: where they stand, if not one behind the other.
    """

    effects: list[Effect] = field(default_factory=list)
    adapters: tuple[Adapter, ...] = ()
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    samples: list[tuple[Sequence, int]] = field(default_factory=list)
    scores: list[tuple[Sequence, int, int]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    rows: list[NDArray[np.float32]] = field(default_factory=list)
    is_causal: bool = True
    grid: GridPart | None = None

    @property
    def n_prompt_rows(self) -> int:
        """Rows that do not write."""
        return sum(part.n_rows for part in self.parts if part.is_prompt)

    @property
    def n_writing(self) -> int:
        """Sequences that write."""
        return sum(not part.is_prompt for part in self.parts)

    def put(self, part: Part) -> None:
        """Add the sequence's next rows, with outputs where they are wanted."""
        sequence, group = part.sequence, part.sequence.group
        n_drafts = 0 if part.is_prompt else part.n_rows - 1
        start = sequence.n_computed
        end = start + part.n_rows - n_drafts
        first_row = len(self.tokens)
        self.tokens += sequence.tokens[start:end]
        if not part.is_prompt:
            sequence.drafts = sequence.drafts[:n_drafts]
            self.tokens += sequence.drafts
        self.positions += range(start, start + part.n_rows)
        self.slots += [slot_of(sequence)] * part.n_rows
        self.parts.append(part)
        span = sequence.span
        if span is not None:
            self.rows.append(span.rows.data[start - span.start : end - span.start])
            self.is_causal = not span.rows.is_whole
            self.grid = span.part(start, end)
        if sequence.is_scored:
            for position in range(max(start, group.n_scored), min(end, group.n_prompt - 1)):
                self.scores.append((sequence, position, len(self.outputs)))
                self.outputs.append(first_row + position - start)
        if end == len(sequence.tokens):
            self.samples.append((sequence, len(self.outputs)))
            self.outputs += range(first_row + end - start - 1, first_row + part.n_rows)


@dataclass(slots=True)
class Room:
    """What a batch may hold: rows in all, cells that are free, output rows, and rows of scored prompts.

    `n_whole`: a prompt is never cut so that less than this is left of it or computed of it at once, because
    the arithmetic of fewer rows may differ in the last bits.
    """

    n_rows: int
    n_cells: int
    n_outputs: int
    n_scored: int
    n_whole: int = 1


class Turns:
    """Sequences with different adapters cannot be in one batch: each set of adapters has some steps."""

    def __init__(self) -> None:
        self.adapters: tuple[Adapter, ...] = ()
        self._n_steps = 0

    def choose(self, running: Iterable[Sequence]) -> list[Sequence]:
        """The sequences that the next step may hold, all of the set `adapters`."""
        ready = [s for s in running if s.awaits is None]
        sets = {s.group.adapters: None for s in ready}
        self._n_steps += 1
        if len(sets) > 1 and (self.adapters not in sets or self._n_steps > N_TURN_STEPS):
            order = sorted(sets, key=repr)
            after = [adapters for adapters in order if repr(adapters) > repr(self.adapters)]
            self.adapters = after[0] if after else order[0]
            self._n_steps = 1
        elif len(sets) == 1:
            self.adapters = next(iter(sets))
        return [s for s in ready if s.group.adapters == self.adapters]


def share_writing(sequences: Ordered[Sequence], room: Room) -> list[Part]:
    """A row for every sequence that writes and has a cell; what is left of the outputs goes to drafts.

    The other sequences may want outputs in the same step.
    """
    writing = [s for s in sequences if s.is_writing][: max(0, room.n_cells)]
    n_outputs = room.n_outputs - len(sequences) + len(writing)
    if any(s.is_scored for s in sequences):
        n_outputs -= room.n_scored
    n_spare = min(room.n_cells, room.n_rows, n_outputs) - len(writing)
    parts = []
    for sequence in writing:
        n_drafts = max(0, min(len(sequence.drafts), n_spare, sequence.n_wanted - 1))
        n_spare -= n_drafts
        parts.append(Part(sequence, 1 + n_drafts, is_prompt=False))
    n_taken = sum(part.n_rows for part in parts)
    room.n_rows -= n_taken
    room.n_cells -= n_taken
    return parts


def share_prompts(sequences: Iterable[Sequence], room: Room) -> list[Part]:
    """Prompts in their order; those that are short beside the room go first, in half of it at most."""
    reading = [s for s in sequences if s.is_reading]
    n_short = room.n_rows // 4
    short = [s for s in reading if s.n_left <= n_short]
    if len(short) < len(reading) and reading[: len(short)] != short:
        n_half = room.n_rows // 2
        hurried, n_taken = [], 0
        for sequence in short:
            if n_taken + sequence.n_left <= n_half:
                hurried.append(sequence)
                n_taken += sequence.n_left
        reading = [*hurried, *(s for s in reading if s not in hurried)]
    parts = []
    for sequence in reading:
        n_rows = _cut(sequence, room)
        if n_rows > 0:
            parts.append(Part(sequence, n_rows, is_prompt=True))
            room.n_rows -= n_rows
            room.n_cells -= n_rows
    return parts


def _cut(sequence: Sequence, room: Room) -> int:
    n_left = sequence.n_run
    n_rows = min(n_left, room.n_rows, room.n_cells)
    if sequence.is_scored:
        n_rows = min(n_rows, room.n_scored)
    if n_rows < n_left and n_left - n_rows < room.n_whole:
        n_rows = n_left - room.n_whole
    if n_rows < min(room.n_whole, n_left):
        return 0
    if sequence.is_scored:
        room.n_scored -= n_rows
    return n_rows


def share_rows(sequences: Ordered[Sequence], room: Room) -> list[Part]:
    """Rows of pictures and sounds for sequences that come to some; those that belong together go alone."""
    first = sequences[0]
    assert first.span is not None
    if first.span.rows.is_whole:
        return [Part(first, first.n_run, is_prompt=True)] if first.n_run <= room.n_cells else []
    if first.span.rows.is_atomic:
        return share_prompts([first], room)
    return share_prompts((s for s in sequences if s.span is not None and not s.span.rows.is_atomic), room)


def fill(plan: Plan, parts: Ordered[Part], *, is_dense: bool) -> None:
    """Put the parts into an empty plan, by ascending slot if the cache wants that."""
    for part in sorted(parts, key=lambda part: slot_of(part.sequence)) if is_dense else parts:
        plan.put(part)
