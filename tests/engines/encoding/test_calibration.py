"""The size of slices that pays."""

from collections.abc import Callable, Sequence

import pytest

from llmatic.engines.encoding.backend import Item
from llmatic.engines.encoding.calibration import CALIBRATION_S, SliceSizes, Timing, calibrate, choose


@pytest.mark.parametrize(
    ("milliseconds", "wanted"),
    [
        ({64: 6, 128: 9, 256: 15, 512: 29}, (256, 128)),  # larger would be faster, but too long to wait for
        ({64: 3, 128: 4, 256: 7.9, 512: 16}, (128, 128)),  # larger is not faster
        ({64: 3, 128: 6.1, 256: 12.5}, (64, 64)),  # a little slower is fast enough
        ({64: 40, 128: 70, 256: 139}, (128, 128)),  # all take long: then so few that they are fast
        ({64: 20, 128: 30, 256: 55}, (128, 128)),  # a machine that others keep busy at the moment
        (
            {128: 23, 256: 38, 512: 70, 1024: 150},
            (512, 128),
        ),  # short slices would cost a quarter of the speed
        ({128: 2, 256: 3, 512: 4.5, 1024: 8, 2048: 15}, (2048, 1024)),
        ({512: 200}, (512, 512)),
        ({64: 100}, (64, 64)),
    ],
)
def test_the_choice(milliseconds: dict[int, float], wanted: tuple[int, int]) -> None:
    timings = [Timing(n_tokens, ms / 1000) for n_tokens, ms in milliseconds.items()]
    assert choose(timings) == SliceSizes(*wanted)


class Machine:
    """Computes at a given cost on a clock of its own. `sizes`: tokens of each slice, padding included."""

    def __init__(self, seconds: Callable[[int], float], *, n_prepared: float = 0.0) -> None:
        self._seconds = seconds
        self._prepare_s = n_prepared
        self.now = 100.0
        self.sizes: list[int] = []
        self.items: list[Item] = []

    def compute(self, items: Sequence[Item]) -> None:
        n_tokens = sum(len(item.ids) for item in items)
        self.now += self._seconds(n_tokens) + (0 if n_tokens in self.sizes else self._prepare_s)
        self.sizes.append(n_tokens)
        self.items = list(items)

    def calibrate(self, *, n_context: int = 512, n_vocab: int = 30_000) -> int:
        timings = calibrate(self.compute, lambda: self.now, n_context=n_context, n_vocab=n_vocab)
        return choose(timings).usual


def test_a_small_model_on_two_cores() -> None:
    machine = Machine(lambda n: 0.0019 + 0.0000535 * n)
    assert machine.calibrate() == 256
    assert set(machine.sizes) == {128, 256, 512, 1024}, "the first too long a slice tells enough"
    assert machine.now - 100.0 < CALIBRATION_S + 0.06


def test_a_large_model_is_not_timed_for_long() -> None:
    machine = Machine(lambda n: 0.01 + 0.01 * n)
    assert machine.calibrate() == 128
    assert machine.sizes == [128]


def test_preparing_for_a_new_size_does_not_count() -> None:
    assert Machine(lambda n: 0.0019 + 0.0000535 * n, n_prepared=0.02).calibrate() == 256


def test_a_fast_machine_gets_large_slices() -> None:
    machine = Machine(lambda n: 0.002 + 0.0000001 * n)
    assert machine.calibrate() == 32 * 1024


def test_sizes_that_bring_nothing_are_not_tried() -> None:
    machine = Machine(lambda n: 0.000002 * n)
    assert machine.calibrate() == 128
    assert max(machine.sizes) == 512


def test_items_fit_the_context_and_the_vocabulary() -> None:
    machine = Machine(lambda n: 0.00002 * n)
    machine.calibrate(n_context=8, n_vocab=50)
    assert {len(item.ids) for item in machine.items} == {8}
    assert {token for item in machine.items for token in item.ids} == {49}
