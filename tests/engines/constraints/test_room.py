import threading

import pytest

from llmatic.engines.constraints.room import with_room


def test_the_result_comes_back_and_the_usual_stack_stays() -> None:
    usual = threading.stack_size()
    assert with_room(lambda: 3) == 3
    assert threading.stack_size() == usual


def test_what_is_raised_there_is_raised_here() -> None:
    with pytest.raises(KeyError, match="missing"):
        with_room(lambda: dict[str, int]()["missing"])
