"""What a benchmark found: a table for people, one line of JSON for programs, bars that hold or not.

Never measures anything. The table goes to stderr, the JSON line to stdout.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

LOG_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and the bound it has to keep; `unit` is for reading only."""

    name: str
    value: float
    sense: Literal["at least", "at most"]
    bound: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """True when the figure keeps the bound; a value that is not a number never does."""
        return self.value >= self.bound if self.sense == "at least" else self.value <= self.bound

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "MISSED"
        unit = f" {self.unit}" if self.unit else ""
        return f"{verdict}: {self.name} {self.value:.4g}{unit} ({self.sense} {self.bound:g})"


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark's result; `facts` are what a reader needs to judge it: machine, settings."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    bars: Sequence[Bar] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True when every bar holds."""
        return all(bar.holds for bar in self.bars)

    def as_json(self) -> str:
        """The whole report in one line."""
        bars = [
            {"name": b.name, "value": round(b.value, 5), "sense": b.sense, "bound": b.bound, "holds": b.holds}
            for b in self.bars
        ]
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return json.dumps(
            {"bench": self.name, "passed": self.passed, "bars": bars, "facts": self.facts, "rows": rows}
        )


def show(report: Report) -> None:
    """Print the table and the bars to stderr and the JSON line to stdout."""
    if report.rows:
        _table(report)
    for bar in report.bars:
        print(bar, file=sys.stderr)
    print(report.as_json())


def _table(report: Report) -> None:
    cells = [[_cell(value) for value in row] for row in report.rows]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for line in [report.columns, *cells]:
            print("\t".join(line), file=sys.stderr)
        return
    table = Table(title=report.name)
    for column in report.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for line in cells:
        table.add_row(*line)
    Console(stderr=True, width=None if sys.stderr.isatty() else LOG_WIDTH).print(table)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
