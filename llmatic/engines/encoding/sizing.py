"""Learns from the slices that are computed how large slices should be.

Owns the best time that each size was seen to take. What was timed while a model was loaded may have been
disturbed by others who were busy; the best of many slices is not. Pure; the engine's thread.
"""

from collections.abc import Sequence

from llmatic.engines.encoding.calibration import LARGEST, SliceSizes, Timing, choose

# Of slices of a long request, one in so many is twice as large, to see whether that pays.
EXPLORE_EVERY = 16
# A slice tells of a size that it fills at least so far.
FILLED = 0.75


class FixedSizes:
    """Slices of one size, and of half of it while short queries come."""

    def __init__(self, n_tokens: int) -> None:
        self.sizes = SliceSizes(n_tokens, max(1, n_tokens // 2))

    def budget(self, *, is_alert: bool) -> int:
        """How many tokens the next slice of a long request may have."""
        return self.sizes.alert if is_alert else self.sizes.usual

    def observe(self, n_padded: int, seconds: float) -> None:
        """Nothing is learned."""


class LearnedSizes:
    """`sizes` are those to use now; they change with what is observed."""

    def __init__(self, timings: Sequence[Timing]) -> None:
        self._best = {timing.n_tokens: timing.seconds for timing in timings}
        self._n_full = 0
        self.sizes: SliceSizes = choose(timings)

    def budget(self, *, is_alert: bool) -> int:
        """How many tokens the next slice of a long request may have."""
        if is_alert:
            return self.sizes.alert
        self._n_full += 1
        usual = self.sizes.usual
        return min(2 * usual, LARGEST) if self._n_full % EXPLORE_EVERY == 0 else usual

    def observe(self, n_padded: int, seconds: float) -> None:
        """A slice of so many tokens, padding included, took so long."""
        size = min((known for known in self._best if known >= n_padded), default=2 * max(self._best))
        if not FILLED * size <= n_padded <= size:
            return
        scaled_s = seconds * size / n_padded
        if scaled_s < self._best.get(size, float("inf")):
            self._best[size] = scaled_s
            self.sizes = choose([Timing(*item) for item in self._best.items()])


Budgets = FixedSizes | LearnedSizes
