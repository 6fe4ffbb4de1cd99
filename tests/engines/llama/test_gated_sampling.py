"""Sampling of tokens that must fit a grammar."""

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from llmatic.core.types import SamplingParams
from llmatic.engines.llama.logits import allowed_ids, strike_out
from llmatic.engines.llama.sampling import N_MASKED, BadLogits, Sampler, Workspace


class Allowed:
    """A gate that always allows the same ids."""

    def __init__(self, ids: set[int], n_vocab: int) -> None:
        self.ids = ids
        self.n_masks = 0
        self._bits = np.packbits([i in ids for i in range(n_vocab)], bitorder="little")

    def accepts(self, token: int) -> bool:
        return token in self.ids

    def mask(self) -> NDArray[np.uint8]:
        self.n_masks += 1
        return self._bits


def logits_of(n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2, n).astype(np.float32)


def sampler_of(n: int, seed: int = 1, **params: float) -> Sampler:
    return Sampler(SamplingParams(**params), Workspace(n), seed=seed, choice=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_allowed", [1, 5, 4000])
def test_greedy_takes_the_likeliest_that_fits(n_allowed: int) -> None:
    n = 5003
    row = logits_of(n)
    ids = np.argsort(row)[:n_allowed]  # the least likely ones
    gate = Allowed(set(ids.tolist()), n)
    sampler = sampler_of(n, temperature=0.0)
    tokens = [sampler.sample(row.copy(), gate=gate).token for _ in range(3)]
    assert tokens == [int(ids[row[ids].argmax()])] * 3


def test_no_mask_is_needed_while_the_drawn_tokens_fit() -> None:
    row = logits_of(100)
    gate = Allowed({int(row.argmax())}, 100)
    sampler = sampler_of(100, temperature=0.0)
    for _ in range(5):
        assert sampler.sample(row.copy(), gate=gate).token == int(row.argmax())
    assert gate.n_masks == 0


def test_after_a_token_that_did_not_fit_a_few_are_masked() -> None:
    row = logits_of(100)
    best, worst = int(row.argmax()), int(row.argmin())
    refusing, allowing = Allowed({worst}, 100), Allowed({best, worst}, 100)
    sampler = sampler_of(100, temperature=0.0)
    gates = [refusing, *[allowing] * (2 * N_MASKED)]
    tokens = [sampler.sample(row.copy(), gate=gate).token for gate in gates]
    assert tokens == [worst, *[best] * (2 * N_MASKED)]
    assert (refusing.n_masks, allowing.n_masks) == (1, N_MASKED - 1)


@pytest.mark.parametrize("allowed", [{1, 4, 7}, {0, 2, 3, 5, 6, 8}])
def test_draws_have_the_distribution_of_the_fitting_tokens(allowed: set[int]) -> None:
    n, n_draws = 9, 6000
    row = logits_of(n, seed=3)
    weights = {i: math.exp(row[i]) for i in allowed}
    total = sum(weights.values())
    sampler, gate = sampler_of(n, seed=5), Allowed(allowed, n)
    counts = Counter(sampler.sample(row.copy(), gate=gate).token for _ in range(n_draws))
    assert set(counts) <= allowed
    for i, weight in weights.items():
        p = weight / total
        assert abs(counts[i] / n_draws - p) < 5 * math.sqrt(p * (1 - p) / n_draws) + 1e-3


def test_truncation_applies_to_the_fitting_tokens() -> None:
    n = 50
    row = logits_of(n)
    ids = np.argsort(row)[:10]  # ascending: the last is the likeliest of them
    sampler, gate = sampler_of(n, top_k=2), Allowed(set(ids.tolist()), n)
    drawn = {sampler.sample(row.copy(), gate=gate).token for _ in range(200)}
    assert drawn == set(ids[-2:].tolist())
    sampler = sampler_of(n, top_p=0.01)
    assert {sampler.sample(row.copy(), gate=gate).token for _ in range(50)} == {int(ids[-1])}


def test_nothing_that_fits_is_possible() -> None:
    row = logits_of(20)
    sampler = Sampler(SamplingParams(), Workspace(20), seed=0, choice=0, banned=[3, 4])
    with pytest.raises(BadLogits):
        sampler.sample(row, gate=Allowed({3, 4}, 20))
    with pytest.raises(BadLogits):
        sampler.sample(logits_of(20), gate=Allowed(set(), 20))


def test_a_forced_token_comes_with_its_own_probability() -> None:
    row = logits_of(30)
    sampler = sampler_of(30, n_logprobs=2)
    sample = sampler.sample(row.copy(), forced=11)
    assert sample.token == 11
    assert sample.logprob == pytest.approx(
        float(row[11]) - math.log(np.exp(row.astype(float)).sum()), abs=1e-5
    )
    assert [token for token, _ in sample.top] == np.argsort(-row)[:2].tolist()


def test_probabilities_are_the_models_own_whatever_fits() -> None:
    row = logits_of(30)
    free = sampler_of(30, n_logprobs=0, temperature=0.0).sample(row.copy(), forced=int(row.argmin()))
    held = sampler_of(30, n_logprobs=0, temperature=0.0).sample(
        row.copy(), gate=Allowed({int(row.argmin())}, 30)
    )
    assert held == free


def test_a_shared_row_is_left_as_it_is() -> None:
    row = logits_of(6000)
    before = row.copy()
    ids = set(range(0, 6000, 2)) - {int(row.argmax())}
    sampler_of(6000).sample(row, is_shared=True, gate=Allowed(ids, 6000))
    assert (row == before).all()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_masks_name_and_strike_the_same_tokens(share: float) -> None:
    n = 20_011
    flags = np.random.default_rng(2).random(n) < share
    mask = np.packbits(flags, bitorder="little")
    row = logits_of(n)
    struck = row.copy()
    strike_out(struck, mask)
    assert (np.isneginf(struck) == ~flags).all()
    assert (struck[flags] == row[flags]).all()
    ids = allowed_ids(mask)
    if ids is not None:
        assert ids.tolist() == np.flatnonzero(flags).tolist()
    assert (ids is None) == (share >= 0.5)
