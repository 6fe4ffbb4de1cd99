from collections import deque

import pytest

from llmatic.engines.llama.sequences import Sequence, make_group
from llmatic.engines.llama.speculation import Speculation


def writing(n: int = 1) -> list[Sequence]:
    group = make_group("r", 0, (1, 2, 3), n)
    for sequence in group.sequences:
        sequence.n_computed = 2
        sequence.slot = sequence.index
    return group.sequences


def begun(sequences: list[Sequence], step_s: float = 1.0) -> Speculation:
    speculation = Speculation(lambda _rows: step_s)
    for sequence in sequences:
        speculation.begin(sequence, None)
    return speculation


def test_what_is_certain_is_drafted() -> None:
    sequences = writing()
    speculation = begun(sequences)
    sequences[0].certain = deque([7, 8, 9])
    speculation.propose(sequences, 0)
    assert sequences[0].drafts == [7, 8, 9]


def test_certainty_does_not_wear_off_and_counts_as_no_prediction() -> None:
    sequences = writing()
    speculation = begun(sequences)
    for _ in range(50):
        sequences[0].certain = deque([7, 8])
        speculation.propose(sequences, 0)
        assert sequences[0].drafts == [7, 8]
        assert speculation.observe(sequences[0], 2, 2, [7, 8, 4]) == (0, 0)


def test_nothing_is_drafted_where_nothing_is_known() -> None:
    sequences = writing(2)
    speculation = begun(sequences)
    sequences[1].certain = deque([5])
    speculation.propose(sequences, 0)
    assert [sequence.drafts for sequence in sequences] == [[], [5]]


@pytest.mark.parametrize("n", [1, 4])
def test_rows_that_cost_as_much_as_steps_are_not_worth_it(n: int) -> None:
    sequences = writing(n)
    speculation = Speculation(lambda rows: float(rows))
    for sequence in sequences:
        speculation.begin(sequence, None)
        sequence.certain = deque([5, 6])
    speculation.propose(sequences, 0)
    assert all(not sequence.drafts for sequence in sequences)
