"""What a step costs, and how many rows of prompt may join the next one.

Owns the model of step times, learned from the steps themselves, and the policy of mixing prompts and answers.
Pure: times come in as arguments, it has no clock and no thread; the engine's thread uses it.

A step of `n` writing rows takes `decode_s(n)`. Each row of prompt that joins it adds a time that depends
little on how many there are. Both grow with the cells that attention walks.

The policy, in the names of the constants below: while nobody writes, a step takes prompt rows worth
`ALONE_S`, but never under `N_ALONE_MIN`. While somebody does, it may take as long as the gap `target_s`, or,
if none is given, `CALM_GAP_S` but not less than two decode steps. A prompt that has to wait stretches the
gap, in the course of `STRETCH_S`, to `STRETCH` times that, though without a target not beyond `MAX_GAP_S`.

What nobody waits for may lengthen a step of those who write to `BESIDE` times what it takes without, or to
`BESIDE_S`; by itself it takes steps of `BACKGROUND_S`, of which little is lost when one is broken off, and
after that one of `UNBROKEN_S`, which is not.
"""

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

CALM_GAP_S = 0.1
MAX_GAP_S = 0.22
STRETCH = 2.5
STRETCH_S = 0.2
ALONE_S = 0.75
BURST_S = 6.0
BACKGROUND_S = 0.25
UNBROKEN_S = 0.03
BESIDE = 2.0
BESIDE_S = 0.01
N_ALONE_MIN = 128
N_KERNEL = 64
N_ROUND = 8

# What is assumed until it is measured: a step of one row, and a row of prompt as a share of it.
UNIT_S = 0.03
PREFILL_SHARE = 0.15
# Cells in use at which attention takes as long as all else, and a row's logits in rows of prompt.
N_CELLS_DOUBLING = 28_000
ROWS_PER_OUTPUT = 0.6

N_RECENT = 7
N_STALE = 512
MAX_SECONDS = 600.0

# Seconds of a decode step by rows, one row as 1: Q8_0 on a CPU. Only where nothing was measured yet.
DECODE_SHAPE = (
    (1, 1.0), (2, 1.73), (3, 2.04), (4, 2.13), (5, 3.0), (6, 3.1), (7, 3.2), (8, 3.2), (9, 3.9), (12, 4.0),
    (16, 5.1), (24, 6.9), (32, 8.7), (64, 15.0), (128, 27.0), (256, 52.0), (512, 102.0),
)  # fmt: skip
# Seconds per row of prompt by rows, large chunks as 1.
PREFILL_SHAPE = (
    (1, 1.6), (8, 1.55), (16, 1.45), (32, 1.28), (48, 1.17), (63, 1.12), (64, 1.1), (128, 1.03), (256, 1.0),
    (4096, 1.0),
)  # fmt: skip
DECODE_EDGES = (*range(1, 17), 20, 24, 32, 48, 64, 128, 256)
PREFILL_EDGES = (1, 12, 20, 28, 40, 52, 64, 96, 192, 384, 1024)


class Curve:
    """Seconds over a number of rows: a given shape times what recent measurements make of it.

    Rows fall into buckets, each beginning at one of `edges`. A bucket's factor is the median of its
    `N_RECENT` last measurements, so that single slow steps do not count; without any, it lies between those
    of its neighbours. What was not measured for `N_STALE` measurements elsewhere is forgotten.
    """

    def __init__(self, shape: Sequence[tuple[int, float]], edges: Sequence[int], scale: float) -> None:
        self._n_max = shape[-1][0]
        self._shape = _interpolate(shape)
        self._base = self._shape
        self._anchors: dict[int, float] = {}
        starts = set(edges)
        self._bucket = [0] * (self._n_max + 1)
        for rows in range(2, self._n_max + 1):
            self._bucket[rows] = self._bucket[rows - 1] + (rows in starts)
        n_buckets = self._bucket[-1] + 1
        self._edges = [self._bucket.index(bucket, 1) for bucket in range(n_buckets)]
        self._first = [self._base[rows] for rows in self._edges]
        self._recent: list[deque[float]] = [deque(maxlen=N_RECENT) for _ in range(n_buckets)]
        self._last = [0] * n_buckets
        self._factor = [scale] * n_buckets
        self._n_added = 0

    @property
    def is_known(self) -> bool:
        """Something was measured."""
        return bool(self._anchors) or self._n_added > 0

    def at(self, rows: int) -> float:
        """Seconds for so many rows; beyond the shape's last, as for that."""
        rows = min(rows, self._n_max)
        return self._base[rows] * self._factor[self._bucket[rows]]

    def rescale(self, scale: float) -> None:
        """Nothing was measured, but this is likelier than the scale given before."""
        self._factor = [scale] * len(self._factor)

    def anchor(self, rows: int, seconds: float) -> None:
        """Move the shape to `seconds` at `rows`, the least if given again; in between it keeps its form.

        What was measured before is forgotten.
        """
        rows = min(rows, self._n_max)
        self._anchors[rows] = min(seconds, self._anchors.get(rows, seconds))
        known = sorted(self._anchors)
        self._base = []
        for at, value in enumerate(self._shape):
            low = max((k for k in known if k <= at), default=known[0])
            high = min((k for k in known if k >= at), default=known[-1])
            first = self._shape[low], self._anchors[low]
            self._base.append(_between(first, (self._shape[high], self._anchors[high]), value))
        self._first = [self._base[rows] for rows in self._edges]
        self._factor = [1.0] * len(self._factor)
        for recent in self._recent:
            recent.clear()

    def add(self, rows: int, seconds: float) -> None:
        """So many rows took so long."""
        rows = min(rows, self._n_max)
        at = self._bucket[rows]
        self._n_added += 1
        recent = self._recent[at]
        recent.append(seconds / self._base[rows])
        self._last[at] = self._n_added
        # With few measurements the lower median: a step is slowed by others, never sped up.
        self._factor[at] = sorted(recent)[(len(recent) - 1) // 2]
        self._forget(self._n_added % len(self._recent))
        self._spread(at)

    def _forget(self, at: int) -> None:
        if self._recent[at] and self._n_added - self._last[at] > N_STALE:
            self._recent[at].clear()
            near = [i for i, recent in enumerate(self._recent) if recent]
            self._spread(min(near, key=lambda i: abs(i - at)))

    def _spread(self, at: int) -> None:
        """Factors of unmeasured buckets, up to the next measured one on either side of `at`."""
        recent, factor = self._recent, self._factor
        for step in (-1, 1):
            end = at + step
            while 0 <= end < len(recent) and not recent[end]:
                end += step
            has_end = 0 <= end < len(recent)
            near = self._first[at], self._first[at] * factor[at]
            far = (self._first[end], self._first[end] * factor[end]) if has_end else near
            for i in range(at + step, end, step):
                factor[i] = _between(near, far, self._first[i]) / self._first[i]


class Pace:
    """Learns what steps cost and shares them out between answers and prompts.

    `target_s`: the gap between the tokens of an answer that prompts may cause, in seconds; None: chosen from
    the model's own speed. `n_batch`: rows of a batch. `n_min`: rows of prompt that join a step at the least,
    so that prompts are computed however slow the machine.
    """

    def __init__(self, *, target_s: float | None, n_batch: int, n_min: int = 16) -> None:
        assert n_batch > 0
        assert n_min > 0
        self._target_s = target_s
        self._n_batch = n_batch
        self._n_min = n_min
        self._decode = Curve(DECODE_SHAPE, DECODE_EDGES, UNIT_S)
        self._prefill = Curve(PREFILL_SHAPE, PREFILL_EDGES, UNIT_S * PREFILL_SHARE)
        self._attention = 1.0

    def calibrate(self, rows: int, seconds: float) -> None:
        """A step of so many decode rows, few cells in use, took so long. Absurd values are ignored."""
        if rows > 0 and _is_sane(seconds):
            self._decode.anchor(rows, seconds)
            self._guess_prefill()

    def observe(self, n_decode: int, n_prefill: int, n_outputs: int, seconds: float, n_cells: int) -> None:
        """A step took so long: rows that continue answers (drafts too), rows of prompts, rows with logits.

        `n_cells`: cells in use. Absurd values are ignored.
        """
        if n_decode < 0 or n_prefill < 0 or n_decode + n_prefill == 0 or not _is_sane(seconds):
            return
        self._attention = 1.0 + max(0, n_cells) / N_CELLS_DOUBLING
        if not n_prefill:
            self._decode.add(n_decode, seconds / self._attention)
            self._guess_prefill()
        elif n_decode or n_prefill >= N_KERNEL:  # small chunks alone also pay for reading the weights
            rest_s = seconds - self.decode_s(n_decode)
            n_rows = n_prefill + ROWS_PER_OUTPUT * max(0, n_outputs - n_decode - 1)
            self._prefill.add(n_prefill, max(rest_s, 0.05 * seconds) / n_rows / self._attention)

    def decode_s(self, rows: int) -> float:
        """Seconds that a step with so many decode rows will take; 0 for none."""
        return self._decode.at(rows) * self._attention if rows > 0 else 0.0

    def prefill_s(self, rows: int, n_cells: int) -> float:
        """Seconds that so many rows of prompt will add to a step."""
        return rows * self._prefill.at(rows) * (1.0 + n_cells / N_CELLS_DOUBLING) if rows > 0 else 0.0

    def gap_s(self, n_writing: int, waited_s: float) -> float:
        """Seconds that a step may take in which `n_writing` rows continue answers."""
        if self._target_s is not None:
            calm_s, most_s = self._target_s, STRETCH * self._target_s
        else:
            calm_s = max(CALM_GAP_S, 2 * self.decode_s(n_writing))
            most_s = max(calm_s, min(STRETCH * calm_s, MAX_GAP_S))
        return calm_s + (most_s - calm_s) * min(max(waited_s / STRETCH_S, 0.0), 1.0)

    def prefill_rows(self, n_writing: int, waited_s: float, n_cells: int, n_burst: int = 0) -> int:
        """Rows of prompt that may join a step in which `n_writing` rows continue answers.

        `waited_s`: how long the oldest unfinished prompt has waited while others wrote. `n_cells`: cells in
        use. `n_burst`: rows of prompts that came together. At least `n_min` and a multiple of 8, as far as
        the batch has room.
        """
        n_room = max(0, self._n_batch - n_writing)
        if n_writing:
            budget_s = self.gap_s(n_writing, waited_s) - self.decode_s(n_writing)
            n_least = self._n_min
        else:
            is_burst = n_burst > 0 and self.prefill_s(n_burst, n_cells) <= BURST_S
            budget_s = BURST_S if is_burst else ALONE_S
            n_least = N_ALONE_MIN
        n_rows = min(max(self._affordable(budget_s, n_cells), n_least), n_room)
        return n_rows // N_ROUND * N_ROUND or n_rows

    def background_rows(
        self, n_writing: int, n_more: int, n_cells: int, *, is_short: bool = False
    ) -> tuple[int, int]:
        """Of `n_more` rows that nobody waits for, how many may join `n_writing` others that continue answers,
        and how many rows of prompts that nobody waits for may come to them, at least a few.

        `is_short`: the step before was broken off.
        """
        if n_writing:
            budget_s, n_least = max(BESIDE_S, BESIDE * self.decode_s(n_writing)), N_ROUND
            if self._target_s is not None:
                budget_s = min(budget_s, self._target_s)
        else:
            budget_s, n_least = (UNBROKEN_S, N_ROUND) if is_short else (BACKGROUND_S, N_ALONE_MIN)
        if n_writing or is_short:
            n_fewest = 0 if n_writing else 1
            while n_more > n_fewest and self.decode_s(n_writing + n_more) > budget_s:
                n_more -= 1
        n_all = n_writing + n_more
        n_rows = max(self._affordable(budget_s - self.decode_s(n_all), n_cells), n_least)
        n_rows = min(n_rows, max(0, self._n_batch - n_all))
        return n_more, n_rows // N_ROUND * N_ROUND or n_rows

    def _affordable(self, budget_s: float, n_cells: int) -> int:
        """The most rows of prompt that take no longer."""
        if budget_s <= 0:
            return 0
        attention = 1.0 + n_cells / N_CELLS_DOUBLING
        rows = self._n_batch
        for _ in range(6):  # each round assumes the cost per row of the last, which grows as rows fall
            fitting = int(budget_s / (self._prefill.at(max(rows, 1)) * attention))
            if fitting >= rows:
                break
            rows = max(fitting, N_KERNEL) if rows > N_KERNEL else fitting
        return rows

    def _guess_prefill(self) -> None:
        if not self._prefill.is_known:
            self._prefill.rescale(self._decode.at(1) * PREFILL_SHARE)


def _is_sane(seconds: float) -> bool:
    return math.isfinite(seconds) and 0.0 < seconds <= MAX_SECONDS


def _between(low: tuple[float, float], high: tuple[float, float], at: float) -> float:
    """The value at `at` between two points, never outside them; in proportion to them if they are one."""
    (start, first), (end, last) = low, high
    if start == end:
        return first * at / start
    return first + (last - first) * min(max((at - start) / (end - start), 0.0), 1.0)


def _interpolate(points: Sequence[tuple[int, float]]) -> list[float]:
    """Values for 0, 1, … up to the last point's; linear between points, as the first before it."""
    values = [points[0][1]] * (points[0][0] + 1)
    for (start, low), (end, high) in pairwise(points):
        values += [low + (high - low) * (at - start) / (end - start) for at in range(start + 1, end + 1)]
    return values
