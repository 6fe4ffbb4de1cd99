"""Who may do how much: the limits of each caller and what of them is used.

Owns the counting. Requests and tokens per minute are buckets that leak all the time, as OpenAI's do: what was
used is forgotten at the rate of the limit, so a caller who was silent for a minute may use a whole minute's
worth at once. Tokens per day are those of a day in UTC. A request is charged an estimate when it is let in
and, when it has ended, what it took. Pure: time comes in as an argument, `now` in seconds of a clock that
should not go back (if it does, nothing is forgotten meanwhile) and `day` in days since 1970. Event loop's
thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from llmatic.core.limits import UNLIMITED, Limits
from llmatic.core.principal import Principal
from llmatic.services import limit_words

MINUTE_S: Final = 60.0
REMEMBERED_S: Final = 3600.0  # by when all but a debt of sixty times the limit is forgotten
# What arithmetic in floating point may be wrong by: of a request or a token, and of the limit.
_TOLERANCE: Final = 1e-5
_RELATIVE_TOLERANCE: Final = 1e-9


class Bucket:
    """What was used and is not forgotten yet. `limit` 0: nothing is counted."""

    __slots__ = ("at", "limit", "used")

    def __init__(self, limit: int, used: float = 0.0, at: float = 0.0) -> None:
        self.limit = limit
        self.used = used
        self.at = at

    def level(self, now: float) -> float:
        """What is used at this moment."""
        if not self.limit:
            return 0.0
        if now > self.at:
            self.used = max(0.0, self.used - (now - self.at) * self.limit / MINUTE_S)
        self.at = now
        return self.used

    def add(self, amount: float, now: float) -> None:
        """Charge it, or give it back if negative."""
        self.used = max(0.0, self.level(now) + amount)

    def wait_s(self, amount: float, now: float) -> float:
        """How long until `amount` fits; 0 if it does. Infinite if it never will."""
        if not self.limit:
            return 0.0
        if amount > self.limit:
            return float("inf")
        over = self.level(now) + amount - self.limit
        is_over = over > _TOLERANCE + _RELATIVE_TOLERANCE * self.limit
        return over * MINUTE_S / self.limit if is_over else 0.0

    def reset_s(self, now: float) -> float:
        """How long until all of it is forgotten."""
        return self.level(now) * MINUTE_S / self.limit if self.limit else 0.0


@dataclass(frozen=True, slots=True)
class Queue:
    """The waiting room of a model's process, which several models may share, and how many places it has."""

    name: str
    n_places: int


@dataclass(frozen=True, slots=True)
class Saved:
    """What was used when it was saved, `at` on the clock of `now`."""

    requests: float
    tokens: float
    at: float
    day: int
    day_tokens: int


@dataclass(slots=True)
class Account:
    """What one caller uses. `unsaved_day_tokens`: of `day_tokens`, those that no database knows yet.

    `running`: unfinished requests, `by_queue` of each queue. `own`: what the caller itself came with;
    `limits`: with the defaults, which is what holds.
    """

    id: str
    owner: str
    requests: Bucket
    tokens: Bucket
    day: int = 0
    day_tokens: int = 0
    unsaved_day_tokens: int = 0
    running: int = 0
    by_queue: dict[str, int] = field(default_factory=dict)
    own: Limits | None = None
    limits: Limits = UNLIMITED
    is_limited: bool = False

    def today(self, day: int) -> int:
        """The tokens of this day. A clock that steps back across midnight does not renew them."""
        if day > self.day or day < self.day - 1:
            self.day, self.day_tokens, self.unsaved_day_tokens = day, 0, 0
        return self.day_tokens

    def is_forgettable(self, now: float, day: int) -> bool:
        """Whether a new account would be the same."""
        used = self.requests.level(now) or self.tokens.level(now) or self.today(day)
        return not (self.running or used)


@dataclass(slots=True)
class Admission:
    """A request that was let in, for its account to be settled when it ends.

    `full`: what the bucket of tokens held just after the estimate was put in, at `at`: whatever of that has
    leaked since takes the estimate with it last, which tells how much of it there is to be given back.
    """

    account: Account
    queue: Queue | None
    n_estimated: int
    at: float
    full: float


class Limiter:
    """The accounts of all callers that are limited. `defaults`: by the kind of principal."""

    def __init__(self, defaults: Mapping[str, Limits]) -> None:
        self._defaults = dict(defaults)
        self._limited_kinds = frozenset(kind for kind, limits in defaults.items() if limits.is_limited)
        self._accounts: dict[str, Account] = {}
        self._saved: dict[str, Saved] = {}
        self._to_sweep: list[str] = []
        self.changed: set[str] = set()  # ids of accounts since somebody took this set to save them

    def __len__(self) -> int:
        return len(self._accounts)

    def get(self, account_id: str) -> Account | None:
        """The account, if its caller has come since the start."""
        return self._accounts.get(account_id)

    def restore(self, saved: Mapping[str, Saved]) -> None:
        """What callers used before the server was started, by account, for when they come."""
        self._saved |= saved

    def account(self, principal: Principal) -> Account | None:
        """Of the caller; None if nothing limits it."""
        account = self._accounts.get(principal.id)
        if account is None:
            return self._open(principal)
        if account.own != principal.limits:
            self._limit(account, principal)
        return account if account.is_limited else None

    def account_of_old(self, principal: Principal) -> Account | None:
        """As `account`, of a caller as it was when it sent a batch: its limits may be others by now."""
        account = self._accounts.get(principal.id)
        if account is None:
            return self._open(principal)
        return account if account.is_limited else None

    def _open(self, principal: Principal) -> Account | None:
        if principal.limits is None and principal.kind not in self._limited_kinds:
            return None
        saved = self._saved.pop(principal.id, None) or Saved(0.0, 0.0, 0.0, 0, 0)
        requests, tokens = Bucket(0, saved.requests, saved.at), Bucket(0, saved.tokens, saved.at)
        account = Account(principal.id, principal.owner, requests, tokens, saved.day, saved.day_tokens)
        self._limit(account, principal)
        if not account.is_limited:
            return None
        self._accounts[account.id] = account
        return account

    def _limit(self, account: Account, principal: Principal) -> None:
        """Let the account be held to what holds for the caller now."""
        default = self._defaults[principal.kind]
        account.own = principal.limits
        account.limits = default if principal.limits is None else principal.limits.over(default)
        account.is_limited = account.limits.is_limited
        account.requests.limit = account.limits.requests_per_minute or 0
        account.tokens.limit = account.limits.tokens_per_minute or 0

    def admit(
        self, account: Account, model: str, n_tokens: int, queue: Queue | None, now: float, day: int
    ) -> Admission:
        """Let a request in that will take about `n_tokens`. Nothing is charged if it is refused.

        `queue`: that of the model, None if it is not known. Raises RateLimited, TokensLimited, QuotaExceeded.
        """
        limits = account.limits
        self._check_running(account, model, queue)
        if account.requests.limit and (wait_s := account.requests.wait_s(1, now)):
            raise limit_words.too_many_requests(account.owner, model, limits.requests_per_minute or 0, wait_s)
        if account.tokens.limit and (wait_s := account.tokens.wait_s(n_tokens, now)):
            used = round(account.tokens.used)
            raise limit_words.too_many_tokens(
                account.owner, model, account.tokens.limit, used, n_tokens, wait_s
            )
        self.check_quota(account, day)
        if account.requests.limit:
            account.requests.add(1, now)
        if account.tokens.limit:
            account.tokens.add(n_tokens, now)
        account.running += 1
        if queue is not None:
            account.by_queue[queue.name] = account.by_queue.get(queue.name, 0) + 1
        self.changed.add(account.id)
        return Admission(account, queue, n_tokens, now, account.tokens.used)

    def settle(self, admission: Admission, n_tokens: int, now: float, day: int) -> None:
        """The request has ended and taken so many tokens."""
        account = admission.account
        account.running -= 1
        if admission.queue is not None:
            name = admission.queue.name
            account.by_queue[name] -= 1
            if not account.by_queue[name]:
                del account.by_queue[name]
        if account.tokens.limit:
            difference = float(n_tokens - admission.n_estimated)
            if difference < 0:
                leaked = max(0.0, now - admission.at) * account.tokens.limit / MINUTE_S
                difference = max(difference, -max(0.0, admission.full - leaked))
            account.tokens.add(difference, now)
        self.charge_day(account, n_tokens, day)

    def charge_day(self, account: Account, n_tokens: int, day: int) -> None:
        """Count tokens of this day alone."""
        account.day_tokens = account.today(day) + n_tokens
        account.unsaved_day_tokens += n_tokens
        self.changed.add(account.id)

    def check_quota(self, account: Account, day: int) -> None:
        """Raise QuotaExceeded if the day's tokens are used up; what runs may take more than there were."""
        limit = account.limits.tokens_per_day
        if limit and account.today(day) >= limit:
            raise limit_words.no_quota(account.owner, limit, account.day_tokens)

    def sweep(self, n_names: int, now: float, day: int) -> list[str]:
        """Look at the next so many accounts and forget those that are as new; their ids."""
        if not self._to_sweep:
            self._to_sweep = [*self._accounts, *self._saved]
        names, self._to_sweep = self._to_sweep[:n_names], self._to_sweep[n_names:]
        gone = [name for name in names if name not in self.changed and self._is_forgettable(name, now, day)]
        for name in gone:
            self._accounts.pop(name, None)
            self._saved.pop(name, None)
        return gone

    def _is_forgettable(self, name: str, now: float, day: int) -> bool:
        if (account := self._accounts.get(name)) is not None:
            return account.is_forgettable(now, day)
        saved = self._saved.get(name)
        return saved is None or (saved.day < day and now - saved.at > REMEMBERED_S)

    def _check_running(self, account: Account, model: str, queue: Queue | None) -> None:
        limit = account.limits.concurrent_requests
        if limit and account.running >= limit:
            raise limit_words.too_many_running(account.owner, model, limit, account.running)
        share = account.limits.queue_share
        if share and queue is not None:
            places = max(1, queue.n_places * share // 100)
            if (n_running := account.by_queue.get(queue.name, 0)) >= places:
                raise limit_words.too_many_waiting(account.owner, model, places, n_running)
