"""What the answers of several clients' examples look like: the same two models are asked for everywhere."""

import itertools
from typing import Any


def assert_person(person: Any) -> None:
    """A name of at most 30 characters and an age of at most 150."""
    assert list(person) == ["name", "age"]
    assert isinstance(person["name"], str)
    assert len(person["name"]) <= 30
    assert isinstance(person["age"], int)
    assert 0 <= person["age"] <= 150


def assert_contact(contact: Any) -> None:
    """A name, one or two addresses of two kinds, and a nickname or null, each within its bounds."""
    assert len(contact["name"]) <= 20
    assert contact["nickname"] is None or len(contact["nickname"]) <= 10
    assert 1 <= len(contact["addresses"]) <= 2
    for address in contact["addresses"]:
        assert sorted(address) == ["kind", "street"]
        assert address["kind"] in ("home", "work")
        assert len(address["street"]) <= 20


def assert_growing(parts: list[dict[str, Any]], whole: dict[str, Any]) -> None:
    """Several partial people, whose names only grow, the last one whole."""
    assert len(parts) > 2
    assert parts[-1] == whole
    names = [part.get("name") or "" for part in parts]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(names))
