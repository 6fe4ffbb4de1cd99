from typing import Any

import pytest

from llmatic.core.types import Adapter
from llmatic.engines.llama.batching import Part, Plan, Room, Turns, fill, share_prompts, share_writing
from llmatic.engines.llama.sequences import Sequence
from tests.engines.llama.fake_cache import ask


def running(slot: int, n_prompt: int, n_computed: int = 0, **more: Any) -> Sequence:
    (sequence,) = ask(slot, range(n_prompt), **more).sequences
    sequence.slot, sequence.n_computed = slot, n_computed
    return sequence


def room(n_rows: int, **more: int) -> Room:
    return Room(**{"n_rows": n_rows, "n_cells": 1000, "n_outputs": 100, "n_scored": 8, **more})


def rows(parts: list[Part]) -> list[tuple[int | None, int]]:
    return [(part.sequence.slot, part.n_rows) for part in parts]


def test_everyone_who_writes_has_a_row_while_there_are_cells() -> None:
    sequences = [running(i, 5, 4) for i in range(4)]
    assert len(share_writing(sequences, room(50))) == 4
    assert len(share_writing(sequences, room(50, n_cells=2))) == 2


@pytest.mark.parametrize(
    ("limits", "n_alone", "n_beside"),
    [({}, 4, 4), ({"n_cells": 3}, 2, 2), ({"n_outputs": 4}, 3, 2), ({"n_outputs": 1}, 0, 0)],
)
def test_guesses_have_what_is_left(limits: dict[str, int], n_alone: int, n_beside: int) -> None:
    writing, waiting = running(0, 5, 4), running(1, 9, 0)
    writing.drafts = [1, 2, 3, 4]
    (part,) = share_writing([writing], room(50, **limits))
    assert part.n_rows == 1 + n_alone
    (part,) = share_writing([writing, waiting], room(50, **limits))
    assert part.n_rows == 1 + n_beside


def test_no_guess_goes_beyond_what_is_wanted() -> None:
    writing = running(0, 5, 4, n_wanted=3)
    writing.drafts = [1, 2, 3, 4]
    (part,) = share_writing([writing], room(50))
    assert part.n_rows == 1 + 2


def test_prompts_have_rows_in_their_order() -> None:
    sequences = [running(0, 30), running(1, 30), running(2, 30)]
    assert rows(share_prompts(sequences, room(50))) == [(0, 30), (1, 20)]


def test_short_prompts_pass_long_ones_in_half_of_the_room() -> None:
    sequences = [running(0, 500), *(running(i, 15) for i in range(1, 8))]
    parts = rows(share_prompts(sequences, room(80)))
    assert parts == [(1, 15), (2, 15), (0, 50)]


def test_who_awaits_another_has_no_rows() -> None:
    leader, follower = running(0, 30), running(1, 30)
    follower.awaits = leader
    assert rows(share_prompts([leader, follower], room(50))) == [(0, 30)]


@pytest.mark.parametrize("n_prompt", range(1, 120))
def test_no_piece_is_smaller_than_asked_for(n_prompt: int) -> None:
    sequence = running(0, n_prompt)
    while sequence.n_left:
        (part,) = share_prompts([sequence], room(31, n_whole=16)) or [Part(sequence, 1, is_prompt=False)]
        assert part.n_rows >= min(16, n_prompt)
        sequence.n_computed += part.n_rows


def test_scored_rows_have_outputs_and_are_limited() -> None:
    sequence = running(0, 30, wants_scores=True)
    plan = Plan()
    fill(plan, share_prompts([sequence], room(50)), is_dense=False)
    assert plan.outputs == list(range(8))
    assert [position for _, position, _ in plan.scores] == list(range(8))
    assert plan.samples == []


def test_a_plan_lists_guesses_behind_the_row_that_they_follow() -> None:
    writing, reading = running(1, 5, 4), running(0, 3)
    writing.drafts = [7, 8]
    plan = Plan()
    parts = [Part(writing, 3, is_prompt=False), Part(reading, 3, is_prompt=True)]
    fill(plan, parts, is_dense=True)
    assert plan.tokens == [0, 1, 2, 4, 7, 8]
    assert plan.positions == [0, 1, 2, 4, 5, 6]
    assert plan.slots == [0, 0, 0, 1, 1, 1]
    assert plan.outputs == [2, 3, 4, 5]
    assert plan.samples == [(reading, 0), (writing, 1)]
    assert (plan.n_prompt_rows, plan.n_writing) == (3, 1)


def test_every_set_of_adapters_has_its_turn() -> None:
    sets = [(Adapter("a"),), (Adapter("b"),), (Adapter("b", 0.5),), ()]
    sequences = [running(i, 5, adapters=adapters) for i, adapters in enumerate(sets)]
    turns = Turns()
    chosen = [turns.choose(sequences) for _ in range(32)]
    assert all(len(sequences) == 1 for sequences in chosen)
    for start in range(16):
        assert {s.slot for (s,) in chosen[start : start + 16]} == {0, 1, 2, 3}


def test_a_set_that_has_ended_gives_its_turn_away() -> None:
    one, two = running(0, 5, adapters=(Adapter("a"),)), running(1, 5)
    turns = Turns()
    assert turns.choose([one]) == [one]
    assert turns.choose([two]) == [two]
    assert turns.adapters == ()
    assert turns.choose([]) == []
