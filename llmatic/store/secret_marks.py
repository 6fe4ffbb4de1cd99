"""By what a database knows the secret that its keys are made with: a row that tells nothing of the secret.

Owns the SQL. Functions take a connection with an open transaction: give them to `Database.read` or `write`.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, select

from llmatic.store.tables import secret_marks
from llmatic.store.upserts import upsert

ID: Final = "secret"


def get_mark(connection: Connection) -> str | None:
    """The mark, if there is one."""
    return connection.execute(select(secret_marks.c.mark).where(secret_marks.c.id == ID)).scalar()


def put_mark(mark: str, *, replacing: bool = False) -> Callable[[Connection], str]:
    """Whatever is the mark then: the one of whoever came first, unless it is replaced."""

    def work(connection: Connection) -> str:
        added = upsert(connection, secret_marks).values(id=ID, mark=mark)
        if replacing:
            connection.execute(added.on_conflict_do_update(index_elements=["id"], set_={"mark": mark}))
        else:
            connection.execute(added.on_conflict_do_nothing())
        return get_mark(connection) or mark

    return work
