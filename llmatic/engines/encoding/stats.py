"""What an encoder's engine says of itself.

Owns its counters and recent rates, and their names. Pure: times come in as arguments. Written by the engine's
threads, read from any: each figure is right, together they may be a slice apart.
"""

from llmatic.engines.encoding.queue import Slice

_SMOOTHING = 0.1


class Counts:
    """Totals since the start, and how fast the last slices were; while idle that stays what it was."""

    def __init__(self) -> None:
        self.n_slices = 0
        self.n_texts = 0
        self.n_prompt = 0
        self.n_refused = 0
        self.n_running = 0
        self._n_computed = 0
        self._n_padding = 0
        self._busy_s = 0.0
        self._slice_s = 0.0
        self._tokens_per_s = 0.0

    def observe(self, taken: Slice, seconds: float) -> None:
        """A slice was computed and took so long."""
        seconds = max(1e-6, seconds)
        share = _SMOOTHING if self.n_slices else 1.0
        self._slice_s += share * (seconds - self._slice_s)
        self._tokens_per_s += share * (taken.n_tokens / seconds - self._tokens_per_s)
        self._busy_s += seconds
        self._n_computed += taken.n_tokens
        self._n_padding += taken.n_padded - taken.n_tokens
        self.n_slices += 1
        self.n_running = 0

    def wait_s(self, n_tokens: int) -> float:
        """How long so many tokens will take at the pace of the last slices; 0 before the first."""
        return n_tokens / self._tokens_per_s if self._tokens_per_s else 0.0

    def figures(self, n_held: int, n_waiting_tokens: int) -> dict[str, float]:
        """Gauges, and counters (`_total`), by the names that /metrics and the model's status use.

        `n_held` requests have not ended; of what was read of them so many tokens wait.
        """
        return {
            "requests_live": n_held,
            "requests_running": min(n_held, self.n_running),
            "requests_waiting": max(0, n_held - self.n_running),
            "requests_refused_total": self.n_refused,
            "queue_tokens": n_waiting_tokens,
            "wait_seconds": self.wait_s(n_waiting_tokens),
            "texts_encoded_total": self.n_texts,
            "tokens_prompt_total": self.n_prompt,
            "tokens_computed_total": self._n_computed,
            "tokens_padding_total": self._n_padding,
            "prefill_tokens_per_second": self._tokens_per_s,
            "steps_total": self.n_slices,
            "step_seconds": self._slice_s,
            "step_seconds_total": self._busy_s,
        }
