"""Gathering events into whole choices."""

from llmatic.core.types import CallDelta, Delta, Finished, Usage
from llmatic.services.choices import Folding


def test_deltas_of_a_choice_are_joined_in_order() -> None:
    folding = Folding(n_prompts=1, n_generated=2, n_returned=2)
    folding.add([(0, Delta(1, "b")), (0, Delta(0, "a"))])
    folding.add([(0, Delta(0, "A", finish_reason="stop")), (0, Delta(1, "B", finish_reason="length"))])
    folding.add([(0, Finished(Usage(1, 4)))])
    assert [(c.index, c.text, c.finish_reason) for c in folding.choices()] == [
        (0, "aA", "stop"),
        (1, "bB", "length"),
    ]
    assert folding.usage() == Usage(1, 4)


def test_thoughts_and_calls_are_kept_apart() -> None:
    folding = Folding(n_prompts=1, n_generated=1, n_returned=1)
    folding.add([(0, Delta(0, "", 1, reasoning="h")), (0, Delta(0, "t", 1, reasoning="m"))])
    folding.add([(0, Delta(0, "", 1, calls=(CallDelta(0, "f", "id"), CallDelta(0, arguments="{"))))])
    folding.add(
        [(0, Delta(0, "", 1, calls=(CallDelta(1, "g", arguments="{}"), CallDelta(0, arguments="}"))))]
    )
    folding.add([(0, Delta(0, "", 1, finish_reason="tool_calls")), (0, Finished(Usage(1, 5)))])
    (choice,) = folding.choices()
    assert (choice.reasoning, choice.text, choice.finish_reason) == ("hm", "t", "tool_calls")
    calls = [(call.name, call.id, call.arguments) for call in choice.calls.values()]
    assert calls == [("f", "id", "{}"), ("g", "", "{}")]


def test_best_are_ranked_by_mean_log_probability() -> None:
    folding = Folding(n_prompts=2, n_generated=3, n_returned=1)
    for prompt in range(2):
        folding.add([(prompt, Delta(k, f"{prompt}{k}", finish_reason="stop")) for k in range(3)])
    folding.add([(0, Finished(Usage(1, 3), (-3.0, -1.0, -2.0)))])
    folding.add([(1, Finished(Usage(1, 3), (-1.0, -1.0, -2.0)))])
    assert [(c.index, c.text) for c in folding.choices()] == [(0, "01"), (1, "10")]


def test_the_order_of_parts_is_kept() -> None:
    folding = Folding(n_prompts=1, n_generated=1, n_returned=1)
    call = CallDelta(0, "f")
    for delta in (
        Delta(0, "", 1, reasoning="h"),
        Delta(0, "", 1, reasoning="m"),
        Delta(0, "a", 1, reasoning="!", calls=(call, CallDelta(0, arguments="{}"))),
        Delta(0, "", 0),
        Delta(0, "b", 1),
        Delta(0, "c", 1, finish_reason="stop", stop="END"),
    ):
        folding.add([(0, delta)])
    (choice,) = folding.choices()
    assert choice.order == [("reasoning", 0), ("text", 0), ("call", 0), ("text", 1)]
    assert (choice.texts, choice.stop) == (["a", "b", "c"], "END")
