"""Between the cache and the store of saved states.

Owns the decision whether reading the disk pays, from what it has cost so far; restoring from RAM always does.
Runs in the engine's thread, but for `prefetch`, which the intake thread calls.
"""

import logging
from collections.abc import Callable, Sequence

from llmatic.core.errors import LlmaticError
from llmatic.engines.llama.backend import Backend
from llmatic.engines.llama.media.rows import grids_of
from llmatic.engines.llama.slots import Restore, Save
from llmatic.engines.llama.tiers.store import StateStore

CLOSE_TIMEOUT_S = 10.0
SMOOTHING = 0.2
_LOG = logging.getLogger(__name__)


class SavedStates:
    """Saves and restores slots. `prompt_s`: seconds to compute one more row of a prompt."""

    def __init__(
        self, store: StateStore, *, clock: Callable[[], float], prompt_s: Callable[[], float]
    ) -> None:
        self._store = store
        self._clock = clock
        self._prompt_s = prompt_s
        self._read_s = 0.0
        self.n_restored = 0

    def match(self, namespace: bytes, tokens: Sequence[int]) -> int:
        """How much of `tokens` could be restored, and sooner than computed."""
        return self._store.match(namespace, tokens, is_near=self._is_disk_slow())

    def prefetch(self, namespace: bytes, tokens: Sequence[int]) -> None:
        """Bring what may be restored nearer. Not in the engine's thread: it reads the disk."""
        if self._is_disk_slow():
            self._read_s *= 1 - SMOOTHING / 8  # it is tried again some time
            return
        began = self._clock()
        n_read = self._store.prefetch(namespace, tokens)
        if n_read:
            seconds = max(0.0, self._clock() - began) / n_read
            self._read_s += (seconds - self._read_s) * (SMOOTHING if self._read_s else 1.0)

    def _is_disk_slow(self) -> bool:
        """Whether a token takes longer to read from disk than to compute."""
        return self._read_s > self._prompt_s() > 0.0

    def save(self, backend: Backend, effect: Save) -> None:
        """Save a slot, unless all of it is there."""
        now = self._clock()
        if backend.model.has_grids and backend.can_fork and min(effect.tokens) < 0:
            return  # a state that is cut into blocks has one position for each token
        if self._store.renew(
            effect.namespace, effect.tokens, retention=effect.retention, keyed=effect.is_keyed, now=now
        ):
            return
        try:
            state = backend.save(effect.slot)
            self._store.put(
                effect.namespace,
                effect.tokens,
                state,
                retention=effect.retention,
                keyed=effect.is_keyed,
                now=now,
            )
        except (LlmaticError, MemoryError) as error:  # it is computed again then
            _LOG.warning("a computed prompt could not be saved: %s", error)

    def restore(self, backend: Backend, effect: Restore) -> int:
        """Restore into the sequence's slot; returns how many tokens it holds then."""
        sequence, n_held = effect.sequence, effect.n_held
        assert sequence.slot is not None
        namespace, now = sequence.group.namespace, self._clock()
        try:
            state = self._store.get(namespace, sequence.tokens, effect.n_tokens, now, first=n_held)
            if state is None:
                return n_held
            backend.restore(sequence.slot, state, effect.n_tokens, grids_of(sequence.group.spans))
        except (LlmaticError, MemoryError) as error:
            _LOG.warning("a saved prompt could not be restored: %s", error)
            return n_held
        self.n_restored += effect.n_tokens - n_held
        return effect.n_tokens

    def n_block(self, backend: Backend) -> int:
        """At multiples of how many tokens a restored part may go on behind held ones; 0: it may not."""
        return self._store.block_tokens if backend.can_add else 0

    def close(self) -> None:
        """Write what is to outlive the process."""
        self._store.close(CLOSE_TIMEOUT_S)

    def stats(self) -> dict[str, float]:
        """The store's own figures."""
        return self._store.stats()
