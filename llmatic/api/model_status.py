"""One model as people and dashboards want to see it: GET /models/{model}/status.

Owns the grouping and the names; the figures are the pool's and the engine's. What an engine does not tell is
left out. Pure; any thread.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from llmatic.config import ModelSpec

# group → (name shown, name among the engine's figures)
_GROUPS = {
    "cache": (
        ("cells_used", "cells_used"),
        ("cells_total", "cells_total"),
        ("cells_retained", "cells_retained"),
        ("looked_up_tokens", "cache_lookups_total"),
        ("hit_tokens", "cache_hits_total"),
        ("restored_tokens", "cache_restored_total"),
        ("ram_bytes", "cache_ram_bytes"),
        ("disk_bytes", "cache_disk_bytes"),
        ("evictions", "cache_evictions_total"),
        ("preemptions", "preemptions_total"),
    ),
    "step": (
        ("steps", "steps_total"),
        ("seconds", "step_seconds"),
        ("tokens_per_second", "tokens_per_second"),
        ("prefill_tokens_per_second", "prefill_tokens_per_second"),
        ("gap_target_s", "gap_target_seconds"),
    ),
    "tokens": (
        ("prompt", "tokens_prompt_total"),
        ("computed", "tokens_computed_total"),
        ("generated", "tokens_generated_total"),
    ),
    "speculation": (("drafted", "drafted_total"), ("accepted", "accepted_total")),
}
_FRACTIONAL = frozenset({"seconds", "tokens_per_second", "prefill_tokens_per_second", "gap_target_s"})


def status_object(name: str, spec: ModelSpec, state: Mapping[str, Any]) -> dict[str, Any]:
    """The status of `spec`, asked for as `name`; `state` is the pool's, of its base if it has one."""
    stats: Mapping[str, float] = state.get("stats", {})
    shown: dict[str, Any] = {
        "id": name,
        "object": "model.status",
        "root": spec.id,
        "parent": spec.base,
        "state": state.get("state", "unknown"),
        "reason": state.get("reason"),
        "pid": state.get("pid"),
        "restarts": state.get("restarts", 0),
        "loaded_at": state.get("loaded_at"),
        "load_progress": state.get("load_progress"),
        "load_phase": state.get("load_phase"),
        "memory_bytes": state.get("rss_bytes"),
        "queue": _queue(state, stats),
        "running": _running(state, stats),
    }
    for group, names in _GROUPS.items():
        found = {ours: _number(ours, stats[theirs]) for ours, theirs in names if theirs in stats}
        if found:
            shown[group] = found
    _add_share(shown.get("cache"), "hit_rate", "hit_tokens", "looked_up_tokens")
    _add_share(shown.get("speculation"), "acceptance", "accepted", "drafted")
    shown["adapters"] = _adapters(spec, stats)
    return shown


def load_line(status: Mapping[str, Any]) -> str:
    """What a model is busy with, in a few words; empty if it is not."""
    n_running, n_waiting = status["running"]["requests"], status["queue"]["requests"]
    words = [f"{n_running} running"] if n_running else []
    if n_waiting:
        words.append(f"{n_waiting} waiting")
    pace = status.get("step", {}).get("tokens_per_second")
    if n_running and pace:
        words.append(f"{pace:.0f} tokens/s")
    return ", ".join(words)


def _queue(state: Mapping[str, Any], stats: Mapping[str, float]) -> dict[str, Any]:
    """Requests that wait for the model to be loaded, and those that wait in its engine."""
    queue: dict[str, Any] = {"requests": int(state.get("queue") or 0) + int(stats.get("requests_waiting", 0))}
    if "sequences_waiting" in stats:
        queue["sequences"] = int(stats["sequences_waiting"])
    if "queue_tokens" in stats:
        queue["tokens"] = int(stats["queue_tokens"])
    if "wait_seconds" in stats:
        queue["wait_s"] = round(stats["wait_seconds"], 3)
    if "requests_refused_total" in stats:
        queue["refused"] = int(stats["requests_refused_total"])
    return queue


def _running(state: Mapping[str, Any], stats: Mapping[str, float]) -> dict[str, Any]:
    held = int(state.get("running") or 0)
    running = {"requests": max(0, held - int(stats.get("requests_waiting", 0)))}
    if "sequences_running" in stats:
        running["sequences"] = int(stats["sequences_running"])
    return running


def _adapters(spec: ModelSpec, stats: Mapping[str, float]) -> dict[str, Any]:
    """Names without their directories: where files lie is nobody's business here."""
    used = [{"name": PurePath(item.path).name, "scale": item.scale} for item in spec.adapters]
    loaded = {"loaded": int(stats["adapters_loaded"])} if "adapters_loaded" in stats else {}
    return {"used": used, **loaded}


def _add_share(group: dict[str, Any] | None, name: str, part: str, whole: str) -> None:
    if group is not None and part in group and group.get(whole):
        group[name] = round(group[part] / group[whole], 4)


def _number(name: str, value: float) -> float:
    # Five digits: a step may take less than a millisecond.
    return float(f"{value:.5g}") if name in _FRACTIONAL else int(value)
