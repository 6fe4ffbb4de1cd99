"""Text in columns. Owns alignment; never knows what the columns mean."""

from collections.abc import Mapping, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, columns aligned to the left, two spaces between them."""
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in [head, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def pairs(values: Mapping[str, str], indent: int = 0) -> str:
    """One `key: value` a line, the values aligned; further lines of a value stand below its first."""
    width = max(map(len, values)) + 2
    margin = " " * indent
    below = "\n" + margin + " " * width
    return "\n".join(
        f"{margin}{key + ':':<{width}}{value.replace(chr(10), below)}" for key, value in values.items()
    )


def size(n_bytes: int | None) -> str | None:
    """A size as people read it: 7.9 MB, 4.1 GB; None stays None."""
    if n_bytes is None:
        return None
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
