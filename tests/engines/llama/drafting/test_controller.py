"""Rows are drafted where they make all sequences together faster, and hardly ever where they do not."""

import random
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from llmatic.engines.llama.drafting import MODEL_OFFER, NOTHING, UNSURE, Draft, Kind
from llmatic.engines.llama.drafting.controller import Controller, Tracker
from llmatic.engines.llama.drafting.lookup import Lookup, Material

ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 24, 32]
TIMES = [1, 1.73, 2.04, 2.13, 3.0, 3.1, 3.2, 3.2, 4.0, 4.0, 5.1, 5.8, 6.9, 8.7]
COPY = Draft(range(16), Kind.COPY)


def on_cpu(rows: int) -> float:
    """A step of a Q8_0 model on a CPU, one row as 1: flat from 3 to 4, 5 to 8, 9 to 12 rows."""
    return float(np.interp(rows, ROWS, TIMES)) + max(0, rows - 32) * 0.25


def experienced(acceptance: float, kind: Kind = Kind.COPY) -> Tracker:
    tracker, n = Tracker(), round(acceptance * 200)
    events = [i * n // 200 != (i + 1) * n // 200 for i in range(200)]
    for _ in range(3):
        for is_right in events:
            tracker.observe(Draft([1], kind), [1 if is_right else 2])
    return tracker


def simulate(offer: Draft, right: Callable[[], bool], n_tokens: int = 500, *, draft_s: float = 0.0) -> float:
    """The speed-up of a sequence that is always offered a draft, whose tokens are right one by one."""
    controller = Controller(on_cpu, draft_cost=lambda rows: draft_s * rows)
    tracker, n_written, time_s = controller.new(), 0, 0.0
    while n_written < n_tokens:
        (k,) = controller.sizes([tracker], 0, [offer])
        time_s += on_cpu(1 + k) + (draft_s * k if offer is MODEL_OFFER else 0.0)
        drawn: list[int] = []
        while len(drawn) < k and right():
            drawn.append(len(drawn))
        drawn.append(len(drawn) if len(drawn) == k and right() else -1)
        tried = Draft(range(k), Kind.MODEL) if offer is MODEL_OFFER and k else offer
        tracker.observe(tried, drawn)
        n_written += len(drawn)
    return n_written / time_s


@pytest.mark.parametrize("kind", [Kind.PREDICTION, Kind.COPY, Kind.GUESS])
def test_copies_are_written_much_faster(kind: Kind) -> None:
    dice = random.Random(3)
    assert simulate(Draft(range(16), kind), lambda: dice.random() < 0.95) > 1.8


def test_a_good_draft_model_pays() -> None:
    dice = random.Random(3)
    assert simulate(MODEL_OFFER, lambda: dice.random() < 0.9, draft_s=0.05) > 1.25


@pytest.mark.parametrize("kind", [Kind.PREDICTION, Kind.COPY, Kind.GUESS])
@pytest.mark.parametrize("acceptance", [0.0, 0.2])
def test_where_nothing_is_copied_next_to_nothing_is_lost(kind: Kind, acceptance: float) -> None:
    dice = random.Random(3)
    assert simulate(Draft(range(16), kind), lambda: dice.random() < acceptance) > 0.98


def test_a_useless_draft_model_costs_little() -> None:
    assert simulate(MODEL_OFFER, lambda: False, 2000, draft_s=0.1) > 0.98


@pytest.mark.parametrize("seed", range(20))
def test_no_other_sizes_would_be_faster(seed: int) -> None:
    dice = random.Random(seed)
    curve = [1.0]
    for _ in range(40):
        curve.append(curve[-1] + dice.choice([0.0, 0.02, 0.1, 0.5]))
    draft_s = [0.0, *sorted(dice.random() * 0.1 for _ in range(4))]
    trackers = [experienced(dice.choice([0.2, 0.5, 0.8, 0.95])) for _ in range(3)]
    offers = [Draft(range(dice.randrange(5)), Kind.COPY) for _ in trackers]
    n_other = dice.choice([0, 0, 7])

    def rate(sizes: tuple[int, ...]) -> float:
        n_tokens = sum(
            sum(t.acceptance(Kind.COPY) ** i for i in range(k + 1))
            for t, k in zip(trackers, sizes, strict=True)
        )
        rows = n_other + len(trackers)
        return n_tokens / (curve[len(trackers)] + curve[rows + sum(sizes)] - curve[rows])

    controller = Controller(curve.__getitem__, draft_cost=draft_s.__getitem__, draft_max=4)
    chosen = tuple(controller.sizes(trackers, n_other, offers))
    best = max(rate(sizes) for sizes in product(*(range(len(offer) + 1) for offer in offers)))
    assert all(k <= len(offer) for k, offer in zip(chosen, offers, strict=True))
    assert rate(chosen) >= best / 1.021


def test_steps_are_filled_to_the_end_of_a_flat_part() -> None:
    controller = Controller(on_cpu)
    assert [controller.sizes([experienced(p)], 0, [COPY]) for p in (0.75, 0.95)] == [[3], [11]]
    assert controller.sizes([experienced(0.5)] * 2, 0, [COPY] * 2) == [1, 1]


def test_rows_go_to_who_uses_them_best() -> None:
    good, bad = Controller(on_cpu).sizes([experienced(0.95), experienced(0.4)], 0, [COPY, COPY])
    assert good > 4 > bad


def test_a_draft_must_pay_for_those_who_only_wait_for_it() -> None:
    controller, one = Controller(on_cpu), experienced(0.6)
    assert controller.sizes([one], 0, [COPY]) == [3]
    assert controller.sizes([one, *[Tracker()] * 7], 0, [COPY, *[NOTHING] * 7]) == [0] * 8


def test_prompts_beside_pay_for_their_own_rows() -> None:
    tracker = experienced(0.5)
    assert Controller(lambda rows: 1 + rows / 10).sizes([tracker], 500, [COPY])[0] >= 2
    assert Controller(float).sizes([tracker], 500, [COPY]) == [0]


@pytest.mark.parametrize("rows_s", [1.0, 2.0])
def test_where_rows_cost_as_much_as_steps_nothing_is_drafted(rows_s: float) -> None:
    controller = Controller(lambda rows: rows * rows_s)
    assert controller.sizes([experienced(1.0)] * 2, 3, [COPY, MODEL_OFFER]) == [0, 0]


def test_sizes_keep_their_limits() -> None:
    controller = Controller(lambda rows: 1.0, draft_max=5, n_draft_rows_max=12)
    short = Draft([1, 2], Kind.COPY)
    assert controller.sizes([experienced(1.0)], 0, [COPY]) == [5]
    assert controller.sizes([experienced(1.0)], 0, [short]) == [2]
    assert controller.sizes([experienced(1.0, Kind.MODEL)], 0, [MODEL_OFFER]) == [5]
    assert sum(controller.sizes([experienced(0.9)] * 4, 0, [COPY] * 4)) == 12
    assert controller.sizes([], 7, []) == []
    assert controller.sizes([Tracker()] * 2, 0, [NOTHING] * 2) == [0, 0]


def test_the_draft_models_own_time_counts() -> None:
    tracker, sizes = experienced(0.8, Kind.MODEL), []
    for seconds in (0.0, 0.1, 0.3, 1.0):
        draft_s = [0.0, seconds]
        controller = Controller(lambda rows: 1.0 + 0.01 * rows, draft_cost=draft_s.__getitem__)
        sizes += controller.sizes([tracker], 0, [MODEL_OFFER])
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3] == 0


def test_drafts_that_were_not_tried_are_learned_from() -> None:
    controller, tracker = Controller(on_cpu), experienced(0.1)
    n_steps = 0
    while controller.sizes([tracker], 0, [COPY]) == [0]:
        tracker.observe(COPY, [0])
        n_steps += 1
    assert 5 < n_steps < 60


def test_kinds_are_judged_apart() -> None:
    tracker = experienced(0.0, Kind.GUESS)
    assert tracker.acceptance(Kind.GUESS) < 0.05
    assert tracker.acceptance(Kind.COPY) == Tracker().acceptance(Kind.COPY)


def test_only_what_can_be_seen_is_judged() -> None:
    tracker = Tracker()
    before = [tracker.acceptance(kind) for kind in Kind]
    tracker.observe(NOTHING, [5])
    tracker.observe(MODEL_OFFER, [5])
    tracker.observe(COPY, [])
    assert [tracker.acceptance(kind) for kind in Kind] == before
    tracker.observe(UNSURE, [5])
    tracker.observe(Draft([1, 2, 3], Kind.COPY), [1])
    assert tracker.acceptance(Kind.MODEL) < before[Kind.MODEL]
    assert tracker.acceptance(Kind.COPY) > before[Kind.COPY]


def test_a_draft_model_that_fails_is_asked_more_and_more_rarely() -> None:
    controller, tracker = Controller(on_cpu), experienced(0.0, Kind.MODEL)
    asked = []
    for step in range(3000):
        (k,) = controller.sizes([tracker], 0, [MODEL_OFFER])
        if k:
            asked.append(step)
            tracker.observe(Draft(range(k), Kind.MODEL), [-1])
    gaps = np.diff([0, *asked])
    assert 3 <= len(asked) <= 6
    assert (gaps[1:] > 1.5 * gaps[:-1]).all()


def test_a_draft_model_that_has_become_good_is_used_again() -> None:
    controller, tracker = Controller(on_cpu), experienced(0.0, Kind.MODEL)
    n_asked = 0
    for _ in range(400):
        (k,) = controller.sizes([tracker], 0, [MODEL_OFFER])
        n_asked += k > 0
        tracker.observe(Draft(range(k), Kind.MODEL) if k else MODEL_OFFER, range(k + 1))
    assert n_asked > 100


def test_a_draft_model_is_not_probed_where_it_cannot_pay() -> None:
    controller, tracker = Controller(float), experienced(0.0, Kind.MODEL)
    assert not any(controller.sizes([tracker], 0, [MODEL_OFFER])[0] for _ in range(600))


def test_a_changed_cost_is_noticed() -> None:
    slope, tracker = [0.0], experienced(0.9)
    controller = Controller(lambda rows: 1 + slope[0] * rows)
    assert controller.sizes([tracker], 0, [COPY])[0] > 8
    slope[0] = 100.0
    assert [controller.sizes([tracker], 0, [COPY])[0] for _ in range(300)][-1] == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_text_is_the_same_with_any_drafts(seed: int) -> None:
    def follows(text: list[int]) -> int:
        return (sum(text[-3:]) * 7 + text[-1] * text[-2]) % 11

    plain = [1, 2, 3]
    while len(plain) < 300:
        plain.append(follows(plain))
    dice, controller = random.Random(seed), Controller(on_cpu)
    text, tracker = plain[:3], controller.new()
    lookup = Lookup(Material(text, [t if dice.random() < 0.9 else 0 for t in plain[3:100]]))
    n_steps = 0
    while len(text) < 300:
        offer = lookup.draft(controller.draft_max)
        (k,) = controller.sizes([tracker], 0, [offer])
        drawn = [follows(text)]
        while len(drawn) <= k and drawn[-1] == offer.tokens[len(drawn) - 1]:
            drawn.append(follows(text + drawn))
        tracker.observe(offer, drawn)
        for token in drawn:
            lookup.extend(token)
        text += drawn
        n_steps += 1
    assert text[:300] == plain
    assert n_steps < 200
