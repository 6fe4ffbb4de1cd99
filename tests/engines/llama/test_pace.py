"""Pace on made-up machines."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from llmatic.engines.llama.pace import N_STALE, Pace

N_CELLS = 1000
Machine = Callable[[int, int], float]


def interpolate(points: list[tuple[float, float]], at: float) -> float:
    for (start, low), (end, high) in pairwise(points):
        if at <= end:
            return low + (high - low) * (at - start) / (end - start)
    return points[-1][1]


def cpu(n_decode: int, n_prefill: int) -> float:
    """4 rows 57 ms, 8 rows 86 ms; 4.1 ms per row of prompt, at 32 rows 0.78 as efficient."""
    decode_s = interpolate([(0, 0.0), (1, 0.027), (4, 0.057), (8, 0.086), (16, 0.137), (512, 2.2)], n_decode)
    efficiency = interpolate([(0, 0.56), (32, 0.78), (64, 1.0)], n_prefill)
    return decode_s + 0.0041 * n_prefill / efficiency


def gpu(n_decode: int, n_prefill: int) -> float:
    """Any decode step 10 ms, 0.1 ms per row of prompt."""
    return 0.01 + 0.0001 * n_prefill


def trained(machine: Machine, n_steps: int = 48, n_batch: int = 512) -> Pace:
    """A pace that has seen some steps of each kind."""
    pace = Pace(target_s=None, n_batch=n_batch)
    for step in range(n_steps):
        n_decode = (1, 4, 8)[step % 3]
        n_prefill = pace.prefill_rows(n_decode, 1.0, N_CELLS) if step % 2 else 0
        pace.observe(n_decode, n_prefill, n_decode, machine(n_decode, n_prefill), N_CELLS)
    return pace


@dataclass
class Run:
    """So many streams write while prompts, which came at once, are computed one after the other."""

    pace: Pace
    machine: Machine
    n_writing: int
    prompts: list[int]
    gaps_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        now = 0.0
        while self.prompts:
            n_rows = min(self.pace.prefill_rows(self.n_writing, now, N_CELLS), sum(self.prompts))
            n_left, n_ended = n_rows, 0
            while n_left:
                n_part = min(n_left, self.prompts[0])
                n_left -= n_part
                self.prompts[0] -= n_part
                if not self.prompts[0]:
                    del self.prompts[0]
                    n_ended += 1
            step_s = self.machine(self.n_writing, n_rows)
            self.pace.observe(self.n_writing, n_rows, self.n_writing + n_ended, step_s, N_CELLS)
            now += step_s
            self.gaps_s.append(step_s)
            self.first_token_s += [now] * n_ended
            self.n_writing += n_ended


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_prompts_neither_stall_the_streams_nor_starve(is_calibrated: bool) -> None:
    pace = Pace(target_s=None, n_batch=512)
    if is_calibrated:
        for rows in (1, 4, 8):
            pace.calibrate(rows, cpu(rows, 0))
    for _ in range(20):
        pace.observe(4, 0, 4, cpu(4, 0), N_CELLS)
    run = Run(pace, cpu, 4, [1250] * 3)
    run.run()
    gaps_s = sorted(run.gaps_s)
    assert gaps_s[math.ceil(0.99 * len(gaps_s)) - 1] < 0.230
    assert gaps_s[-1] < 0.300
    assert sorted(run.first_token_s)[1] <= 21.0


def test_alone_prompts_are_computed_at_full_speed() -> None:
    pace = Pace(target_s=None, n_batch=512)
    now = 0.0
    n_computed = 0
    while n_computed < 20_000:
        n_rows = pace.prefill_rows(0, 0.0, N_CELLS)
        step_s = cpu(0, n_rows)
        pace.observe(0, n_rows, 1, step_s, N_CELLS)
        n_computed, now = n_computed + n_rows, now + step_s
    assert n_computed / now >= 0.95 / 0.0041
    assert pace.prefill_rows(0, 0.0, N_CELLS) <= 200  # about 0.75 s: newcomers do not wait longer


def test_prompts_that_came_together_start_together() -> None:
    pace = Pace(target_s=None, n_batch=512)
    alone, burst = pace.prefill_rows(0, 0.0, N_CELLS), pace.prefill_rows(0, 0.0, N_CELLS, 400)
    assert burst > 2 * alone
    assert pace.prefill_rows(0, 0.0, N_CELLS, 100_000) == alone
    assert pace.prefill_rows(4, 0.0, N_CELLS, 400) == pace.prefill_rows(4, 0.0, N_CELLS)


def test_the_first_prompt_rows_are_few_and_grow_while_it_waits() -> None:
    pace = trained(cpu)
    rows = [pace.prefill_rows(4, waited_s, N_CELLS) for waited_s in (0.0, 0.05, 0.1, 0.15, 0.2, 5.0)]
    assert rows == sorted(rows)
    assert rows[0] < rows[-1] == rows[-2]


def test_a_flat_machine_is_learned_within_dozens_of_steps() -> None:
    pace = trained(gpu, n_steps=40, n_batch=2048)
    for rows in (1, 4, 6, 8):
        assert pace.decode_s(rows) == pytest.approx(0.01, rel=0.1)
    assert pace.prefill_s(512, N_CELLS) == pytest.approx(0.0512, rel=0.2)
    assert pace.prefill_rows(8, 0.0, N_CELLS) > 500


def test_the_shape_serves_until_something_is_measured() -> None:
    pace = Pace(target_s=None, n_batch=512)
    pace.observe(4, 0, 4, 0.5, 0)
    assert pace.decode_s(4) == pytest.approx(0.5)
    assert 0.2 < pace.decode_s(1) < 0.3
    assert 0.5 < pace.decode_s(8) < 1.0
    assert pace.decode_s(0) == 0.0


def test_calibration_is_followed_and_its_least_value_counts() -> None:
    pace = Pace(target_s=None, n_batch=512)
    for seconds in (0.9, 0.02, 0.05):
        pace.calibrate(1, seconds)
    pace.calibrate(8, 0.03)
    assert pace.decode_s(1) == pytest.approx(0.02)
    assert pace.decode_s(8) == pytest.approx(0.03)
    assert 0.02 < pace.decode_s(4) < 0.045


def test_a_slow_step_now_and_then_changes_little() -> None:
    pace = trained(cpu)
    rows, decode_s = pace.prefill_rows(4, 1.0, N_CELLS), pace.decode_s(4)
    for step in range(60):
        slowness = 3.0 if step % 5 == 0 else 1.0
        n_prefill = rows if step % 2 else 0
        pace.observe(4, n_prefill, 4, slowness * cpu(4, n_prefill), N_CELLS)
        assert pace.decode_s(4) == pytest.approx(decode_s, rel=0.02)
        assert abs(pace.prefill_rows(4, 1.0, N_CELLS) - rows) <= 8


def test_a_machine_that_becomes_slow_is_noticed() -> None:
    pace = trained(cpu)
    for _ in range(8):
        pace.observe(4, 0, 4, 3 * cpu(4, 0), N_CELLS)
    assert pace.decode_s(4) == pytest.approx(3 * cpu(4, 0), rel=0.05)


def test_what_was_measured_long_ago_is_forgotten() -> None:
    pace = trained(cpu)
    for _ in range(5):
        pace.observe(8, 0, 8, 5.0, N_CELLS)
    for _ in range(2 * N_STALE):
        pace.observe(4, 0, 4, cpu(4, 0), N_CELLS)
    assert pace.decode_s(8) < 0.2


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, -math.inf, 1e9])
def test_absurd_times_are_ignored(seconds: float) -> None:
    pace, same = trained(cpu), trained(cpu)
    pace.calibrate(4, seconds)
    for _ in range(20):
        pace.observe(4, 0, 4, seconds, N_CELLS)
        pace.observe(4, 48, 4, seconds, N_CELLS)
    assert pace.decode_s(4) == same.decode_s(4)
    assert pace.prefill_rows(4, 1.0, N_CELLS) == same.prefill_rows(4, 1.0, N_CELLS)


@pytest.mark.parametrize("seconds", [1e-9, 599.0])
def test_extreme_times_leave_it_usable(seconds: float) -> None:
    pace = trained(cpu)
    for _ in range(20):
        pace.observe(4, 0, 4, seconds, N_CELLS)
        pace.observe(4, 48, 4, seconds, 10**9)
        pace.observe(0, 0, 0, seconds, N_CELLS)
        pace.observe(-1, 5, 0, seconds, N_CELLS)
        pace.observe(10**6, 10**6, 10**6, seconds, -5)
    for n_writing in (0, 1, 4, 500, 512, 600):
        assert 0 <= pace.prefill_rows(n_writing, 1.0, N_CELLS) <= max(0, 512 - n_writing)
    for _ in range(10):
        pace.observe(4, 0, 4, cpu(4, 0), N_CELLS)
    assert pace.decode_s(4) == pytest.approx(cpu(4, 0))


def test_rows_are_multiples_of_eight_and_skip_the_slow_kernel() -> None:
    pace = trained(lambda n_decode, n_prefill: 0.01 + 0.002 * n_prefill / (1.0 if n_prefill >= 64 else 0.85))
    seen = {pace.prefill_rows(4, waited / 1000, N_CELLS) for waited in range(0, 250)}
    assert all(rows % 8 == 0 for rows in seen)
    for budget_ms in range(60, 250):
        rows = Pace.prefill_rows(_with_target(pace, budget_ms / 1000 + pace.decode_s(4)), 4, 0.0, N_CELLS)
        if pace.prefill_s(64, N_CELLS) <= budget_ms / 1000:
            assert rows >= 64
        assert pace.prefill_s(rows, N_CELLS) <= budget_ms / 1000 * 1.001


def _with_target(pace: Pace, target_s: float) -> Pace:
    pace._target_s = target_s
    return pace


def test_a_target_is_kept_and_stretched() -> None:
    pace = Pace(target_s=0.2, n_batch=512)
    assert pace.gap_s(4, 0.0) == 0.2
    assert pace.gap_s(4, 60.0) == pytest.approx(0.5)


def test_a_slow_machine_still_computes_prompts() -> None:
    pace = Pace(target_s=0.05, n_batch=512, n_min=16)
    for _ in range(10):
        pace.observe(4, 16, 4, 9.0, N_CELLS)
        pace.observe(4, 0, 4, 2.0, N_CELLS)
    assert pace.prefill_rows(4, 0.0, N_CELLS) == 16


def test_no_more_rows_than_the_batch_has_room_for() -> None:
    pace = trained(gpu, n_batch=64)
    assert pace.prefill_rows(0, 0.0, N_CELLS) == 64
    assert pace.prefill_rows(4, 0.0, N_CELLS) == 56
    assert pace.prefill_rows(60, 0.0, N_CELLS) == 4
    assert pace.prefill_rows(64, 0.0, N_CELLS) == 0


def test_more_cells_in_use_mean_fewer_rows() -> None:
    pace = trained(cpu)
    assert pace.prefill_rows(4, 1.0, 30_000) < pace.prefill_rows(4, 1.0, 0)


def test_rows_with_logits_are_not_taken_for_dear_prompts() -> None:
    pace = trained(cpu)
    before_s = pace.prefill_s(48, N_CELLS)
    for _ in range(10):
        pace.observe(4, 48, 4 + 33, cpu(4, 48) + 32 * 0.0025, N_CELLS)
    assert pace.prefill_s(48, N_CELLS) == pytest.approx(before_s, rel=0.1)
