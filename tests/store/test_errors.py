"""Errors of drivers in this project's words, by their codes."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from llmatic.core.errors import InsufficientStorage, InvalidRequest, LlmaticError, Unavailable
from llmatic.store.errors import AlreadyThere, translated


class Driver(Exception):
    """As a driver raises it."""

    def __init__(self, **codes: Any) -> None:
        super().__init__("the driver's words: host db.internal, user llmatic")
        for name, value in codes.items():
            setattr(self, name, value)


def operational(**codes: Any) -> SQLAlchemyError:
    return OperationalError("SELECT secret", {}, Driver(**codes))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (operational(sqlite_errorcode=sqlite3.SQLITE_FULL), InsufficientStorage, "disk is full: "),
        (operational(sqlite_errorcode=sqlite3.SQLITE_IOERR_WRITE), InsufficientStorage, "full or broken"),
        (operational(sqlstate="53100"), InsufficientStorage, "disk is full: "),
        (operational(sqlite_errorcode=sqlite3.SQLITE_BUSY_SNAPSHOT), Unavailable, "locked by another"),
        (operational(sqlite_errorcode=sqlite3.SQLITE_READONLY_DBMOVED), Unavailable, "only be read"),
        (operational(sqlite_errorcode=sqlite3.SQLITE_IOERR_READ), Unavailable, "cannot be used"),
        (operational(sqlstate="57P01"), Unavailable, "cannot be reached"),
        (operational(sqlstate="57P03"), Unavailable, "cannot be reached"),
        (operational(sqlstate="08006"), Unavailable, "cannot be reached"),
        (operational(sqlstate=None), Unavailable, "cannot be reached"),
        (operational(sqlstate="57014"), Unavailable, "takes too long"),
        (operational(sqlstate="53300"), Unavailable, "too many connections"),
        (operational(sqlstate="XX001"), Unavailable, "damaged"),
        (
            ProgrammingError("SELECT", {}, Driver(sqlstate="42501")),
            Unavailable,
            r"cannot be used .*\(Driver\)",
        ),
        (DataError("SELECT", {}, Driver(sqlstate="22001")), InvalidRequest, "cannot be stored"),
        (IntegrityError("SELECT", {}, Driver(sqlstate="23505")), AlreadyThere, "words"),
    ],
)
def test_what_is_told(error: SQLAlchemyError, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as told:
        raise translated(error)
    if isinstance(told.value, LlmaticError):
        assert "driver's words" not in told.value.message  # they name hosts and users
        assert "secret" not in told.value.message
    if isinstance(told.value, Unavailable):
        assert told.value.retry_after_s
