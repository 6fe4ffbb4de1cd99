"""Whose turn it is among those that wait, and how long the wait will be.

Owns the order of service: strictly by priority, then fair between clients, then by arrival. Pure: has no
clock, does no I/O and no locking; the engine's thread uses it.

Fairness is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) over the tokens that a sequence is
expected to cost. Each client has a time up to which it has been served, the queue a clock; the client whose
turn would start earliest is next. Whoever comes back after a while starts at the clock: silence earns
nothing.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heapreplace, nlargest
from typing import Generic, Protocol, TypeVar

Order = tuple[int, int, int]

N_TOGETHER = 8
N_REMEMBERED = 1024

MIN_WAIT_S = 1.0
MAX_WAIT_S = 600.0
PACE_MEMORY_S = 60.0
MAX_STEP_S = 5.0
ASSUMED_TOKENS_PER_S = 50.0


class Entry(Protocol):
    """What the queue needs to know of a waiting sequence; all but the cost stays as it is while it waits."""

    @property
    def client(self) -> str:
        """The key of fairness."""
        ...

    @property
    def priority(self) -> int:
        """Smaller is served first."""
        ...

    @property
    def order(self) -> Order:
        """(priority, arrival, index): a total order; no two entries share one."""
        ...

    @property
    def n_cost(self) -> int:
        """Tokens that it is expected to take, at least 1."""
        ...


E = TypeVar("E", bound=Entry)
_Key = tuple[float, Order, str]


@dataclass(slots=True)
class _Lane(Generic[E]):
    """What one client has waiting in one class, by order; `since`: the clock when it began to wait."""

    since: float
    entries: list[E] = field(default_factory=list)
    key: _Key | None = None


@dataclass(slots=True)
class _Class(Generic[E]):
    """All that waits at one priority.

    `ranking`: the keys of the lanes, sorted. `paused`: those that have run before. `turn`: the client and
    arrival of the request that was begun last, and how many more of its choices may follow at once.
    """

    lanes: dict[str, _Lane[E]] = field(default_factory=dict)
    ranking: list[_Key] = field(default_factory=list)
    paused: list[E] = field(default_factory=list)
    turn: tuple[str, int, int] = ("", -1, 0)

    def start(self, client: str, served: dict[str, float]) -> float:
        """When the turn of a client who waits here starts, on the queue's clock."""
        return max(self.lanes[client].since, served.get(client, 0.0))

    def first(self) -> E | None:
        """Whose turn it is in this class."""
        if self.paused:
            return self.paused[0]
        if not self.ranking:
            return None
        client, arrival, n_left = self.turn
        if n_left > 0 and (lane := self.lanes.get(client)) and lane.entries[0].order[1] == arrival:
            return lane.entries[0]
        return self.lanes[self.ranking[0][2]].entries[0]


class WaitingQueue(Generic[E]):
    """Sequences that wait for a slot.

    - Classes are strict: while anything of a higher priority waits, nothing of a lower one is served. Lower
      priorities may starve, BATCH for as long as others keep the engine busy: that is what they ask for.
    - Within a class, clients share by tokens: one with a thousand requests delays the single request of
      another by no more than what already runs.
    - Within a client, by arrival, then by index. The choices of one request follow each other without another
      client between them, `N_TOGETHER` at a time.
    - Sequences that were paused come first in their class, by order, and are not charged again.
    """

    def __init__(self) -> None:
        self._classes: dict[int, _Class[E]] = {}
        self._served: dict[str, float] = {}
        self._clock = 0.0
        self._n_entries = 0
        self._n_to_sweep = N_REMEMBERED

    def push(self, entry: E) -> None:
        """`entry` begins to wait. It must not wait already, and nothing else of its `order` may."""
        level = self._classes.setdefault(entry.priority, _Class())
        lane = level.lanes.get(entry.client)
        if lane is None:
            lane = level.lanes[entry.client] = _Lane(self._clock)
        assert _find(lane.entries, entry) is None, "already waits"
        insort(lane.entries, entry, key=_order)
        self._n_entries += 1
        if lane.entries[0] is entry:
            self._rank(level, entry.client)

    def push_back(self, entry: E) -> None:
        """`entry`, which was popped before, was paused and waits again."""
        level = self._classes.setdefault(entry.priority, _Class())
        assert _find(level.paused, entry) is None, "already waits"
        insort(level.paused, entry, key=_order)
        self._n_entries += 1

    def remove(self, entry: E) -> None:
        """`entry` waits no more. Idempotent."""
        level = self._classes.get(entry.priority)
        if level is None:
            return
        if (at := _find(level.paused, entry)) is not None:
            del level.paused[at]
        elif (lane := level.lanes.get(entry.client)) and (at := _find(lane.entries, entry)) is not None:
            del lane.entries[at]
            if at == 0:
                self._rank(level, entry.client)
        else:
            return
        self._n_entries -= 1
        self._forget(entry)

    def first(self) -> E | None:
        """Whose turn it is; None if nobody waits. The same until something changes."""
        for priority in sorted(self._classes):
            if (entry := self._classes[priority].first()) is not None:
                return entry
        return None

    def pop(self) -> E:
        """Take `first()` and charge its client; there must be one."""
        entry = self.first()
        assert entry is not None, "nobody waits"
        level = self._classes[entry.priority]
        if not (level.paused and level.paused[0] is entry):
            self._begin(level, entry)
        self.remove(entry)
        return entry

    def charge(self, client: str, n_tokens: int) -> None:
        """The client took so many tokens more than `n_cost` said, or fewer if negative.

        A refund never puts a client before the clock: those who came meanwhile keep their place.
        """
        since = (level.lanes[client].since for level in self._classes.values() if client in level.lanes)
        start = max(self._served.get(client, 0.0), min(since, default=self._clock))
        self._served[client] = max(start + n_tokens, min(start, self._clock))
        self._rank_all(client)
        self._sweep()

    def __len__(self) -> int:
        return self._n_entries

    def __iter__(self) -> Iterator[E]:
        """In the order in which they would be served if nothing changed."""
        served = dict(self._served)
        for priority in sorted(self._classes):
            yield from _simulate(self._classes[priority], served)

    def position(self, entry: E) -> int:
        """How many would be served before `entry`. Raises ValueError if it does not wait. O(n log n)."""
        return self._ahead(entry)[0]

    def n_tokens_ahead(self, entry: E) -> int:
        """The expected cost of those before `entry`. Raises ValueError if it does not wait. O(n log n)."""
        return self._ahead(entry)[1]

    @property
    def n_tokens(self) -> int:
        """The expected cost of all that wait. O(n)."""
        return sum(entry.n_cost for entry in self._entries())

    def check_integrity(self) -> None:
        """Raise AssertionError if anything contradicts itself. For tests."""
        for priority, level in self._classes.items():
            assert level.paused or level.lanes, "an empty class is kept"
            assert level.paused == sorted(level.paused, key=_order)
            assert level.ranking == sorted(lane.key for lane in level.lanes.values() if lane.key is not None)
            assert len(level.ranking) == len(level.lanes)
            for client, lane in level.lanes.items():
                assert lane.entries
                assert lane.entries == sorted(lane.entries, key=_order)
                assert lane.key == (level.start(client, self._served), lane.entries[0].order, client)
                assert all(e.client == client and e.priority == priority for e in lane.entries)
        entries = list(self._entries())
        assert len(entries) == self._n_entries == len({entry.order for entry in entries})
        assert {entry.order for entry in self} == {entry.order for entry in entries}
        assert next(iter(self), None) is self.first()
        assert math.isfinite(self._clock)

    def _begin(self, level: _Class[E], entry: E) -> None:
        """It is the entry's turn: charge its client and move the clock."""
        client = entry.client
        start, n_cost = level.start(client, self._served), max(1, entry.n_cost)
        # With the start alone, as in the paper, an endless row of new clients would stop the clock.
        self._clock = max(start, self._clock + n_cost / (len(level.lanes) + 1))
        self._served[client] = start + n_cost
        turn_client, turn_arrival, n_left = level.turn
        arrival = entry.order[1]
        is_same = (turn_client, turn_arrival) == (client, arrival) and n_left > 0
        level.turn = (client, arrival, (n_left if is_same else N_TOGETHER) - 1)
        self._rank_all(client)

    def _rank_all(self, client: str) -> None:
        for level in self._classes.values():
            if client in level.lanes:
                self._rank(level, client)

    def _rank(self, level: _Class[E], client: str) -> None:
        """The client's lane has changed: put it where it belongs."""
        lane = level.lanes[client]
        if lane.key is not None:
            del level.ranking[bisect_left(level.ranking, lane.key)]
        if lane.entries:
            lane.key = (level.start(client, self._served), lane.entries[0].order, client)
            insort(level.ranking, lane.key)
        else:
            del level.lanes[client]

    def _forget(self, entry: E) -> None:
        """Drop what nothing refers to any more after `entry` has left."""
        level = self._classes[entry.priority]
        if not level.lanes and not level.paused:
            del self._classes[entry.priority]
        self._sweep()

    def _sweep(self) -> None:
        """Forget idle clients that the clock has passed, and of the others all but the most indebted."""
        if len(self._served) < self._n_to_sweep:
            return
        waiting = {client for level in self._classes.values() for client in level.lanes}
        idle = [(t, c) for c, t in self._served.items() if c not in waiting and t > self._clock]
        kept = waiting.union(client for _, client in nlargest(N_REMEMBERED, idle))
        self._served = {client: t for client, t in self._served.items() if client in kept}
        self._n_to_sweep = 2 * len(self._served) + N_REMEMBERED

    def _entries(self) -> Iterator[E]:
        for level in self._classes.values():
            yield from level.paused
            for lane in level.lanes.values():
                yield from lane.entries

    def _ahead(self, entry: E) -> tuple[int, int]:
        n_tokens = 0
        for position, other in enumerate(self):
            if other is entry:
                return position, n_tokens
            n_tokens += other.n_cost
        raise ValueError("does not wait")


class WaitEstimate:
    """How long a wait will be, from the recent pace of the engine. Idle time does not count."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._busy_s = 1.0
        self._n_tokens = ASSUMED_TOKENS_PER_S
        self._n_requests = 0.0

    def observe(self, now: float, n_tokens_done: int, n_requests_done: int) -> None:
        """Since the last call so many tokens were computed and so many requests answered.

        Call it after each step; `now` in seconds of any clock that does not go back. A call with no tokens
        says that the engine was idle: the time up to it is not counted.
        """
        last, self._last = self._last, now
        if last is None or n_tokens_done <= 0 or not now > last:
            return
        step_s = min(now - last, MAX_STEP_S)
        keep = math.exp(-step_s / PACE_MEMORY_S)
        self._busy_s = self._busy_s * keep + step_s
        self._n_tokens = self._n_tokens * keep + n_tokens_done
        self._n_requests = self._n_requests * keep + max(0, n_requests_done)

    def seconds(self, n_tokens_ahead: float) -> float:
        """How long so many tokens will take, but at least until the next request ends; 1 to 600 s."""
        wait_s = n_tokens_ahead * self._busy_s / self._n_tokens
        if self._n_requests >= 0.5:
            wait_s = max(wait_s, self._busy_s / self._n_requests)
        return min(max(wait_s, MIN_WAIT_S), MAX_WAIT_S)


def _order(entry: Entry) -> Order:
    return entry.order


def _find(entries: list[E], entry: E) -> int | None:
    """Where `entry` stands in a list sorted by order."""
    at = bisect_left(entries, entry.order, key=_order)
    return at if at < len(entries) and entries[at] is entry else None


def _simulate(level: _Class[E], served: dict[str, float]) -> Iterator[E]:
    """The entries of a class as they would be served; updates `served` as pop() would."""
    yield from level.paused
    client, arrival, n_left = level.turn
    heads = dict.fromkeys(level.lanes, 0)
    ranking = list(level.ranking)

    def head(client: str) -> E | None:
        lane = level.lanes.get(client)
        return lane.entries[heads[client]] if lane and heads[client] < len(lane.entries) else None

    while ranking:
        entry = head(client)
        if entry is None or entry.order[1] != arrival or n_left == 0:
            client, n_left = ranking[0][2], N_TOGETHER
            entry = head(client)
            if entry is None:
                heappop(ranking)
                continue
            arrival = entry.order[1]
            key = (level.start(client, served), entry.order, client)
            if key != ranking[0]:
                heapreplace(ranking, key)
                n_left = 0
                continue
        served[client] = level.start(client, served) + max(1, entry.n_cost)
        heads[client] += 1
        n_left -= 1
        yield entry
