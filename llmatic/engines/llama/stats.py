"""What the engine says of itself.

Owns the recent rates of one engine and the names of its figures. Pure: times come in as arguments. Observed
in the engine's thread, read from any: each figure is right, together they may be a step apart.
"""

from llmatic.engines.llama.loading import Loaded
from llmatic.engines.llama.scheduler import Scheduler
from llmatic.engines.llama.sequences import N_EXPECTED_ANSWER
from llmatic.engines.llama.waiting import WaitEstimate

_SMOOTHING = 0.1


class Rates:
    """Seconds per step and tokens per second, lately; while idle they stay what they were."""

    def __init__(self) -> None:
        self.step_s = 0.0
        self.busy_s = 0.0
        self.generated_per_s = 0.0
        self.computed_per_s = 0.0
        self.n_ended = 0
        self._n_told = 0
        self._n_generated = 0
        self._n_computed = 0
        self._wait = WaitEstimate()

    def observe(self, began: float, ended: float, n_generated: int, n_computed: int) -> None:
        """A step has ended; the counts are totals of tokens written and of prompt tokens computed."""
        seconds = max(1e-6, ended - began)
        n_written, n_read = n_generated - self._n_generated, n_computed - self._n_computed
        self._n_generated, self._n_computed = n_generated, n_computed
        share = _SMOOTHING if self.busy_s else 1.0
        self.busy_s += seconds
        self.step_s += share * (seconds - self.step_s)
        self.generated_per_s += share * (n_written / seconds - self.generated_per_s)
        self.computed_per_s += share * (n_read / seconds - self.computed_per_s)
        n_ended, self._n_told = self.n_ended - self._n_told, self.n_ended
        self._wait.observe(began, 0, 0)  # what lies before was idle
        self._wait.observe(ended, n_written + n_read, n_ended)

    def wait_s(self, scheduler: Scheduler) -> float:
        """How long a newcomer would wait for its turn."""
        if not scheduler.n_queued_groups and len(scheduler.running) < scheduler.n_running_max:
            return 0.0
        running = list(scheduler.running)
        n_ahead = scheduler.n_queued_tokens + scheduler.n_queued_groups * N_EXPECTED_ANSWER
        n_ahead += sum(s.n_left + N_EXPECTED_ANSWER // 2 for s in running) // max(1, len(running))
        return self._wait.seconds(n_ahead)


def engine_stats(loaded: Loaded, rates: Rates) -> dict[str, float]:
    """Gauges, and counters (`_total`), by the names that /metrics and the model's status use."""
    runner, scheduler, slots = loaded.runner, loaded.runner.scheduler, loaded.runner.scheduler.slots
    n_writing = sum(s.is_writing for s in list(scheduler.running))
    stats: dict[str, float] = {
        "requests_live": runner.n_live,
        "requests_waiting": scheduler.n_queued_groups,
        "queue_tokens": scheduler.n_queued_tokens,
        "sequences_running": len(scheduler.running),
        "sequences_waiting": len(scheduler.waiting),
        "cells_used": scheduler.n_cells,
        "cells_retained": slots.n_kept_cells,
        "cells_total": scheduler.limits.n_context,
        "cache_lookups_total": scheduler.n_looked_up,
        "cache_hits_total": scheduler.n_found,
        "preemptions_total": scheduler.n_preemptions,
        "tokens_generated_total": runner.n_generated,
        "tokens_prompt_total": runner.n_prompt,
        "tokens_computed_total": runner.n_computed,
        "step_seconds": rates.step_s,
        "step_seconds_total": rates.busy_s,
        "tokens_per_second": rates.generated_per_s,
        "prefill_tokens_per_second": rates.computed_per_s,
        "gap_target_seconds": loaded.pace.gap_s(max(1, n_writing), 0.0),
        "wait_seconds": rates.wait_s(scheduler),
        "adapters_loaded": len(loaded.backend.adapters),
    }
    n_evicted = float(slots.n_evictions)
    if loaded.saved is not None:
        saved = loaded.saved.stats()
        stats["cache_ram_bytes"] = saved.get("ram_bytes", 0)
        stats["cache_disk_bytes"] = saved.get("disk_bytes", 0)
        stats["cache_restored_total"] = loaded.saved.n_restored
        n_evicted += saved.get("evictions", 0)
    stats["cache_evictions_total"] = n_evicted
    if loaded.media.projector is not None:
        stats["media_encoded_total"] = loaded.media.n_encoded
        stats["media_found_total"] = loaded.media.n_found
        stats["media_cache_bytes"] = loaded.media.n_cached_bytes
    if runner.speculation is not None:
        stats["drafted_total"] = runner.speculation.n_drafted
        stats["accepted_total"] = runner.speculation.n_accepted
    return stats
