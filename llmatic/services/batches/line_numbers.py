"""Sets of line numbers as text: `1-5,7,9-12`. Pure; any thread."""

from collections.abc import Iterable


def written(numbers: Iterable[int]) -> str:
    """The text for these numbers, each of which comes once."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in spans)


def read(text: str) -> set[int]:
    """The numbers of a text that `written` made."""
    found: set[int] = set()
    for span in filter(None, text.split(",")):
        first, _, last = span.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
