"""Rows of embeddings among a prompt's tokens.

Owns how a picture or sound stands in a prompt: as runs of ordinary token ids (the model's own marks around
it) and as `Rows`, each row of which has a negative pseudo id made of its content. So whatever compares
prompts by their ids (the tree of cells, saved states) finds equal media equal. Pure; immutable, any thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import shake_256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["image", "audio"]
_ID_BITS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Part of a picture or sound as the text model takes it.

    `data`: float32, one row of the model's input width for each of `ids`, which are negative. `is_whole`: the
    rows attend to each other in both directions, so that they are computed at once or not at all. `grid`
    [3, n], in models that tell places apart (M-RoPE): time, row and column of each, counted from the first;
    together they take only `n_positions` positions.
    """

    kind: Kind
    ids: tuple[int, ...]
    data: NDArray[np.float32]
    is_whole: bool = False
    grid: NDArray[np.int32] | None = None
    n_positions: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_atomic(self) -> bool:
        """Whether nothing can go on from among the rows."""
        return self.is_whole or self.grid is not None


Piece = tuple[int, ...] | Rows
Expansion = tuple[Piece, ...]
Segment = tuple[int, ...] | int


@dataclass(frozen=True, slots=True)
class Span:
    """`rows` stand at the positions `start` … `end` of a prompt."""

    start: int
    rows: Rows

    @property
    def end(self) -> int:
        """The position after its last row."""
        return self.start + len(self.rows)

    def part(self, start: int, end: int) -> "GridPart | None":
        """Where its rows from `start` to `end`, positions of the prompt, stand in its grid."""
        rows, first = self.rows, self.start
        if rows.grid is None:
            return None
        return GridPart(rows.grid[:, start - first : end - first], first, len(rows), rows.n_positions)


@dataclass(frozen=True, slots=True, eq=False)
class GridPart:
    """The places [3, n] of some of `n_rows` rows, which begin at `start` and take `n_positions` positions."""

    places: NDArray[np.int32]
    start: int
    n_rows: int
    n_positions: int


def grids_of(spans: Sequence[Span]) -> list[GridPart]:
    """Those of the spans that have one, as wholes."""
    parts = (span.part(span.start, span.end) for span in spans)
    return [part for part in parts if part is not None]


def pseudo_ids(digest: bytes, n_rows: int) -> tuple[int, ...]:
    """`n_rows` ids from -1 down to -2**30 that follow from `digest` alone."""
    words = np.frombuffer(shake_256(digest).digest(4 * n_rows), "<u4")
    return tuple((-1 - (words & ((1 << _ID_BITS) - 1)).astype(np.int64)).tolist())


def n_rows(expansion: Expansion) -> int:
    """Positions that it takes in a prompt."""
    return sum(len(piece) for piece in expansion)


def splice(
    segments: Sequence[Segment], expansions: Sequence[Expansion]
) -> tuple[tuple[int, ...], tuple[Span, ...]]:
    """The prompt's ids and where its rows are; an int among `segments` stands for that expansion."""
    ids: list[int] = []
    spans: list[Span] = []
    for segment in segments:
        for piece in expansions[segment] if isinstance(segment, int) else (segment,):
            if isinstance(piece, Rows):
                spans.append(Span(len(ids), piece))
                ids += piece.ids
            else:
                ids += piece
    return tuple(ids), tuple(spans)


def count(spans: Sequence[Span], kind: Kind) -> int:
    """Rows of that kind."""
    return sum(len(span.rows) for span in spans if span.rows.kind == kind)


def span_at(spans: Sequence[Span], position: int) -> Span | None:
    """The span that `position` is in, if any."""
    return next((span for span in spans if span.start <= position < span.end), None)


def run_end(spans: Sequence[Span], position: int, end: int) -> int:
    """Where the rows of one kind end that begin at `position`: at the next edge of a span, or at `end`."""
    for span in spans:
        if position < span.start:
            return min(span.start, end)
        if position < span.end:
            return min(span.end, end)
    return end


def whole(spans: Sequence[Span], n_tokens: int) -> int:
    """The most of the first `n_tokens` that does not end among rows that nothing can go on from."""
    span = span_at(spans, n_tokens)
    return span.start if span is not None and span.rows.is_atomic else n_tokens
