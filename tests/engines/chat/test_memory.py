import pytest

from llmatic.engines.chat.memory import Memory


def test_what_is_known_is_not_made_again() -> None:
    memory, made = Memory(), []
    for key in ("a", "b", "a"):
        assert memory.recall(key, lambda key=key: made.append(key) or key.upper()) == key.upper()  # type: ignore[misc,func-returns-value]
    assert made == ["a", "b"]


def test_the_least_recently_used_is_forgotten() -> None:
    memory = Memory(2)
    for key in "abac":
        memory.recall(key, lambda: "old")
    assert [memory.recall(key, lambda: "new") for key in "acb"] == ["old", "old", "new"]


def test_failures_are_not_kept() -> None:
    memory = Memory()
    with pytest.raises(ZeroDivisionError):
        memory.recall("a", lambda: 1 // 0)
    assert memory.recall("a", lambda: 7) == 7
