"""Uploads and their parts in the database. The parts' bytes are elsewhere, under the part's id.

Owns the SQL. Functions take a connection with an open transaction: give them to `Database.read` or `write`.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, delete, func, insert, select, update

from llmatic.store.files import FileRecord, NoRoom, add_file, hold_quota, used
from llmatic.store.tables import blob_stores, upload_parts, uploads

Status = Literal["pending", "completed", "cancelled"]


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """A file that comes in parts. Times in microseconds since 1970; `lifetime_s` is the file's.

    `part_ids` and `file_id`: of a completed one.
    """

    id: str
    owner: str
    filename: str
    mime_type: str
    purpose: str
    size_bytes: int
    lifetime_s: int | None
    status: Status
    created_at: int
    expires_at: int
    part_ids: tuple[str, ...] = ()
    file_id: str | None = None

    def is_open(self, now: int) -> bool:
        """Whether it takes parts."""
        return self.status == "pending" and now < self.expires_at


@dataclass(frozen=True, slots=True)
class PartRecord:
    """A part that is stored."""

    id: str
    upload_id: str
    size_bytes: int
    created_at: int


def add_upload(record: UploadRecord, quota_bytes: int) -> Callable[[Connection], None]:
    """Insert it. Raises NoRoom."""

    def work(connection: Connection) -> None:
        hold_quota(connection, record.owner)
        if used(connection, record.owner, record.created_at) + record.size_bytes > quota_bytes:
            raise NoRoom
        values = {name: getattr(record, name) for name in UploadRecord.__dataclass_fields__}
        connection.execute(insert(uploads).values({**values, "part_ids": None}))

    return work


def get_upload(owner: str, upload_id: str) -> Callable[[Connection], UploadRecord | None]:
    """One upload of the owner."""
    return lambda connection: _get(connection, owner, upload_id)


def add_part(owner: str, part: PartRecord, max_bytes: int) -> Callable[[Connection], bool]:
    """Insert it, unless its upload is closed by now or its parts exceed `max_bytes` then; whether it was."""

    def work(connection: Connection) -> bool:
        upload = _get(connection, owner, part.upload_id, for_update=True)
        if upload is None or not upload.is_open(part.created_at):
            return False
        total = select(func.coalesce(func.sum(upload_parts.c.size_bytes), 0)).where(
            upload_parts.c.upload_id == part.upload_id
        )
        if int(connection.execute(total).scalar_one()) + part.size_bytes > max_bytes:
            return False
        values = {name: getattr(part, name) for name in PartRecord.__dataclass_fields__}
        connection.execute(insert(upload_parts).values(values))
        return True

    return work


def get_parts(upload_id: str) -> Callable[[Connection], list[PartRecord]]:
    """Its parts, in no order."""
    columns = [upload_parts.c[name] for name in PartRecord.__dataclass_fields__]
    wanted = select(*columns).where(upload_parts.c.upload_id == upload_id)
    return lambda connection: [PartRecord(*row) for row in connection.execute(wanted)]


def complete_upload(
    upload: UploadRecord, part_ids: Sequence[str], file: FileRecord, quota_bytes: int
) -> Callable[[Connection], bool]:
    """Make the parts a file, unless the upload is closed by now; whether it was. Raises NoRoom."""

    def work(connection: Connection) -> bool:
        values = {"status": "completed", "part_ids": json.dumps(list(part_ids)), "file_id": file.id}
        if not _close(connection, upload.owner, upload.id, values):
            return False
        # What the upload had reserved is free again.
        add_file(file, quota_bytes)(connection)
        return True

    return work


def cancel_upload(owner: str, upload_id: str) -> Callable[[Connection], bool]:
    """Close it; whether it was open."""
    return lambda connection: _close(connection, owner, upload_id, {"status": "cancelled"})


def parts_to_drop(before: int, limit: int) -> Callable[[Connection], list[str]]:
    """Parts of uploads that are closed or were to end before `before`, at most `limit`."""
    is_over = (uploads.c.status != "pending") | (uploads.c.expires_at <= before)
    wanted = select(upload_parts.c.id).join(uploads, uploads.c.id == upload_parts.c.upload_id)
    return lambda connection: list(connection.execute(wanted.where(is_over).limit(limit)).scalars())


def drop_parts(ids: Collection[str]) -> Callable[[Connection], None]:
    """Forget parts whose blobs are gone."""

    def work(connection: Connection) -> None:
        connection.execute(delete(upload_parts).where(upload_parts.c.id.in_(ids)))

    return work


def drop_uploads(before: int) -> Callable[[Connection], int]:
    """Forget uploads without parts that were to end before `before`; how many."""
    has_parts = select(upload_parts.c.id).where(upload_parts.c.upload_id == uploads.c.id).exists()
    gone = delete(uploads).where(uploads.c.expires_at <= before, ~has_parts)
    return lambda connection: connection.execute(gone).rowcount


def known_parts(ids: Collection[str]) -> Callable[[Connection], set[str]]:
    """Those of the ids that are parts of anybody's upload."""
    wanted = select(upload_parts.c.id).where(upload_parts.c.id.in_(ids))
    return lambda connection: set(connection.execute(wanted).scalars())


def store_mark(fresh: str) -> Callable[[Connection], str]:
    """The word by which this database's blobs are known; from now on `fresh`, where there was none."""

    def work(connection: Connection) -> str:
        hold_quota(connection, "")  # two servers that start together must not make two
        found = connection.execute(select(blob_stores.c.id)).scalar()
        if found is None:
            connection.execute(insert(blob_stores).values(id=fresh))
        return found or fresh

    return work


def _close(connection: Connection, owner: str, upload_id: str, values: dict[str, str]) -> bool:
    closing = update(uploads).where(
        uploads.c.id == upload_id, uploads.c.owner == owner, uploads.c.status == "pending"
    )
    return bool(connection.execute(closing.values(values)).rowcount)


def _get(
    connection: Connection, owner: str, upload_id: str, *, for_update: bool = False
) -> UploadRecord | None:
    columns = [uploads.c[name] for name in UploadRecord.__dataclass_fields__]
    wanted = select(*columns).where(uploads.c.id == upload_id, uploads.c.owner == owner)
    row = connection.execute(wanted.with_for_update() if for_update else wanted).mappings().first()
    if row is None:
        return None
    return UploadRecord(**{**row, "part_ids": tuple(json.loads(row["part_ids"] or "[]"))})
