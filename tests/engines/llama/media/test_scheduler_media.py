"""Random runs with pictures in the prompts: batches are never mixed, and nothing goes on from within a picture."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from llmatic.engines.llama.batching import Plan
from llmatic.engines.llama.media.rows import Rows, Span
from llmatic.engines.llama.sequences import Group, Sequence
from tests.engines.llama import test_scheduler_random as plain
from tests.engines.llama.fake_cache import Driver, Request, ask
from tests.engines.llama.test_scheduler_random import LIMITS, SETTINGS, Setting, Traffic

KINDS = ("causal", "whole", "grid")
SIZES = (1, 3, 9, 17, 30)


def make_rows(kind: str, number: int, size: int) -> Rows:
    ids = tuple(-1 - 1000 * number - n for n in range(size))
    data = np.array(ids, np.float32)[:, None]
    grid = np.array([[0] * size, [n // 2 for n in range(size)], [n % 2 for n in range(size)]], np.int32)
    is_grid = kind == "grid"
    return Rows(
        "image",
        ids,
        data,
        kind == "whole",
        grid if is_grid else None,
        1 + (size - 1) // 2 if is_grid else size,
    )


PICTURES = {
    rows.ids[0]: rows
    for number, (kind, size) in enumerate((kind, size) for kind in KINDS for size in SIZES)
    for rows in [make_rows(kind, number + 1, size)]
}


def spans_of(prompt: list[int]) -> tuple[list[int], tuple[Span, ...]]:
    """The prompt with ordinary tokens in place of pictures that are cut off, and the pictures."""
    spans, at, prompt = [], 0, list(prompt)
    while at < len(prompt):
        rows = PICTURES.get(prompt[at])
        if rows is not None and tuple(prompt[at : at + len(rows)]) == rows.ids:
            spans.append(Span(at, rows))
            at += len(rows)
            continue
        prompt[at] = abs(prompt[at]) % 50
        at += 1
    return prompt, tuple(spans)


class SeeingDriver(Driver):
    """Checks every plan for what llama.cpp could not compute."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ends: dict[Sequence, int] = {}
        self.n_seen = 0

    def submit(self, group: Group, lengths: list[int] | int) -> Request:
        prompt, group.spans = spans_of(list(group.prompt))
        group.prompt = prompt
        group.wants_scores = group.wants_scores and not group.spans
        for sequence in group.sequences:
            sequence.tokens = list(prompt)
        return super().submit(group, lengths)

    def _compute(self, plan: Plan) -> list[Sequence]:
        for part in plan.parts:
            self._check_part(plan, part.sequence, part.n_rows)
        if plan.rows:
            self.n_seen += 1
            assert np.concatenate(plan.rows)[:, 0].tolist() == [float(token) for token in plan.tokens]
        else:
            assert min(plan.tokens) >= 0
            assert plan.is_causal
            assert plan.grid is None
        return super()._compute(plan)

    def _check_part(self, plan: Plan, sequence: Sequence, n_rows: int) -> None:
        start = sequence.n_computed
        end, span = start + n_rows, sequence.span
        last, self._ends[sequence] = self._ends.get(sequence), end
        assert (span is not None) == bool(plan.rows)
        if span is None:
            return
        assert end <= span.end
        assert start == span.start or start == last or not span.rows.is_atomic
        assert plan.is_causal != span.rows.is_whole
        if span.rows.is_atomic:
            assert len(plan.parts) == 1
        if span.rows.is_whole:
            assert (start, end) == (span.start, span.end)
        if span.rows.grid is not None:
            assert plan.grid is not None
            assert plan.grid.start == span.start
            assert (
                plan.grid.places.tolist() == span.rows.grid[:, start - span.start : end - span.start].tolist()
            )


class SeeingTraffic(Traffic):
    """Runs of tokens begin with a picture now and then."""

    def _tokens(self, n: int) -> list[int]:
        tokens = super()._tokens(n)
        if n and self._rng.random() < 0.5:
            tokens = [*self._rng.choice(list(PICTURES.values())).ids, *tokens]
        return tokens


@pytest.mark.parametrize("name", [name for name in SETTINGS if "exact" not in name])
@pytest.mark.parametrize("seed", range(2))
def test_random_runs_with_pictures(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "Driver", SeeingDriver)
    monkeypatch.setattr(plain, "Traffic", SeeingTraffic)
    driver = plain.run(SETTINGS[name], seed, 600)
    assert isinstance(driver, SeeingDriver)
    assert driver.n_seen > 15


def test_pictures_and_text_take_turns() -> None:
    setting = Setting(replace(LIMITS, n_context=400))
    driver = SeeingDriver(setting.limits, prompt_rows=lambda n, _: 8 if n else 48)
    driver.submit(ask(0, [1, 2, 3]), 60)
    for _ in range(8):
        driver.step()
    picture = next(rows for rows in PICTURES.values() if len(rows) == 30 and not rows.is_atomic)
    driver.submit(ask(1, [4, *picture.ids, 5]), 2)
    kinds = []
    for _ in range(10):
        driver.step()
        kinds.append(bool(driver.plan.rows))
    assert kinds.count(True) == 4  # 30 rows, 8 at a time
    assert (True, True) not in set(pairwise(kinds))
    driver.run()


def test_a_picture_that_goes_together_is_computed_at_once_whatever_the_pace() -> None:
    driver = SeeingDriver(LIMITS, prompt_rows=lambda *_: 1)
    picture = next(rows for rows in PICTURES.values() if len(rows) == 30 and rows.is_whole)
    request = driver.submit(ask(0, [4, *picture.ids, 5]), 2)
    driver.run()
    assert request.ended == [0]
    assert driver.n_seen == 1


def test_a_prompt_may_end_with_a_picture() -> None:
    driver = SeeingDriver(LIMITS, prompt_rows=lambda *_: 4)
    requests = [driver.submit(ask(n, [4, *rows.ids], 2), 3) for n, rows in enumerate(PICTURES.values())]
    driver.run()
    assert all(sorted(request.ended) == [0, 1] for request in requests)
