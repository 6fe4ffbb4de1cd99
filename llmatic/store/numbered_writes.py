"""Writes that are there once, however often they are tried: rows of `numbered_writes`, one for each writer.

A write whose outcome is unknown, because the connection broke or the time was up, can be repeated. Owns the
SQL of these rows. Functions take a connection with an open transaction: give them to `Database.write`.
"""

from collections.abc import Callable

from sqlalchemy import Connection, delete

from llmatic.store.tables import numbered_writes
from llmatic.store.upserts import upsert


def once(
    writer: str, number: int, now: int, work: Callable[[Connection], object]
) -> Callable[[Connection], bool]:
    """Do the work and return True, unless it was done; `number` grows from write to write of a `writer`.

    Waits for an earlier try that is not decided yet.
    """

    def numbered(connection: Connection) -> bool:
        new = upsert(connection, numbered_writes).values(id=writer, number=number, written_at=now)
        higher = new.on_conflict_do_update(
            index_elements=["id"],
            set_={"number": number, "written_at": now},
            where=numbered_writes.c.number < number,
        )
        # Not by the count of rows, which drivers do not always tell.
        if connection.execute(higher.returning(numbered_writes.c.number)).first() is None:
            return False
        work(connection)
        return True

    return numbered


def drop_numbered(before: int) -> Callable[[Connection], int]:
    """Forget the writers that have not written since; how many."""
    old = delete(numbered_writes).where(numbered_writes.c.written_at < before)
    return lambda connection: connection.execute(old).rowcount
