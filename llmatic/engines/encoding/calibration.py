"""How many tokens are best computed at once.

Owns the choice of a slice's size, and the timing that it rests on. `calibrate` runs in the engine's thread
before it serves, with a clock that it is given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from llmatic.engines.encoding.backend import Item

CALIBRATION_S = 0.5
LONGEST_CALIBRATION_S = 1.5
# Whoever comes while a slice is computed waits for its end; who comes often, for a shorter one's.
SLICE_S = 0.025
ALERT_S = 0.01
# Where so short slices are a waste, longer ones, up to here.
LONGEST_SLICE_S = 0.25
ENOUGH_SHARE = 0.85
# So few may take longer: less is a waste, and the machine may be slow only while others load their models.
N_ALWAYS = 128
GOOD_SHARE = 0.97
SMALLEST = 64
LARGEST = 32 * 1024
# About a paragraph; one of it is computed less well than several short texts of as many tokens together.
LENGTH = 128
_TOKEN_ID = 100


@dataclass(frozen=True, slots=True)
class Timing:
    """So many tokens took so long."""

    n_tokens: int
    seconds: float

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.n_tokens / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class SliceSizes:
    """Tokens of a slice: as a rule, and while short queries come."""

    usual: int
    alert: int


def choose(timings: Sequence[Timing]) -> SliceSizes:
    """The fewest tokens that are computed about as fast as can be.

    Of sizes that take less than `SLICE_S` if they are fast enough, else than `LONGEST_SLICE_S`.
    """
    allowed = _within(timings, SLICE_S if _is_quick_enough(timings) else LONGEST_SLICE_S)
    usual = min(timing.n_tokens for timing in allowed if timing.speed >= GOOD_SHARE * _best(allowed))
    return SliceSizes(usual, min(usual, max(timing.n_tokens for timing in _within(timings, ALERT_S))))


def _is_quick_enough(timings: Sequence[Timing]) -> bool:
    """Whether slices that nobody minds waiting for reach `ENOUGH_SHARE` of what longer ones give."""
    return _best(_within(timings, SLICE_S)) >= ENOUGH_SHARE * _best(_within(timings, LONGEST_SLICE_S))


def _within(timings: Sequence[Timing], seconds: float) -> list[Timing]:
    """Those that take no longer, the smallest in any case."""
    smallest = min(timing.n_tokens for timing in timings)
    return [
        timing for timing in timings if timing.seconds < seconds or timing.n_tokens <= max(N_ALWAYS, smallest)
    ]


def _best(timings: Sequence[Timing]) -> float:
    return max(timing.speed for timing in timings)


def calibrate(
    compute: Callable[[Sequence[Item]], object], clock: Callable[[], float], *, n_context: int, n_vocab: int
) -> list[Timing]:
    """The best times of slices of growing size, in `CALIBRATION_S` or while one more may tell something.

    `clock`: seconds. Raises what `compute` raises.
    """
    length = max(1, min(LENGTH, n_context))
    item = Item([max(0, min(_TOKEN_ID, n_vocab - 1))] * length)

    def seconds(n_items: int) -> float:
        start = clock()
        compute([item] * n_items)
        return clock() - start

    began = clock()
    until = began + CALIBRATION_S
    best: dict[int, float] = {}
    n_items = max(1, SMALLEST // length)
    while n_items * length <= LARGEST and clock() < began + LONGEST_CALIBRATION_S:
        best[n_items] = seconds(n_items)
        if clock() < until:  # the first of a size may have had to prepare for it
            best[n_items] = min(best[n_items], seconds(n_items))
        timings = _timings(best, length)
        takes_s = 0.0 if n_items * length < N_ALWAYS else best[n_items]
        is_known = takes_s >= 2 * SLICE_S and _is_quick_enough(timings)
        if is_known or takes_s >= LONGEST_SLICE_S or _is_flat(timings):
            break
        n_items *= 2
    sizes = cycle(best)
    while clock() < until:  # turn by turn: what disturbs for a while disturbs all alike
        n_items = next(sizes)
        best[n_items] = min(best[n_items], seconds(n_items))
    return _timings(best, length)


def _timings(best: Mapping[int, float], length: int) -> list[Timing]:
    return [Timing(n_items * length, seconds) for n_items, seconds in best.items()]


def _is_flat(timings: Sequence[Timing]) -> bool:
    """Whether the last two sizes brought nothing over those before."""
    if len(timings) < 3:
        return False
    before = max(timing.speed for timing in timings[:-2])
    return GOOD_SHARE * max(timing.speed for timing in timings[-2:]) <= before
