"""What can go wrong with a database, in this project's errors.

Owns the translation from SQLAlchemy's and the drivers' exceptions, by their codes, never by their words.
Pure. (https://sqlite.org/rescode.html; https://www.postgresql.org/docs/current/errcodes-appendix.html)
"""

import sqlite3
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from llmatic.core.errors import ConfigError, InsufficientStorage, InvalidRequest, Unavailable

RETRY_AFTER_S: Final = 1.0

# Where SQLite does not tell a full disk from a broken one: quotas of users, limits of processes.
_UNWRITABLE: Final = frozenset([sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE])
_FULL: Final = "The server's disk is full: nothing was stored."
_FULL_OR_BROKEN: Final = "The server's disk is full or broken: nothing was stored."
_DAMAGED: Final = "The server's database is damaged. Whoever runs the server must bring a backup back."
# by SQLite's primary result codes
_SQLITE_WORDS: Final = {
    sqlite3.SQLITE_BUSY: "The server's database is locked by another program. Please try again.",
    sqlite3.SQLITE_LOCKED: "The server's database is locked by another program. Please try again.",
    sqlite3.SQLITE_READONLY: "The server's database may only be read at the moment.",
    sqlite3.SQLITE_CANTOPEN: "The server's database is not where it was. Please try again.",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
# by PostgreSQL's SQLSTATE, or the class that it begins with
_POSTGRES_WORDS: Final = {
    "57014": "The server's database takes too long. Please try again.",
    "55P03": "The server's database is locked by another program. Please try again.",
    "53300": "The server's database has too many connections. Please try again.",
    "25006": "The server's database may only be read at the moment.",
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
_POSTGRES_FULL: Final = "53100"
# serialization_failure and deadlock_detected: lost a race; read_only_sql_transaction: no primary any more
_REPEATABLE: Final = frozenset(["40001", "40P01", "25006"])
_UNREACHABLE: Final = "The server's database cannot be reached at the moment. Please try again."
TOO_SLOW: Final = "The server's database does not answer at the moment. Please try again."


class AlreadyThere(Exception):
    """A row with this key exists, or one that it refers to does not."""


def translated(error: SQLAlchemyError) -> Exception:
    """The exception to raise instead of `error`."""
    if isinstance(error, IntegrityError):
        return AlreadyThere(str(error.orig))
    if isinstance(error, DataError):
        return unstorable()
    sqlite_code, state = _sqlite_code(error), _sqlstate(error)
    if is_full(error):
        return InsufficientStorage(_FULL if sqlite_code not in _UNWRITABLE else _FULL_OR_BROKEN)
    known = None if sqlite_code is None else _SQLITE_WORDS.get(sqlite_code & 0xFF)
    known = known or _POSTGRES_WORDS.get(state or "")
    if known is None and sqlite_code is None and _is_connection_lost(error, state):
        known = _UNREACHABLE
    if known is None:
        reason = type(getattr(error, "orig", None) or error).__name__
        known = f"The server's database cannot be used at the moment ({reason}). Please try again."
    return Unavailable(known, retry_after_s=RETRY_AFTER_S)


def is_full(error: BaseException) -> bool:
    """Whether it was for want of room on a disk."""
    code = _sqlite_code(error)
    return code == sqlite3.SQLITE_FULL or code in _UNWRITABLE or _sqlstate(error) == _POSTGRES_FULL


def unstorable() -> InvalidRequest:
    """For text that a database cannot hold: a NUL, half of a surrogate pair, or too much of it."""
    return InvalidRequest(
        "The request holds text or a number that cannot be stored: a null character, half of a surrogate "
        "pair, or something too long."
    )


def opening_failed(error: Exception, place: str) -> ConfigError:
    """For whoever starts a server, who must know the driver's own words."""
    words = " ".join(str(getattr(error, "orig", None) or error).split())
    hint = ""
    if _SQLITE_WORDS.get((_sqlite_code(error) or 0) & 0xFF) == _DAMAGED:
        hint = " The file is damaged or is no database: bring a backup back, or name another in store.url."
    return ConfigError(f"The database {place} cannot be opened: {words.rstrip('.?')}.{hint}")


def reason(error: BaseException) -> str:
    """For the log: what the driver said."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:500]


def is_repeatable(error: SQLAlchemyError) -> bool:
    """Whether the same may go well on another connection, or a moment later. Nothing of it was committed if
    it was raised before the end of the transaction."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or _sqlstate(error) in _REPEATABLE


def _is_connection_lost(error: SQLAlchemyError, state: str | None) -> bool:
    """The connection broke or could not be made (57P01 to 57P03: the server stops or starts)."""
    if state is not None:
        return state.startswith(("08", "57P"))
    return isinstance(error, OperationalError)


def _sqlite_code(error: BaseException) -> int | None:
    return getattr(getattr(error, "orig", error), "sqlite_errorcode", None)


def _sqlstate(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)
