"""Writes down what is used, every few seconds and at the end, and brings it back after a restart.

Owns the task that does so. What was not written when a server is killed is lost: SAVE_EVERY_S at most, and
the time that a write takes. If the database cannot be used, what is to be written waits here; what may or may
not have been written is tried again as it was, so that nothing is there twice. Two servers on one database
see each other's use of the limits each time they write. Event loop's thread.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection

from llmatic.core.errors import LlmaticError
from llmatic.services.limiter import MINUTE_S, Account, Bucket, Limiter, Saved
from llmatic.services.usage import UsageCounter
from llmatic.store.database import Database
from llmatic.store.limits import N_AT_ONCE, LimitState, drop_states, load_states, merge_states
from llmatic.store.numbered_writes import drop_numbered, once
from llmatic.store.usage import UsageRow, add_usage

SAVE_EVERY_S: Final = 1.0
KEPT_S: Final = 2 * 86_400.0
DAY_S: Final = 86_400
MICROSECONDS: Final = 1_000_000
N_ROWS_AT_ONCE: Final = 500

_log = structlog.get_logger("llmatic.ledger")


@dataclass(frozen=True, slots=True)
class Clocks:
    """`now`: seconds of a clock that never goes back. `wall`: seconds since 1970."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    @property
    def day(self) -> int:
        """Days since 1970, UTC."""
        return int(self.wall()) // DAY_S


class Ledger:
    """Keeps a limiter and a usage counter in a database."""

    def __init__(
        self, database: Database, limiter: Limiter, usage: UsageCounter, *, clocks: Clocks | None = None
    ) -> None:
        self._database = database
        self.limiter = limiter
        self.usage = usage
        self.clocks = clocks or Clocks()
        self._written: dict[str, LimitState] = {}  # as this server last wrote or read them
        self._name = secrets.token_hex(16)
        self._numbers = {"usage": 0, "limits": 0}
        self._rows: list[UsageRow] = []  # being written, or not known to be
        self._part: _Part | None = None  # likewise
        self._saving = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = asyncio.Event()
        self._is_failing = False

    async def open(self) -> None:
        """Bring back what was used before, and begin to write. Raises Unavailable."""
        before = self._wall_us() - int(KEPT_S * MICROSECONDS)
        await self._database.write(drop_states(before))
        await self._database.write(drop_numbered(before))
        states = await self._database.read(load_states(0))
        self._written = {state.id: state for state in states}
        self.limiter.restore({state.id: self._saved(state) for state in states})
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Write what is to be written, and stop. Idempotent; raises nothing."""
        # Never cancelled: what is being written would be written, and yet wait here to be written again.
        self._is_closing.set()
        task, self._task = self._task, None
        if task is not None:
            await task

    async def save(self) -> None:
        """Write all that is to be written. Raises Unavailable, InsufficientStorage; then it waits here."""
        async with self._saving:
            # At the same time, so that SQLite commits them together.
            done = await asyncio.gather(self._save_usage(), self._save_limits(), return_exceptions=True)
            for error in filter(None, done):
                raise error
            for name in self.limiter.sweep(N_AT_ONCE, self.clocks.now(), self.clocks.day):
                self._written.pop(name, None)

    async def _run(self) -> None:
        is_over = False
        while not is_over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_closing.wait(), SAVE_EVERY_S)
            is_over = self._is_closing.is_set()
            await self._try()

    async def _try(self) -> None:
        try:
            await self.save()
        except LlmaticError as error:
            if not self._is_failing:
                _log.warning("usage_not_written", error=error.message)
            self._is_failing = True
        except Exception:
            # Whatever it is, the next time may go well, and the server must not stop counting.
            _log.exception("usage_not_written")
        else:
            self._is_failing = False

    async def _save_usage(self) -> None:
        while True:
            if not self._rows:
                self._rows = self.usage.take(N_ROWS_AT_ONCE)
                self._numbers["usage"] += 1
            if not self._rows:
                return
            await self._write("usage", add_usage(self._rows))
            self._rows = []

    async def _save_limits(self) -> None:
        while True:
            if self._part is None:
                self._part = self._next_part()
                self._numbers["limits"] += 1
            if self._part is None:
                return
            await self._write("limits", merge_states(list(self._part.mine), self._part.merge))
            self._part.adopt(self._written)
            self._part = None

    async def _write(self, what: str, work: Callable[[Connection], None]) -> None:
        number = self._numbers[what]
        await self._database.write(once(f"{self._name}-{what}", number, self._wall_us(), work))

    def _next_part(self) -> "_Part | None":
        """Some of the accounts that were changed, as they are now; None: there are none."""
        names = sorted(self.limiter.changed)[:N_AT_ONCE]
        self.limiter.changed.difference_update(names)
        accounts = [account for name in names if (account := self.limiter.get(name)) is not None]
        return _Part(accounts, self.clocks, self._written) if names else None

    def _saved(self, state: LimitState) -> Saved:
        """On the clock that does not go back: what time has passed, or none if the wall's clock went back."""
        passed_s = max(0.0, (self._wall_us() - state.updated_at) / MICROSECONDS)
        at = self.clocks.now() - passed_s
        return Saved(state.requests, state.tokens, at, state.day, state.day_tokens)

    def _wall_us(self) -> int:
        return int(self.clocks.wall() * MICROSECONDS)


class _Part:
    """Some accounts as they are now, to be merged with their rows in another thread."""

    def __init__(
        self, accounts: Iterable[Account], clocks: Clocks, written: Mapping[str, LimitState]
    ) -> None:
        self._accounts = {account.id: account for account in accounts}
        self.mine = {name: _state(account, clocks) for name, account in self._accounts.items()}
        self._n_day_tokens = {name: account.unsaved_day_tokens for name, account in self._accounts.items()}
        self._rates = {name: (_rate(it.requests), _rate(it.tokens)) for name, it in self._accounts.items()}
        self._written = {name: written.get(name) for name in self.mine}
        self._results: list[LimitState] = []

    def merge(self, found: Mapping[str, LimitState]) -> Iterable[LimitState]:
        """What is to be written. In the database's thread, perhaps more than once."""
        self._results = [
            merged(mine, found.get(name), self._written[name], self._rates[name], self._n_day_tokens[name])
            for name, mine in self.mine.items()
        ]
        return self._results

    def adopt(self, written: dict[str, LimitState]) -> None:
        """What the others have used counts here too."""
        for state in self._results:
            account, mine = self._accounts[state.id], self.mine[state.id]
            written[state.id] = state
            account.requests.used = max(0.0, account.requests.used + state.requests - mine.requests)
            account.tokens.used = max(0.0, account.tokens.used + state.tokens - mine.tokens)
            if account.day == mine.day == state.day:
                account.day_tokens += state.day_tokens - mine.day_tokens
                account.unsaved_day_tokens -= self._n_day_tokens[state.id]


def merged(
    mine: LimitState,
    found: LimitState | None,
    written: LimitState | None,
    rates: tuple[float, float],
    n_day_tokens: int,
) -> LimitState:
    """What is to be written: `mine`, and what others have added to the row.

    `found`: the row as it is, new if it was updated at 0. `written`: as it was when this server last saw it;
    None: never. `rates`: of requests and of tokens, what is forgotten a second. `n_day_tokens`: those of
    `mine` that were never written.
    """
    if found is None or found == written or not found.updated_at:
        others = (0.0, 0.0)
    elif written is None:
        passed_s = max(0, mine.updated_at - found.updated_at) / MICROSECONDS
        others = (
            max(0.0, found.requests - passed_s * rates[0]),
            max(0.0, found.tokens - passed_s * rates[1]),
        )
    else:
        passed_s = (found.updated_at - written.updated_at) / MICROSECONDS
        others = (
            found.requests - max(0.0, written.requests - max(0.0, passed_s) * rates[0]),
            found.tokens - max(0.0, written.tokens - max(0.0, passed_s) * rates[1]),
        )
        if passed_s < 0:
            # By a clock that is behind: what is less may be forgotten already, and is not to be so twice.
            others = (max(0.0, others[0]), max(0.0, others[1]))
    requests, tokens = max(0.0, mine.requests + others[0]), max(0.0, mine.tokens + others[1])
    day, day_tokens = mine.day, mine.day_tokens
    if found is not None and found.day == mine.day:
        day_tokens = n_day_tokens + found.day_tokens
    elif found is not None and found.day > mine.day:
        # Elsewhere it is tomorrow already, and what was used there must not be forgotten.
        day, day_tokens = found.day, found.day_tokens
    return LimitState(mine.id, requests, tokens, day, day_tokens, mine.updated_at)


def _rate(bucket: Bucket) -> float:
    return bucket.limit / MINUTE_S


def _state(account: Account, clocks: Clocks) -> LimitState:
    now, day_tokens = clocks.now(), account.today(clocks.day)
    requests, tokens = account.requests.level(now), account.tokens.level(now)
    return LimitState(
        account.id, requests, tokens, account.day, day_tokens, int(clocks.wall() * MICROSECONDS)
    )
