"""What is computed next of all that waits, in slices that cost little time and waste little of it.

Owns the order of service and what goes together. Pure: has no clock, does no I/O and no locking; the
engine's thread uses it.

Fairness between clients is that of virtual token counters (Sheng et al., OSDI 2024, arXiv:2401.00588):
whoever was given the fewest tokens is next, and whoever comes back is lifted to the least of those that wait,
so that silence earns nothing. Within a client the request of which the least was computed is next, so that a
short one need not wait for a long one.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace, nlargest

from llmatic.engines.encoding.backend import Item
from llmatic.engines.encoding.sizing import Budgets

N_PASSED_OVER = 3
N_ALERT = 64
N_LOOKED_AT = 256
N_REMEMBERED = 1024
PADDING_SHARE = 0.2
# Cheaper than the fixed cost of a slice more, whatever share of the slice it is.
PADDING_FREE = 24
# A long job's slice is filled with the nearest lengths of all jobs first.
NEAR_SHARE = 0.05
NEAR_FREE = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """An Item of `length` tokens that is computed once, for all `rows` of its request that are the same."""

    length: int
    item: Item
    rows: tuple[int, ...]


def pieces_of(items: Sequence[Item]) -> list[Piece]:
    """The different ones among a request's items, the shortest first."""
    if len(items) == 1:
        return [Piece(len(items[0].ids), items[0], (0,))]
    same: dict[tuple[tuple[int, ...], tuple[int, ...] | None], list[int]] = {}
    for row, item in enumerate(items):
        types = None if item.type_ids is None else tuple(item.type_ids)
        same.setdefault((tuple(item.ids), types), []).append(row)
    pieces = [Piece(len(ids), items[rows[0]], tuple(rows)) for (ids, _), rows in same.items()]
    pieces.sort(key=_length)
    return pieces


@dataclass(slots=True, eq=False)
class Job:
    """A request that waits. `pieces`: those not taken yet, the shortest first; the queue takes from them.

    `arrival` is unique. `n_left` and `n_taken`: tokens of the pieces that wait and of those that do not.
    """

    id: str
    client: str
    priority: int
    arrival: int
    pieces: list[Piece]
    n_left: int = field(init=False)
    n_taken: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.n_left = sum(piece.length for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Part:
    """What a slice computes of one job. `is_last`: nothing of the job waits any more."""

    job: Job
    pieces: tuple[Piece, ...]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """What is computed together. `n_tokens` of its `n_padded` tokens are the items' own."""

    parts: tuple[Part, ...]
    n_tokens: int
    n_padded: int

    @property
    def items(self) -> list[Item]:
        """All its items, part after part."""
        return [piece.item for part in self.parts for piece in part.pieces]


@dataclass(slots=True)
class _Level:
    """All that waits at one priority.

    `lanes`: of each client, the job of which the least was taken first, then by arrival. `jobs`: as they
    came. `n_passed_over`: slices since the oldest of them had a part in one.
    """

    lanes: dict[str, list[Job]] = field(default_factory=dict)
    jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    n_passed_over: int = 0

    @property
    def oldest(self) -> Job:
        """The job that has waited longest."""
        return next(iter(self.jobs.values()))


class SliceQueue:
    """Jobs that wait for their pieces to be computed.

    - Priorities are strict: while anything of a higher one waits, nothing of a lower one is computed.
    - Within a priority, clients share by tokens; within a client, the job of which the least was taken is
      next. So a single query behind a thousand documents waits for the slice that runs and no more.
    - A job that three slices in a row have passed over is next if no other has waited longer: an endless row
      of short queries cannot starve it.
    - A slice has at most `budget` tokens, padding included, but always room for one piece. Whatever room a
      job leaves is filled from the jobs after it with pieces of about the same length. Nothing ever waits
      for others to come.
    - For `N_ALERT` slices after a short query, slices of long jobs are smaller: the next query will probably
      come while one of them runs.

    `budgets` says how many tokens a slice may have.
    """

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._levels: dict[int, _Level] = {}
        self._jobs: dict[str, Job] = {}
        self._served: dict[str, float] = {}
        self._n_jobs_of: dict[str, int] = {}
        self._n_since_short = N_ALERT  # as long ago as matters

    def push(self, job: Job) -> None:
        """`job`, which has pieces, begins to wait. No other of its id or arrival may wait."""
        assert job.id not in self._jobs, "already waits"
        assert job.pieces, "nothing to compute"
        if job.client not in self._n_jobs_of:
            self._enter(job.client)
        self._n_jobs_of[job.client] = self._n_jobs_of.get(job.client, 0) + 1
        level = self._levels.setdefault(job.priority, _Level())
        self._jobs[job.id] = level.jobs[job.id] = job
        insort(level.lanes.setdefault(job.client, []), job, key=_turn)

    def remove(self, job_id: str) -> None:
        """The job waits no more, whatever of it is left. Unknown ids are ignored."""
        if (job := self._jobs.get(job_id)) is not None:
            level = self._levels[job.priority]
            if level.oldest is job:
                level.n_passed_over = 0
            self._leave_lane(level, job)
            self._leave(level, job)

    def take(self, *, is_careful: bool = False) -> Slice:
        """The next slice, which waits no more; there must be something that waits.

        `is_careful`: somebody may come for whom every slice is in the way.
        """
        level = self._levels[min(self._levels)]
        oldest = level.oldest
        head = oldest if level.n_passed_over >= N_PASSED_OVER else self._first(level)
        is_short = head.n_taken == 0 and head.n_left <= self._budgets.sizes.usual
        self._n_since_short = 0 if is_short else self._n_since_short + 1
        is_alert = is_careful or (not is_short and self._n_since_short <= N_ALERT)
        usual = self._budgets.sizes.alert if is_careful else self._budgets.sizes.usual
        draft = _Draft(usual if is_short else self._budgets.budget(is_alert=is_alert))
        draft.add_head(head)
        if len(level.jobs) > 1 and not is_short:
            draft.only_near = True
            draft.add_some(head)
            self._fill(level, draft, head)
            draft.only_near = False
        draft.add_some(head)
        if len(level.jobs) > 1:
            # A short query is not made to wait for a slice full of another's documents.
            self._fill(level, draft, head, only_whole=is_short)
        level.n_passed_over = 0 if draft.holds(oldest) else level.n_passed_over + 1
        parts = tuple(self._take(level, job, start, stop) for job, start, stop in draft.ranges)
        return Slice(parts, draft.n_tokens, draft.n_padded)

    @property
    def priority(self) -> int | None:
        """Of what is next; None if nothing waits."""
        return min(self._levels, default=None)

    def __len__(self) -> int:
        return len(self._jobs)

    def check_integrity(self) -> None:
        """Raise AssertionError if anything contradicts itself. For tests."""
        for priority, level in self._levels.items():
            assert level.jobs, "an empty level is kept"
            for client, lane in level.lanes.items():
                assert lane, "an empty lane is kept"
                assert lane == sorted(lane, key=_turn)
                assert all(job.client == client and job.priority == priority for job in lane)
            laid = {job.id for lane in level.lanes.values() for job in lane}
            assert laid == set(level.jobs)
            assert sum(map(len, level.lanes.values())) == len(level.jobs)
        assert sum(len(level.jobs) for level in self._levels.values()) == len(self._jobs)
        for job in self._jobs.values():
            assert self._levels[job.priority].jobs[job.id] is job
            assert job.pieces == sorted(job.pieces, key=_length)
            assert job.n_left == sum(piece.length for piece in job.pieces) > 0
        clients = [job.client for job in self._jobs.values()]
        assert self._n_jobs_of == {client: clients.count(client) for client in clients}
        assert self._n_jobs_of.keys() <= self._served.keys()
        assert len(self._served) <= len(self._n_jobs_of) + 2 * N_REMEMBERED
        assert self._jobs or not self._served, "an idle queue owes nobody anything"

    def _first(self, level: _Level) -> Job:
        client = min(level.lanes, key=lambda client: (self._served[client], _turn(level.lanes[client][0])))
        return level.lanes[client][0]

    def _fill(self, level: _Level, draft: "_Draft", head: Job, *, only_whole: bool = False) -> None:
        """Let further jobs in, in the order in which it would be their turn."""

        def key(client: str, at: int) -> tuple[float, int, int, str, int]:
            job = level.lanes[client][at]
            return (
                self._served[client] + draft.n_tokens_of.get(client, 0),
                job.n_taken,
                job.arrival,
                client,
                at,
            )

        if not draft.has_room:
            return
        heap = [key(client, 0) for client in level.lanes]
        heapify(heap)
        for _ in range(N_LOOKED_AT):
            if not heap or not draft.has_room:
                return
            *_, client, at = heap[0]
            lane = level.lanes[client]
            if lane[at] is not head and not draft.add_whole(lane[at]) and not only_whole:
                draft.add_some(lane[at])
            if at + 1 < len(lane):
                heapreplace(heap, key(client, at + 1))
            else:
                heappop(heap)

    def _take(self, level: _Level, job: Job, start: int, stop: int) -> Part:
        pieces = tuple(job.pieces[start:stop])
        n_tokens = sum(piece.length for piece in pieces)
        self._leave_lane(level, job)
        del job.pieces[start:stop]
        job.n_left -= n_tokens
        job.n_taken += n_tokens
        self._served[job.client] += n_tokens
        if job.pieces:
            insort(level.lanes.setdefault(job.client, []), job, key=_turn)
        else:
            self._leave(level, job)
        return Part(job, pieces, is_last=not job.pieces)

    def _leave_lane(self, level: _Level, job: Job) -> None:
        lane = level.lanes[job.client]
        at = bisect_left(lane, _turn(job), key=_turn)
        assert lane[at] is job, "it waits in its place"
        del lane[at]
        if not lane:
            del level.lanes[job.client]

    def _leave(self, level: _Level, job: Job) -> None:
        """The job has left its lane for good."""
        del level.jobs[job.id], self._jobs[job.id]
        if not level.jobs:
            del self._levels[job.priority]
        self._n_jobs_of[job.client] -= 1
        if not self._n_jobs_of[job.client]:
            del self._n_jobs_of[job.client]
        if not self._jobs:
            self._served.clear()

    def _enter(self, client: str) -> None:
        """A client of whom nothing waited."""
        floor = min((self._served[other] for other in self._n_jobs_of), default=0.0)
        self._served[client] = max(floor, self._served.get(client, floor))
        if len(self._served) > len(self._n_jobs_of) + 2 * N_REMEMBERED:
            idle = ((n, c) for c, n in self._served.items() if c not in self._n_jobs_of and n > floor)
            kept = {c for _, c in nlargest(N_REMEMBERED, idle)} | self._n_jobs_of.keys() | {client}
            self._served = {c: n for c, n in self._served.items() if c in kept}


class _Draft:
    """A slice in the making. `only_near`: nothing goes in that would need more than a little padding."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._n_items = 0
        self._longest = 0
        self._shortest = 0
        self._ranges: dict[str, tuple[Job, int, int]] = {}
        self.only_near = False
        self.n_tokens = 0
        self.n_tokens_of: dict[str, int] = {}

    @property
    def ranges(self) -> list[tuple[Job, int, int]]:
        """Of each job, from which of its pieces to which (not included)."""
        return list(self._ranges.values())

    @property
    def n_padded(self) -> int:
        """What the slice costs, in tokens."""
        return self._n_items * self._longest

    @property
    def has_room(self) -> bool:
        """Whether one more piece might fit."""
        return (self._n_items + 1) * self._longest <= self._budget

    def holds(self, job: Job) -> bool:
        """Whether the job has a part in it."""
        return job.id in self._ranges

    def add_head(self, job: Job) -> None:
        """The longest piece of the first job, whatever its length."""
        piece = job.pieces[-1]
        self._n_items, self.n_tokens = 1, piece.length
        self._longest = self._shortest = piece.length
        self._note(job, len(job.pieces) - 1, len(job.pieces), 0)

    def add_whole(self, job: Job) -> bool:
        """All that is left of the job, if it fits."""
        if self.n_tokens + job.n_left > self._budget or job.id in self._ranges:
            return False
        before = self._n_items, self.n_tokens, self._longest, self._shortest
        if self._add_down(job.pieces, len(job.pieces)) == 0:
            self._note(job, 0, len(job.pieces), before[1])
            return True
        self._n_items, self.n_tokens, self._longest, self._shortest = before
        return False

    def add_some(self, job: Job) -> None:
        """Those of the job's pieces that are a little shorter than what is there, and not there yet."""
        n_tokens = self.n_tokens
        stop = (
            self._ranges[job.id][1]
            if job.id in self._ranges
            else bisect_right(job.pieces, self._longest, key=_length)
        )
        start = self._add_down(job.pieces, stop)
        if start < stop:
            self._note(job, start, stop, n_tokens)

    def _note(self, job: Job, start: int, stop: int, n_before: int) -> None:
        # A job's pieces go in from the longest down, so that its ranges adjoin.
        last = self._ranges[job.id][2] if job.id in self._ranges else stop
        self._ranges[job.id] = (job, start, last)
        n_tokens = self.n_tokens - n_before
        self.n_tokens_of[job.client] = self.n_tokens_of.get(job.client, 0) + n_tokens

    def _add_down(self, pieces: list[Piece], stop: int) -> int:
        """Add the pieces before `stop`, from the longest down, while they fit; returns where it ended."""
        while stop > 0 and self._add(pieces[stop - 1].length):
            stop -= 1
        return stop

    def _add(self, length: int) -> bool:
        """Count one more piece in, unless it costs too much room or too much padding."""
        longest, shortest = max(self._longest, length), min(self._shortest, length)
        n_padded, n_tokens = (self._n_items + 1) * longest, self.n_tokens + length
        share, free = (NEAR_SHARE, NEAR_FREE) if self.only_near else (PADDING_SHARE, PADDING_FREE)
        if (
            n_padded > self._budget
            or longest - shortest > max(share * longest, free)
            or n_padded - n_tokens > max(share * n_padded, free)
        ):
            return False
        self._n_items, self.n_tokens = self._n_items + 1, n_tokens
        self._longest, self._shortest = longest, shortest
        return True


def _length(piece: Piece) -> int:
    return piece.length


def _turn(job: Job) -> tuple[int, int]:
    """By what the jobs of one client are ordered."""
    return job.n_taken, job.arrival
