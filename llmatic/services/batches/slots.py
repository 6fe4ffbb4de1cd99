"""How many lines of batches may be with a model at a time, and whose turn it is.

Owns the fairness between owners: whoever holds the fewest slots gets the next one, whatever the number of
their batches. Event loop's thread.
"""

import asyncio
from collections import Counter, deque


class FairSlots:
    """`n` slots, of which a large line takes several."""

    def __init__(self, n: int) -> None:
        assert n >= 1, "somebody must get a turn"
        self.n = n
        self._n_free = n
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    @property
    def n_held(self) -> int:
        """Slots that are taken."""
        return self._held.total()

    async def take(self, owner: str, n: int = 1) -> None:
        """Wait for `n` slots; end with `give`. Whoever is cancelled while waiting has none."""
        assert 1 <= n <= self.n, "nobody waits for what there is not"
        if self._n_free >= n and not self._waiting:
            self._grant(owner, n)
            return
        turn = n, asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn[1]
        except asyncio.CancelledError:
            if turn[1].done() and not turn[1].cancelled():
                self.give(owner, n)
            else:
                self._forget(owner, turn)
                self._serve()
            raise

    def give(self, owner: str, n: int = 1) -> None:
        """The owner has so many slots less."""
        assert self._held[owner] >= n, "only what was taken is given back"
        self._held[owner] -= n
        if not self._held[owner]:
            del self._held[owner]
        self._n_free += n
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            # Equal owners take turns: the dictionary is in the order in which they began to wait.
            poorest = min(self._waiting, key=lambda name: self._held[name])
            turn = self._waiting[poorest][0]
            if turn[0] > self._n_free:
                return  # nobody overtakes, or a large line would wait for ever
            self._forget(poorest, turn)
            if not turn[1].done():
                self._grant(poorest, turn[0])
                turn[1].set_result(None)

    def _grant(self, owner: str, n: int) -> None:
        self._n_free -= n
        self._held[owner] += n

    def _forget(self, owner: str, turn: tuple[int, asyncio.Future[None]]) -> None:
        waiting = self._waiting.get(owner)
        if waiting is None or turn not in waiting:
            return
        waiting.remove(turn)
        # Whoever still waits goes to the end of the line.
        del self._waiting[owner]
        if waiting:
            self._waiting[owner] = waiting
