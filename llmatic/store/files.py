"""Files in the database: what is known of a blob. The bytes are elsewhere, under the file's id.

Owns the SQL, what the files of an owner weigh together, and a file's description in OpenAI's words: a file
never changes, so that text is written once, and a page of ten thousand files is put together from such texts.
Functions take a connection with an open transaction: give them to `Database.read` or `write`.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Delete, Row, delete, func, insert, select, text

from llmatic.store.paging import Order, following, ordered
from llmatic.store.tables import file_totals, files, uploads
from llmatic.store.upserts import upsert

_MICROSECONDS: Final = 1_000_000


class NoRoom(Exception):
    """The owner's quota would be exceeded."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A whole file. Times in microseconds since 1970."""

    id: str
    owner: str
    filename: str
    purpose: str
    size_bytes: int
    created_at: int
    expires_at: int | None = None

    def is_there(self, now: int) -> bool:
        """Not expired."""
        return self.expires_at is None or now < self.expires_at


_COLUMNS = tuple(files.c[name] for name in FileRecord.__dataclass_fields__)


def file_object(record: FileRecord) -> dict[str, Any]:
    """A file as OpenAI describes it. Whoever changes this has what is stored written anew by a migration."""
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.size_bytes,
        "created_at": record.created_at // _MICROSECONDS,
        "expires_at": None if record.expires_at is None else record.expires_at // _MICROSECONDS,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
        "status_details": None,
    }


def shown(record: FileRecord) -> str:
    """What lists show of it: `file_object` as JSON of ASCII characters, since those are read quickest."""
    return json.dumps(file_object(record), separators=(",", ":"))


def add_file(record: FileRecord, quota_bytes: int | None = None) -> Callable[[Connection], None]:
    """Insert it. Raises NoRoom if all that counts against the owner's quota exceeds it then."""

    def work(connection: Connection) -> None:
        if quota_bytes is not None:
            hold_quota(connection, record.owner)
            if used(connection, record.owner, record.created_at) + record.size_bytes > quota_bytes:
                raise NoRoom
        values = {name: getattr(record, name) for name in FileRecord.__dataclass_fields__}
        connection.execute(insert(files).values(**values, shown=shown(record)))
        _weigh(connection, record.owner, record.size_bytes)

    return work


def get_file(owner: str, file_id: str) -> Callable[[Connection], FileRecord | None]:
    """One file of the owner."""
    return lambda connection: _get(connection, owner, file_id)


def list_files(
    owner: str,
    *,
    now: int,
    limit: int,
    order: Order = "desc",
    after: str | None = None,
    purpose: str | None = None,
) -> Callable[[Connection], str | None]:
    """At most `limit` files that have not expired, each as a line of JSON; None if there is no file `after`.

    The last line has no end, so that a page of ten thousand can be sent without being taken apart.
    """

    def work(connection: Connection) -> str | None:
        wanted = select(files.c.shown).where(files.c.owner == owner)
        if purpose is not None:
            wanted = wanted.where(files.c.purpose == purpose)
        wanted = wanted.where(files.c.expires_at.is_(None) | (files.c.expires_at > now))
        if after is not None:
            last = _get(connection, owner, after)
            if last is None:
                return None
            wanted = following(wanted, files, order, last.created_at, last.id)
        page = ordered(wanted, files, order).limit(limit).subquery()
        # One string and not ten thousand rows; in JSON no line ends.
        lines: str | None = connection.execute(select(func.aggregate_strings(page.c.shown, "\n"))).scalar()
        return lines or ""

    return work


def drop_file(owner: str, file_id: str, now: int) -> Callable[[Connection], bool]:
    """Forget it; whether there was one that had not expired."""

    def work(connection: Connection) -> bool:
        record = _get(connection, owner, file_id)
        if record is None or not record.is_there(now):
            return False
        gone = delete(files).where(files.c.owner == owner, files.c.id == file_id)
        return bool(_drop(connection, gone))

    return work


def drop_expired(now: int, limit: int) -> Callable[[Connection], list[str]]:
    """Forget files whose time is over, at most `limit`; their ids."""

    def work(connection: Connection) -> list[str]:
        old = select(files.c.id).where(files.c.expires_at <= now).order_by(files.c.expires_at).limit(limit)
        # Another server may be at it too.
        ids = list(connection.execute(old.with_for_update(skip_locked=True)).scalars())
        return _drop(connection, delete(files).where(files.c.id.in_(ids))) if ids else []

    return work


def known_files(ids: Collection[str]) -> Callable[[Connection], set[str]]:
    """Those of the ids that are files of anybody."""
    wanted = select(files.c.id).where(files.c.id.in_(ids))
    return lambda connection: set(connection.execute(wanted).scalars())


def stored_bytes(owner: str, now: int) -> Callable[[Connection], int]:
    """What counts against the owner's quota."""
    return lambda connection: used(connection, owner, now)


def used(connection: Connection, owner: str, now: int) -> int:
    """The size of all files of the owner, and what open uploads have announced."""
    kept = select(file_totals.c.size_bytes).where(file_totals.c.owner == owner)
    announced = select(func.coalesce(func.sum(uploads.c.size_bytes), 0)).where(
        uploads.c.owner == owner, uploads.c.status == "pending", uploads.c.expires_at > now
    )
    return int(connection.execute(kept).scalar() or 0) + int(connection.execute(announced).scalar_one())


def hold_quota(connection: Connection, owner: str) -> None:
    """Until the transaction ends no other one adds to the owner's bytes. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:owner, 1))"), {"owner": owner}
        )


def _weigh(connection: Connection, owner: str, size_bytes: int) -> None:
    """From now on the owner's files weigh so much more. The row stays locked until the transaction ends."""
    new = upsert(connection, file_totals)
    total = {"size_bytes": file_totals.c.size_bytes + new.excluded.size_bytes}
    connection.execute(
        new.on_conflict_do_update(index_elements=["owner"], set_=total),
        {"owner": owner, "size_bytes": size_bytes},
    )


def _drop(connection: Connection, gone: Delete) -> list[str]:
    """Delete files; the ids of those that were there."""
    found = connection.execute(gone.returning(files.c.id, files.c.owner, files.c.size_bytes)).all()
    sizes: dict[str, int] = {}
    for row in found:
        sizes[row.owner] = sizes.get(row.owner, 0) + row.size_bytes
    for owner in sorted(sizes):  # in one order everywhere, so that no two servers wait for each other
        _weigh(connection, owner, -sizes[owner])
    return [row.id for row in found]


def _get(connection: Connection, owner: str, file_id: str) -> FileRecord | None:
    wanted = select(*_COLUMNS).where(files.c.id == file_id, files.c.owner == owner)
    row: Row[Any] | None = connection.execute(wanted).first()
    return None if row is None else FileRecord(*tuple(row))
