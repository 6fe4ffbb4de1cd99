import json
from typing import Literal

import pytest

from scripts.bench.report import Bar, Report


@pytest.mark.parametrize(
    ("value", "sense", "holds"),
    [(0.97, "at least", True), (0.96, "at least", False), (0.97, "at most", True), (0.98, "at most", False)],
)
def test_a_bar_holds_up_to_its_bound(
    value: float, sense: Literal["at least", "at most"], holds: bool
) -> None:
    assert Bar("ratio", value, sense, 0.97).holds is holds


def test_a_bar_without_a_number_is_missed() -> None:
    assert not Bar("ratio", float("nan"), "at least", 0.9).holds
    assert not Bar("size", float("nan"), "at most", 120).holds


def test_the_json_line_names_the_columns() -> None:
    report = Report("speed", ("streams", "ratio"), [(1, 0.99)], [Bar("1 stream", 0.99, "at least", 0.97)])
    line = json.loads(report.as_json())
    assert line["rows"] == [{"streams": 1, "ratio": 0.99}]
    assert line["passed"] is True
    assert line["bars"][0]["holds"] is True
