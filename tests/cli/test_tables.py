"""Text in columns."""

import pytest

from llmatic.cli.tables import pairs, size, table


def test_table() -> None:
    assert table(["A", "BB"], [["long", "x"], ["y", ""]]) == "A     BB\nlong  x\ny"


def test_pairs() -> None:
    assert pairs({"a": "1", "long": "two\nlines"}, indent=2) == "  a:    1\n  long: two\n        lines"


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(None, None), (0, "0 B"), (999, "999 B"), (7_900_000, "7.9 MB"), (4_123_456_789, "4.1 GB")],
)
def test_size(n_bytes: int | None, words: str | None) -> None:
    assert size(n_bytes) == words
