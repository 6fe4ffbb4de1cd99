"""Which models leave off what nobody waits for, because somebody waits for another on the same processors.

Owns who is waited for: requests that are with a worker. Priorities within a model are its engine's matter.
Under endless live traffic the others still get a share of the time. Runs in the server's loop; reads no clock
but the one it is given.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

MOST_S: Final = 8.0
LEAST_S: Final = 0.05
EARNED_PER_S: Final = 4.0


class Courtesy:
    """The models of one server. `tell` is called whenever `hold_s` of a model may have changed.

    The others may be held for `most_s` in one go. Each second without that earns `EARNED_PER_S` more.
    """

    def __init__(
        self, clock: Callable[[], float], tell: Callable[[], None], *, most_s: float = MOST_S
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._waited_for: Counter[str] = Counter()
        self._most_s = most_s
        self._credit_s = most_s
        self._began = self._until = clock()

    def begin(self, model_id: str) -> None:
        """Somebody waits for this model."""
        self._waited_for[model_id] += 1
        if self._waited_for[model_id] == 1:
            if not self._is_holding:
                self._start(LEAST_S)
            self._tell()

    def end(self, model_id: str) -> None:
        """Somebody waits no more."""
        self._waited_for[model_id] -= 1
        if not self._waited_for[model_id]:
            del self._waited_for[model_id]
            if not self._waited_for and self._is_holding:
                self._until = self._clock()
            self._tell()

    def check(self) -> None:
        """Due every second or so: whoever is still waited for may have earned another while."""
        if self._waited_for and not self._is_holding and self._start(self._most_s / 2):
            self._tell()

    def hold_s(self, model_id: str) -> float:
        """For how long from now on the model computes nothing that nobody waits for; 0: it may."""
        if not self._waited_for or self._waited_for.keys() == {model_id}:
            return 0.0
        return max(0.0, self._until - self._clock())

    @property
    def _is_holding(self) -> bool:
        return self._clock() < self._until

    def _start(self, least_s: float) -> bool:
        """Hold the others if there is so much credit; the last time is paid for."""
        now = self._clock()
        earned_s = EARNED_PER_S * (now - self._until)
        credit_s = min(self._most_s, self._credit_s - (self._until - self._began) + earned_s)
        if credit_s < least_s:
            return False
        self._credit_s, self._began, self._until = credit_s, now, now + credit_s
        return True
