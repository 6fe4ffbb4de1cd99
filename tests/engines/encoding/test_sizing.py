"""Sizes of slices that are learned while slices are computed."""

from collections.abc import Callable

import pytest

from llmatic.engines.encoding.calibration import LARGEST, SliceSizes, Timing
from llmatic.engines.encoding.sizing import EXPLORE_EVERY, FixedSizes, LearnedSizes


def small(n_tokens: int) -> float:
    """A quick model: 256 tokens are enough."""
    return 0.0019 + 0.0000535 * n_tokens


def heavy(n_tokens: int) -> float:
    """A model of which short slices are a waste."""
    return 0.012 + 0.00012 * n_tokens


def timings(seconds: Callable[[int], float], *, disturbed: float = 1.0) -> list[Timing]:
    return [Timing(n, seconds(n) * (disturbed if n > 128 else 1.0)) for n in (128, 256, 512, 1024)]


@pytest.mark.parametrize("seconds", [small, heavy])
def test_what_was_disturbed_at_first_is_put_right_by_work(seconds: Callable[[int], float]) -> None:
    undisturbed = LearnedSizes(timings(seconds)).sizes
    sizes = LearnedSizes(timings(seconds, disturbed=3.0))
    assert sizes.sizes.usual == 128 != undisturbed.usual
    for _ in range(EXPLORE_EVERY * 6):
        budget = sizes.budget(is_alert=False)
        sizes.observe(int(budget * 0.9), seconds(int(budget * 0.9)))
    assert sizes.sizes.usual >= undisturbed.usual


def test_slow_slices_teach_nothing() -> None:
    sizes = LearnedSizes(timings(small))
    before = sizes.sizes
    for n_tokens in (100, 256, 500, 1000):
        sizes.observe(n_tokens, 5.0)
    assert sizes.sizes == before


def test_slices_that_fill_no_size_teach_nothing() -> None:
    sizes = LearnedSizes([Timing(128, 0.01), Timing(256, 0.019)])
    before = sizes.sizes
    for n_tokens in (10, 90, 140, 290, 10**6):
        sizes.observe(n_tokens, 1e-6)
    assert sizes.sizes == before


def test_larger_slices_are_tried_now_and_then() -> None:
    sizes = LearnedSizes(timings(small))
    usual = sizes.sizes.usual
    budgets = [sizes.budget(is_alert=False) for _ in range(2 * EXPLORE_EVERY)]
    assert budgets.count(usual * 2) == 2
    assert budgets.count(usual) == 2 * EXPLORE_EVERY - 2
    assert {sizes.budget(is_alert=True) for _ in range(2 * EXPLORE_EVERY)} == {sizes.sizes.alert}


def test_no_slice_is_larger_than_any_that_is_timed_at_first() -> None:
    sizes = LearnedSizes([Timing(LARGEST // 2, 0.02), Timing(LARGEST, 0.022)])
    assert max(sizes.budget(is_alert=False) for _ in range(2 * EXPLORE_EVERY)) == LARGEST


def test_fixed_sizes_stay() -> None:
    sizes = FixedSizes(300)
    sizes.observe(300, 1e-9)
    assert sizes.sizes == SliceSizes(300, 150)
    assert {sizes.budget(is_alert=False) for _ in range(2 * EXPLORE_EVERY)} == {300}
    assert FixedSizes(1).budget(is_alert=True) == 1
