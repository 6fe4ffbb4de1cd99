"""The engines' figures in Prometheus' text format."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmatic.core.engine_metrics import HELP
from llmatic.core.metrics import Metrics

DOCS = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")


def render(states: dict[str, dict[str, Any]]) -> str:
    metrics = Metrics()
    metrics.watch_engines(lambda: states)
    return metrics.render().decode()


def test_types_names_and_labels() -> None:
    stats = {"preemptions_total": 3, "cells_used": 7.0}
    lines = render({"a/b": {"stats": stats}, "c": {"stats": {"cells_used": 1}}}).splitlines()
    assert "# TYPE llmatic_engine_preemptions_total counter" in lines
    assert "# HELP llmatic_engine_preemptions_total Sequences paused because the cache was full." in lines
    assert "# TYPE llmatic_engine_cells_used gauge" in lines
    assert 'llmatic_engine_preemptions_total{model="a/b"} 3.0' in lines
    assert [line for line in lines if line.startswith("llmatic_engine_cells_used{")] == [
        'llmatic_engine_cells_used{model="a/b"} 7.0',
        'llmatic_engine_cells_used{model="c"} 1.0',
    ]


def test_every_figure_of_an_engine_makes_a_family_of_its_own() -> None:
    text = render({"m": {"stats": dict.fromkeys(HELP, 1.0)}})
    for name in HELP:
        assert text.count(f"\nllmatic_engine_{name}{{") == 1
        assert text.count(f"# TYPE llmatic_engine_{name} ") == 1
    families = [family.name for family in text_string_to_metric_families(text)]
    assert "llmatic_engine_step_seconds" in families


def test_what_a_plugin_may_say() -> None:
    stats = {"temperature_of_gpu": 60, "bad name": 1, 'x"} 1\nfake': 1, "text": "x", "nan": float("nan")}
    text = render({"m": {"stats": stats}})
    assert 'llmatic_engine_temperature_of_gpu{model="m"} 60.0' in text
    assert [name for name in ("bad", "fake", "text", "nan") if f"llmatic_engine_{name}" in text] == []


def test_models() -> None:
    ready = {"state": "ready", "restarts": 2, "rss_bytes": 5, "stats": {}}
    text = render({"m": ready, "n": {"state": "stopped", "restarts": 0, "rss_bytes": None, "stats": {}}})
    assert 'llmatic_model_ready{model="m"} 1.0' in text
    assert 'llmatic_model_ready{model="n"} 0.0' in text
    assert 'llmatic_model_restarts_total{model="m"} 2.0' in text
    assert 'llmatic_model_memory_bytes{model="m"} 5.0' in text
    assert 'llmatic_model_memory_bytes{model="n"}' not in text


@pytest.mark.parametrize("name", HELP)
def test_every_figure_is_explained(name: str) -> None:
    assert name == "requests_running" or f"`{name}`" in DOCS  # that one is the fake engine's


def test_every_family_of_the_server_is_explained() -> None:
    text = render({"m": {"state": "ready", "rss_bytes": 1}})
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    shown = [name for name in families if not name.endswith("_created")]
    assert [name for name in shown if f"`{name}`" not in DOCS] == []
