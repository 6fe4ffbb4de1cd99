import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmatic.core.types import SamplingParams
from llmatic.engines.llama.logits import BadLogits, Workspace, largest, log_sum_exp, top_logprobs
from llmatic.engines.llama.sampling import Sampler

N_VOCAB = 1003  # no multiple of any block
RANDOM = np.random.default_rng(5)
FLAT = RANDOM.standard_normal(N_VOCAB).astype(np.float32)
PEAKED = (RANDOM.standard_normal(N_VOCAB) * 4).astype(np.float32)
TIED = np.repeat(RANDOM.standard_normal(17), 59).astype(np.float32)[:N_VOCAB]
SPACE = Workspace(N_VOCAB)


def sampler(params: SamplingParams, **more: Any) -> Sampler:
    return Sampler(params, SPACE, **{"seed": 1, "choice": 0, **more})


def reference(row: NDArray[np.float32], params: SamplingParams) -> NDArray[np.float64]:
    """The distribution to draw from, by sorting in double precision."""
    weights = np.exp((row.astype(np.float64) - row.max()) / params.temperature)
    order = np.argsort(-row, kind="stable")
    if 0 < params.top_k < len(row):
        weights[order[params.top_k :]] = 0
    before = np.concatenate([[0.0], weights[order].cumsum()[:-1]])
    kept = before < params.top_p * weights.sum()
    border = weights[order[kept]].min()
    result = np.where(weights >= border, weights, 0)
    result[weights < params.min_p] = 0
    return np.asarray(result / result.sum(), np.float64)


class Grid:
    """A random stream that walks through [0, 1) evenly, so that counting draws measures probabilities."""

    def __init__(self, n: int) -> None:
        self._values = iter(np.random.default_rng(3).permutation((np.arange(n) + 0.5) / n).tolist() * 40)

    def random(self) -> float:
        return float(next(self._values))


@pytest.mark.parametrize("row", [FLAT, PEAKED, TIED], ids=["flat", "peaked", "tied"])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.5),
        SamplingParams(top_k=40),
        SamplingParams(top_k=40, top_p=0.7, temperature=1.7),
        SamplingParams(top_k=990, top_p=0.8),
        SamplingParams(min_p=0.1),
        SamplingParams(top_k=20, min_p=0.2),
    ],
    ids=str,
)
def test_draws_follow_the_reference(row: NDArray[np.float32], params: SamplingParams) -> None:
    n = 4000
    drawn = sampler(params)
    drawn._random = Grid(n)  # type: ignore[assignment]
    counts = np.bincount([drawn.sample(row.copy()).token for _ in range(n)], minlength=N_VOCAB) / n
    wanted = reference(row, params)
    assert not counts[wanted == 0].any()
    assert np.abs(counts - wanted).max() <= 1.5 / n


@pytest.mark.parametrize("row", [FLAT, PEAKED, TIED], ids=["flat", "peaked", "tied"])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("min_p", [0.0, 0.3])
def test_the_nucleus_without_top_k(row: NDArray[np.float32], top_p: float, min_p: float) -> None:
    params = SamplingParams(top_p=top_p, min_p=min_p)
    wanted, drawn, n = reference(row, params), sampler(params), 3000
    counts = np.bincount([drawn.sample(row.copy()).token for _ in range(n)], minlength=N_VOCAB) / n
    assert not counts[wanted == 0].any()
    assert np.abs(counts - wanted).max() < 5 * math.sqrt(wanted.max() / n)


def test_large_top_k_uses_the_unsorted_way() -> None:
    row = RANDOM.standard_normal(9001).astype(np.float32)
    params = SamplingParams(top_k=5000, temperature=3.0)
    drawn = Sampler(params, Workspace(9001), seed=1, choice=0)
    kept = set(np.argsort(-row, kind="stable")[:5000].tolist())
    assert {drawn.sample(row.copy()).token for _ in range(500)} <= kept


@pytest.mark.parametrize("k", [1, 2, 3, 7, 20, 200, 1003, 5000])
@pytest.mark.parametrize("n", [5, 256, 1003, 20_000])
def test_largest_is_a_stable_sort(k: int, n: int) -> None:
    row = np.round(np.random.default_rng(n).standard_normal(n), 2).astype(np.float32)
    assert largest(row, k).tolist() == np.argsort(-row, kind="stable")[:k].tolist()


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert sampler(SamplingParams(temperature=0)).sample(PEAKED.copy()).token == PEAKED.argmax()
    assert sampler(SamplingParams(top_k=1)).sample(PEAKED.copy()).token == PEAKED.argmax()


def test_log_probabilities_match_double_precision() -> None:
    wanted = PEAKED - PEAKED.max() - np.log(np.exp(PEAKED.astype(np.float64) - PEAKED.max()).sum())
    total = log_sum_exp(PEAKED, SPACE)
    best = np.argsort(-PEAKED, kind="stable")[:5]
    found = top_logprobs(PEAKED, 5, total)
    assert [token for token, _ in found] == best.tolist()
    assert [logprob for _, logprob in found] == pytest.approx(wanted[best].tolist(), abs=1e-5)


def test_log_probabilities_are_taken_after_bias_and_before_penalties() -> None:
    params = SamplingParams(temperature=0, n_logprobs=1, logit_bias=((3, 100.0),), frequency_penalty=2.0)
    drawn = sampler(params)
    for _ in range(3):
        sample = drawn.sample(FLAT.copy())
        assert sample.token == 3
        assert sample.logprob == pytest.approx(0.0, abs=1e-6)
        assert sample.top[0][0] == 3


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.7),
        SamplingParams(top_k=40),
        SamplingParams(top_p=0.5),
        SamplingParams(min_p=0.05),
        SamplingParams(frequency_penalty=1.5, repetition_penalty=1.2),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_logprobs", [0, 1, 60])
def test_asking_for_log_probabilities_changes_no_token(params: SamplingParams, n_logprobs: int) -> None:
    without, with_them = sampler(params), sampler(replace(params, n_logprobs=n_logprobs))
    log_total = log_sum_exp(PEAKED, SPACE)
    for _ in range(30):
        sample = with_them.sample(PEAKED.copy())
        assert sample.token == without.sample(PEAKED.copy()).token
        assert sample.logprob == pytest.approx(float(PEAKED[sample.token]) - log_total, abs=1e-5)
        assert sample.top == top_logprobs(PEAKED, n_logprobs, log_total)


@pytest.mark.parametrize("min_p", [1e-9, 0.3])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_min_p_with_many_and_with_few_candidates(min_p: float, temperature: float) -> None:
    params, n = SamplingParams(min_p=min_p, temperature=temperature), 3000
    wanted, drawn = reference(PEAKED, params), sampler(params)
    drawn._random = Grid(n)  # type: ignore[assignment]
    counts = np.bincount([drawn.sample(PEAKED.copy()).token for _ in range(n)], minlength=N_VOCAB) / n
    assert not counts[wanted == 0].any()
    assert np.abs(counts - wanted).max() <= 1.5 / n


def test_the_same_seed_and_choice_draw_the_same() -> None:
    def draw(seed: int, choice: int) -> list[int]:
        drawn = sampler(SamplingParams(), seed=seed, choice=choice)
        return [drawn.sample(FLAT.copy()).token for _ in range(20)]

    assert draw(7, 0) == draw(7, 0)
    assert draw(7, 0) != draw(7, 1)
    assert draw(7, 0) != draw(8, 0)


@pytest.mark.parametrize("seed", [0, -1, 2**64, -(2**200), 10**30])
def test_every_seed_is_taken(seed: int) -> None:
    assert 0 <= sampler(SamplingParams(), seed=seed).sample(FLAT.copy()).token < N_VOCAB


def test_penalties_move_generated_tokens_only() -> None:
    row = np.zeros(N_VOCAB, np.float32)
    row[:3] = [3.0, 2.5, 2.0]
    drawn = sampler(SamplingParams(temperature=0, presence_penalty=0.7), prompt=[1, 1, 2])
    assert [drawn.sample(row.copy()).token for _ in range(4)] == [0, 1, 0, 0]
    drawn = sampler(SamplingParams(temperature=0, frequency_penalty=0.7))
    assert [drawn.sample(row.copy()).token for _ in range(4)] == [0, 1, 0, 2]


def test_repetition_penalty_covers_the_prompt() -> None:
    row = np.full(N_VOCAB, -4.0, np.float32)
    row[:2] = [3.0, 2.0]
    drawn = sampler(SamplingParams(temperature=0, repetition_penalty=2.0), prompt=[0])
    assert drawn.sample(row.copy()).token == 1


def test_penalties_on_the_prompt_and_on_the_answer_add_up() -> None:
    row = np.full(N_VOCAB, -9.0, np.float32)
    row[:3] = [4.0, 3.5, 1.9]
    params = SamplingParams(temperature=0, repetition_penalty=2.0, presence_penalty=0.2, n_logprobs=0)
    drawn = sampler(params, prompt=[0, 0])
    samples = [drawn.sample(row.copy()) for _ in range(3)]
    assert [sample.token for sample in samples] == [1, 0, 2]  # 3.5; then 4/2 before 1.9; then 4/2 - 0.2
    total = log_sum_exp(row, SPACE)
    assert [s.logprob for s in samples] == pytest.approx([3.5 - total, 4.0 - total, 1.9 - total], abs=1e-5)


def test_many_distinct_tokens_are_counted() -> None:
    drawn = sampler(SamplingParams(temperature=0, presence_penalty=100.0))
    assert len({drawn.sample(FLAT.copy()).token for _ in range(300)}) == 300


def test_bans_and_minimum_length() -> None:
    best, second = np.argsort(-PEAKED)[:2].tolist()
    assert sampler(SamplingParams(temperature=0), banned=[best]).sample(PEAKED.copy()).token == second
    assert (
        sampler(SamplingParams(temperature=0), banned=np.array([best])).sample(PEAKED.copy()).token == second
    )
    drawn = sampler(SamplingParams(temperature=0), end_tokens=[best], n_tokens_min=2)
    assert [drawn.sample(PEAKED.copy()).token for _ in range(3)] == [second, second, best]


def test_a_shared_row_is_left_alone() -> None:
    row = PEAKED.copy()
    sampler(SamplingParams(logit_bias=((1, -50.0),)), banned=[2]).sample(row, is_shared=True)
    sampler(SamplingParams(temperature=0.7, top_p=0.5)).sample(row, is_shared=True)
    assert (row == PEAKED).all()


@pytest.mark.parametrize("damage", [np.nan, np.inf])
@pytest.mark.parametrize(
    "params", [SamplingParams(temperature=0), SamplingParams(), SamplingParams(n_logprobs=1)]
)
def test_damaged_logits_are_refused(damage: float, params: SamplingParams) -> None:
    row = FLAT.copy()
    row[500] = damage
    with pytest.raises(BadLogits):
        sampler(params).sample(row)


def test_all_banned_is_refused() -> None:
    with pytest.raises(BadLogits):
        sampler(SamplingParams()).sample(np.full(N_VOCAB, -np.inf, np.float32))


def test_impossible_tokens_have_no_place_among_the_likeliest() -> None:
    row = np.full(N_VOCAB, -np.inf, np.float32)
    row[9] = 1.0
    sample = sampler(replace(SamplingParams(), n_logprobs=5)).sample(row)
    assert sample.top == ((9, 0.0),)
