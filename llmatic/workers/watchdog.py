"""Decides whether a worker hangs. Pure: the time comes in as an argument, in seconds of one clock.

A worker hangs when it does not answer a ping, when one step of its engine goes on for too long, or when it
holds requests and its engine makes no step at all. The first also catches a stopped process and an
interpreter stuck in foreign code, the last an engine thread that died without a word.
"""

MAX_INTERVAL_S = 2.0


class Watchdog:
    """Told of pings, answers and time; says when it is enough."""

    def __init__(self, timeout_s: float, now: float) -> None:
        self._timeout_s = timeout_s
        self._last_check = now
        self._asked: float | None = None
        self._busy_s = 0.0
        self._n_steps = -1
        self._still_since: float | None = None

    @property
    def interval_s(self) -> float:
        """How often `check` and a ping are due."""
        return min(MAX_INTERVAL_S, self._timeout_s / 4)

    def on_ping(self, now: float) -> None:
        """A ping was sent; one that is still unanswered counts from the first."""
        if self._asked is None:
            self._asked = now

    def on_pong(self, now: float, n_steps: int, busy_s: float | None, n_requests: int) -> None:
        """The worker answered: steps done, the running step's age (None: idle), requests it holds."""
        self._asked = None
        self._busy_s = busy_s or 0.0
        idle = n_steps == self._n_steps and busy_s is None and n_requests > 0
        if not idle:
            self._still_since = None
        elif self._still_since is None:
            self._still_since = now
        self._n_steps = n_steps

    def on_events(self) -> None:
        """Events came: something moves."""
        self._still_since = None

    def check(self, now: float) -> str | None:
        """Why the worker is given up, or None. After a pause of our own nothing is held against it."""
        paused = now - self._last_check > self._timeout_s / 2
        self._last_check = now
        if paused:
            self._asked, self._still_since = None, None
        elif self._asked is not None and now - self._asked > self._timeout_s:
            return f"it did not answer for {self._timeout_s:g} s"
        elif self._busy_s > self._timeout_s:
            return f"one step took more than {self._timeout_s:g} s"
        elif self._still_since is not None and now - self._still_since > self._timeout_s:
            return f"it had requests and did nothing for {self._timeout_s:g} s"
        return None
