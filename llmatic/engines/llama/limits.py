"""What a scheduler may use. Pure values, fixed when a model is loaded."""

from dataclasses import dataclass

N_WHOLE = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What there is. `n_slots` ids in the cache, of which `n_running` run at once; cells: `n_context`.

    `is_pooled`: sequences share the cells; else each has its own part and always room. `is_dense`: a batch's
    slots ascend without gaps. llama.cpp computes the sequences of a cache that is not unified in runs of
    neighbouring ids, and every gap costs one more pass over the weights. `n_scored`: scored rows a step.
    `n_kept_max`: cells for texts of ended sequences. `n_block`: what is restored may go on behind held tokens
    at multiples of so many; 0: it may not. `is_exact`: what was computed row by row is not used in place of
    what would be computed at once, and nothing is paused, so that answers repeat bit for bit; `is_alone`: for
    that, sequences must even write one at a time.
    """

    n_context: int
    n_batch: int
    n_slots: int
    n_running: int = 0
    can_fork: bool = True
    is_pooled: bool = True
    is_dense: bool = False
    is_exact: bool = False
    is_alone: bool = False
    n_outputs: int = 64
    n_scored: int = 32
    n_kept_max: int = 0
    n_block: int = 0
    max_queue: int = 256
    max_queue_tokens: int = 1_000_000

    @property
    def n_whole(self) -> int:
        """Rows of a prompt that are computed together at least, if it has so many."""
        return min(N_WHOLE, (min(self.n_batch, self.n_scored) + 1) // 2) if self.is_exact else 1
