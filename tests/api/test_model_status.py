"""The status of one model, from what pool and engine say."""

from typing import Any

import orjson
import pytest

from llmatic.api.model_status import load_line, status_object
from llmatic.app import create_app
from llmatic.config import AdapterSpec, ModelSpec, Settings
from llmatic.core.errors import ModelNotFound
from llmatic.core.principal import EVERYBODY
from tests.contract_check import assert_response_matches
from tests.fakes import FakePool

SPEC = ModelSpec("m", "/m.gguf")
STATE = {
    "state": "ready", "reason": None, "pid": 7, "restarts": 1, "running": 5, "queue": 2, "loaded_at": 1.5,
    "load_progress": None, "load_phase": None, "rss_bytes": 1000,
}  # fmt: skip
STATS: dict[str, float] = {
    "requests_live": 5, "requests_waiting": 2, "requests_refused_total": 1, "sequences_running": 4,
    "sequences_waiting": 3, "queue_tokens": 90, "cells_used": 10, "cells_total": 100, "cells_retained": 20,
    "cache_lookups_total": 300, "cache_hits_total": 100, "cache_ram_bytes": 5, "cache_disk_bytes": 6,
    "cache_evictions_total": 7, "preemptions_total": 8, "tokens_generated_total": 9, "tokens_prompt_total": 300,
    "drafted_total": 8, "accepted_total": 6, "steps_total": 11, "step_seconds": 0.0123456789,
    "step_seconds_total": 1.0, "tokens_per_second": 41.23456, "prefill_tokens_per_second": 500.0,
    "gap_target_seconds": 0.1, "wait_seconds": 1.23456, "adapters_loaded": 1, "cache_restored_total": 4,
    "tokens_computed_total": 200,
}  # fmt: skip


def status(stats: dict[str, float], spec: ModelSpec = SPEC, name: str = "m") -> dict[str, Any]:
    return status_object(name, spec, {**STATE, "stats": stats})


def test_all_of_it() -> None:
    shown = status(STATS)
    assert shown["queue"] == {"requests": 4, "sequences": 3, "tokens": 90, "wait_s": 1.235, "refused": 1}
    assert shown["running"] == {"requests": 3, "sequences": 4}
    assert shown["cache"] == {
        "cells_used": 10, "cells_total": 100, "cells_retained": 20, "looked_up_tokens": 300, "hit_tokens": 100,
        "ram_bytes": 5, "disk_bytes": 6, "evictions": 7, "preemptions": 8, "hit_rate": 0.3333,
        "restored_tokens": 4,
    }  # fmt: skip
    assert shown["step"] == {
        "steps": 11, "seconds": 0.012346, "tokens_per_second": 41.235, "prefill_tokens_per_second": 500.0,
        "gap_target_s": 0.1,
    }  # fmt: skip
    assert shown["tokens"] == {"prompt": 300, "computed": 200, "generated": 9}
    assert shown["speculation"] == {"drafted": 8, "accepted": 6, "acceptance": 0.75}
    assert shown["adapters"] == {"used": [], "loaded": 1}
    assert (shown["state"], shown["pid"], shown["memory_bytes"]) == ("ready", 7, 1000)


def test_what_the_engine_does_not_tell_is_left_out() -> None:
    shown = status({"requests_running": 1})
    assert not {"cache", "step", "tokens", "speculation"} & set(shown)
    assert (shown["queue"], shown["running"]) == ({"requests": 2}, {"requests": 5})
    assert shown["adapters"] == {"used": []}


@pytest.mark.parametrize("stats", [STATS, {}])
def test_the_contract_describes_it(stats: dict[str, float]) -> None:
    assert_response_matches("getModelStatus", 200, orjson.dumps(status(stats)))


def test_nothing_looked_up_gives_no_rate() -> None:
    shown = status(
        dict.fromkeys(["cache_lookups_total", "cache_hits_total", "drafted_total", "accepted_total"], 0)
    )
    assert "hit_rate" not in shown["cache"]
    assert "acceptance" not in shown["speculation"]


def test_a_model_that_was_never_loaded() -> None:
    shown = status_object("m", SPEC, {"state": "stopped", "stats": {}})
    assert (shown["state"], shown["pid"], shown["queue"]) == ("stopped", None, {"requests": 0})


def test_a_model_with_a_base_names_its_adapters_and_no_directory() -> None:
    spec = ModelSpec("legal", "", base="m", adapters=(AdapterSpec("/home/me/a.gguf", 0.5),))
    shown = status({}, spec, "law")
    assert (shown["id"], shown["root"], shown["parent"]) == ("law", "legal", "m")
    assert shown["adapters"]["used"] == [{"name": "a.gguf", "scale": 0.5}]


def test_what_the_page_shows() -> None:
    assert load_line(status(STATS)) == "3 running, 4 waiting, 41 tokens/s"
    assert (
        load_line(status_object("m", SPEC, {"state": "ready", "stats": STATS | {"requests_waiting": 0}}))
        == ""
    )


def test_the_path() -> None:
    specs = [ModelSpec("m", "x", aliases=("alias",)), ModelSpec("org", "y"), ModelSpec("org/status", "z")]
    views = create_app(Settings(models={spec.id: spec for spec in specs}), pool=FakePool()).status

    def get(name: str) -> Any:
        return orjson.loads(
            views.model({"llmatic.principal": EVERYBODY, "path_params": {"model": name}}).body
        )

    assert (get("alias")["object"], get("alias")["id"], get("alias")["root"]) == (
        "model.status",
        "alias",
        "m",
    )
    assert (get("org")["object"], get("org")["id"]) == ("model", "org/status")
    assert get("org/status")["object"] == "model.status"
    with pytest.raises(ModelNotFound):
        get("nobody")
