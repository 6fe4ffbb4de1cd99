"""Batches in the database, and the parts of their results that are already safe.

Owns the SQL, and the lease by which one server at a time works on a batch: every change of the server that
works on it names the `generation` that its claim gave it, and changes nothing once another server has claimed
the batch. Functions take a connection with an open transaction: give them to `Database.read` or `write`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from llmatic.store.files import FileRecord, add_file
from llmatic.store.paging import following, ordered
from llmatic.store.tables import batch_parts, batches

Status = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]
ENDED: frozenset[Status] = frozenset(["completed", "failed", "expired", "cancelled"])


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch. Times in microseconds since 1970.

    `caller`: who made it, `metadata` and `errors`: as JSON. `output_lifetime_s`: of the files it makes. The
    ids of those files are chosen before they are written, and mean something only once the batch has ended.
    `n_parts`: how many parts of its results were ever written. `lease_until`: until when `holder` works on it
    alone; None when there is nothing left to do.
    """

    id: str
    owner: str
    caller: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    status: Status = "validating"
    model: str | None = None
    metadata: str | None = None
    errors: str | None = None
    output_lifetime_s: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    n_total: int = 0
    n_completed: int = 0
    n_failed: int = 0
    n_input_tokens: int = 0
    n_cached_tokens: int = 0
    n_output_tokens: int = 0
    n_reasoning_tokens: int = 0
    n_parts: int = 0
    generation: int = 0
    holder: str | None = None
    lease_until: int | None = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Results of some lines: first `n_output_bytes` for the output file, the rest for the error file.

    They are in `data` if they are few, else in the blob of that name. `lines`: see
    `services.batches.line_numbers`.
    """

    batch_id: str
    number: int
    lines: str
    n_output_bytes: int
    blob: str | None = None
    data: bytes | None = None


_FIELDS = tuple(BatchRecord.__dataclass_fields__)
_PART_FIELDS = tuple(Part.__dataclass_fields__)


def add_batch(record: BatchRecord) -> Callable[[Connection], None]:
    """Insert it."""

    def work(connection: Connection) -> None:
        connection.execute(insert(batches).values({name: getattr(record, name) for name in _FIELDS}))

    return work


def get_batch(owner: str, batch_id: str) -> Callable[[Connection], BatchRecord | None]:
    """One batch of the owner."""
    return lambda connection: _get(connection, owner, batch_id)


def list_batches(
    owner: str, *, limit: int, after: str | None = None
) -> Callable[[Connection], list[BatchRecord] | None]:
    """Newest first, at most `limit`; None if there is no batch `after`."""

    def work(connection: Connection) -> list[BatchRecord] | None:
        wanted = select(batches).where(batches.c.owner == owner)
        if after is not None:
            last = _get(connection, owner, after)
            if last is None:
                return None
            wanted = following(wanted, batches, "desc", last.created_at, last.id)
        return [_record(row) for row in connection.execute(ordered(wanted, batches, "desc").limit(limit))]

    return work


def request_cancel(owner: str, batch_id: str, now: int) -> Callable[[Connection], BatchRecord | None]:
    """Mark it as to be cancelled if it is not further than in progress; the batch as it is then."""
    change = update(batches).where(
        batches.c.owner == owner,
        batches.c.id == batch_id,
        batches.c.status.in_(("validating", "in_progress")),
    )

    def work(connection: Connection) -> BatchRecord | None:
        connection.execute(change.values(status="cancelling", cancelling_at=now))
        return _get(connection, owner, batch_id)

    return work


def waiting_batches(now: int) -> Callable[[Connection], list[tuple[str, str]]]:
    """(owner, id) of the oldest batch of each owner that no server works on."""
    free = batches.c.lease_until <= now

    def work(connection: Connection) -> list[tuple[str, str]]:
        oldest = select(batches.c.owner, func.min(batches.c.created_at).label("at")).where(free)
        first = oldest.group_by(batches.c.owner).subquery()
        wanted = select(batches.c.owner, func.min(batches.c.id)).join(
            first, (batches.c.owner == first.c.owner) & (batches.c.created_at == first.c.at)
        )
        found = connection.execute(wanted.where(free).group_by(batches.c.owner))
        return [(row[0], row[1]) for row in found]

    return work


def ending_batches(now: int, limit: int) -> Callable[[Connection], list[str]]:
    """Batches that no server works on and that need only be ended: cancelled, expired or over."""
    is_over = or_(
        batches.c.status.in_(("cancelling", "finalizing", *sorted(ENDED))), batches.c.expires_at <= now
    )
    wanted = select(batches.c.id).where(batches.c.lease_until <= now, is_over).limit(limit)
    return lambda connection: list(connection.execute(wanted).scalars())


def claim_batch(
    batch_id: str, holder: str, now: int, until: int
) -> Callable[[Connection], BatchRecord | None]:
    """Work on it alone from now on; None if somebody else does."""
    change = update(batches).where(batches.c.id == batch_id, batches.c.lease_until <= now)
    change = change.values(holder=holder, lease_until=until, generation=batches.c.generation + 1)

    def work(connection: Connection) -> BatchRecord | None:
        if not connection.execute(change).rowcount:
            return None
        row = connection.execute(select(batches).where(batches.c.id == batch_id)).one()
        return _record(row)

    return work


def renew_leases(holder: str, until: int | None) -> Callable[[Connection], dict[str, tuple[int, Status]]]:
    """The generation and status of each batch that is held, by id; from now on held until then, if given."""
    held = (batches.c.holder == holder, batches.c.lease_until > 0)

    def work(connection: Connection) -> dict[str, tuple[int, Status]]:
        if until is not None:
            connection.execute(update(batches).where(*held).values(lease_until=until))
        found = connection.execute(select(batches.c.id, batches.c.generation, batches.c.status).where(*held))
        return {row.id: (row.generation, row.status) for row in found}

    return work


def release_batches(holder: str, ids: Sequence[str], at: int = 0) -> Callable[[Connection], None]:
    """Whoever comes first may work on them from `at` on, if there is anything left to do."""
    change = update(batches).where(
        batches.c.holder == holder, batches.c.id.in_(ids), batches.c.lease_until.is_not(None)
    )

    def work(connection: Connection) -> None:
        connection.execute(change.values(lease_until=at, holder=None))

    return work


def change_batch(
    batch_id: str,
    generation: int,
    status: Status,
    values: Mapping[str, Any],
    files: Sequence[FileRecord] = (),
) -> Callable[[Connection], bool]:
    """Set `values` if the batch is still ours and in `status`, and add the files; whether it was."""
    ours = (batches.c.id == batch_id, batches.c.generation == generation, batches.c.status == status)

    def work(connection: Connection) -> bool:
        if not connection.execute(update(batches).where(*ours).values(dict(values))).rowcount:
            return False
        for record in files:
            add_file(record)(connection)
        return True

    return work


def add_part(generation: int, part: Part, counts: Mapping[str, int]) -> Callable[[Connection], bool]:
    """Keep a part and add to the batch's counts if it is still ours; whether it is.

    Raises AlreadyThere if there is a part of that number.
    """
    ours = (batches.c.id == part.batch_id, batches.c.generation == generation)
    sums = {name: batches.c[name] + count for name, count in counts.items()}

    def work(connection: Connection) -> bool:
        change = update(batches).where(*ours).values(n_parts=part.number + 1, **sums)
        if not connection.execute(change).rowcount:
            return False
        connection.execute(insert(batch_parts).values({name: getattr(part, name) for name in _PART_FIELDS}))
        return True

    return work


def list_parts(batch_id: str) -> Callable[[Connection], list[Part]]:
    """All parts in their order, without their data."""
    columns = [batch_parts.c[name] for name in _PART_FIELDS if name != "data"]
    wanted = select(*columns).where(batch_parts.c.batch_id == batch_id).order_by(batch_parts.c.number)
    return lambda connection: [Part(**row._mapping) for row in connection.execute(wanted)]


def part_data(batch_id: str, number: int) -> Callable[[Connection], bytes]:
    """The bytes of a part that has no blob."""
    wanted = select(batch_parts.c.data).where(
        batch_parts.c.batch_id == batch_id, batch_parts.c.number == number
    )
    return lambda connection: bytes(connection.execute(wanted).scalar_one())


def drop_parts(batch_id: str, generation: int) -> Callable[[Connection], None]:
    """Forget the parts of a batch that has ended, and let go of it for good."""
    done = update(batches).where(batches.c.id == batch_id, batches.c.generation == generation)

    def work(connection: Connection) -> None:
        connection.execute(delete(batch_parts).where(batch_parts.c.batch_id == batch_id))
        connection.execute(done.values(lease_until=None, holder=None))

    return work


def _get(connection: Connection, owner: str, batch_id: str) -> BatchRecord | None:
    row = connection.execute(
        select(batches).where(batches.c.id == batch_id, batches.c.owner == owner)
    ).first()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> BatchRecord:
    return BatchRecord(**row._mapping)
