"""What the engines say of themselves, as Prometheus sees it.

Owns names, types and explanations of the families `llmatic_engine_…` and `llmatic_model_…`. Engines are
asked when somebody looks, by way of what the pool has heard of them last; an engine that is not loaded has
no figures. Its counters begin anew with each process of it. Any thread.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Family = CounterMetricFamily | GaugeMetricFamily
EngineStates = Callable[[], Mapping[str, Mapping[str, Any]]]

PREFIX = "llmatic_engine_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")

HELP = {
    "requests_live": "Requests that the engine holds, running or waiting.",
    "requests_running": "Requests that are being computed.",
    "requests_waiting": "Requests that wait for a place.",
    "requests_refused_total": "Requests refused because the queue was full.",
    "sequences_running": "Sequences (choices of requests) that are being computed.",
    "sequences_waiting": "Sequences that wait for a place, paused ones included.",
    "queue_tokens": "Prompt tokens of the waiting requests.",
    "cells_used": "Tokens of running sequences in the cache.",
    "cells_total": "Tokens that the cache can hold.",
    "cells_retained": "Tokens in the cache that are kept for requests to come.",
    "cache_lookups_total": "Prompt tokens looked up among computed prompts.",
    "cache_hits_total": "Prompt tokens found among computed prompts, which were not computed again.",
    "cache_restored_total": "Prompt tokens brought back into the cache from memory or disk.",
    "cache_ram_bytes": "Computed prompts kept in memory outside the cache.",
    "cache_disk_bytes": "Computed prompts kept on disk.",
    "cache_evictions_total": "Computed prompts dropped to make room.",
    "preemptions_total": "Sequences paused because the cache was full.",
    "tokens_generated_total": "Tokens written.",
    "tokens_prompt_total": "Prompt tokens of accepted requests.",
    "tokens_computed_total": "Prompt tokens computed, again after a pause included.",
    "tokens_padding_total": "Tokens computed only because texts computed together differ in length.",
    "texts_encoded_total": "Texts turned into vectors, scores or classes.",
    "drafted_total": "Tokens guessed ahead.",
    "accepted_total": "Tokens guessed ahead that turned out right.",
    "steps_total": "Steps, each of which computes one batch.",
    "step_seconds": "How long a step takes, a moving average.",
    "step_seconds_total": "Time spent in steps.",
    "tokens_per_second": "Tokens written a second, all sequences together, a moving average.",
    "prefill_tokens_per_second": "Prompt tokens computed a second, a moving average.",
    "gap_target_seconds": "How long a step may keep running streams waiting for their next token.",
    "wait_seconds": "How long a request that came now would probably wait.",
    "adapters_loaded": "LoRA adapters in memory.",
    "media_encoded_total": "Pictures and sounds encoded.",
    "media_found_total": "Pictures and sounds that did not have to be encoded again.",
    "media_cache_bytes": "Encoded pictures and sounds kept in memory.",
}


class EngineCollector:
    """Reads the pool's states whenever somebody looks."""

    def __init__(self, read: EngineStates) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        """One family for each figure, a sample for each model that has it."""
        states = self._read()
        yield from _of_models(states)
        families: dict[str, Family] = {}
        for model_id, state in states.items():
            for name, value in state.get("stats", {}).items():
                if not _is_sample(name, value):
                    continue
                family = families.get(name)
                if family is None:
                    family = families[name] = _family(name)
                family.add_metric((model_id,), value)
        yield from families.values()


def _family(name: str) -> Family:
    explained = HELP.get(name, "What the engine says of itself.")
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(PREFIX + name, explained, labels=("model",))


def _is_sample(name: object, value: object) -> bool:
    """Whether a figure can be shown; a plugin's may be anything."""
    return (
        isinstance(name, str)
        and _NAME.match(name) is not None
        and isinstance(value, int | float)
        and not math.isnan(value)
    )


def _of_models(states: Mapping[str, Mapping[str, Any]]) -> Iterator[Family]:
    ready = GaugeMetricFamily(
        "llmatic_model_ready", "1 if the model is loaded and answers, else 0.", labels=("model",)
    )
    restarts = CounterMetricFamily(
        "llmatic_model_restarts", "Times that the model's process died or hung.", labels=("model",)
    )
    memory = GaugeMetricFamily(
        "llmatic_model_memory_bytes", "Resident memory of the model's process.", labels=("model",)
    )
    for model_id, state in states.items():
        ready.add_metric((model_id,), float(state.get("state") == "ready"))
        restarts.add_metric((model_id,), state.get("restarts") or 0)
        if state.get("rss_bytes") is not None:
            memory.add_metric((model_id,), state["rss_bytes"])
    yield from (ready, restarts, memory)
