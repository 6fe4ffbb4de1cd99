"""The file of a SQLite database: opened, made once, watched, and kept from growing a log without end.

Owns the path and the settings of connections. SQLite itself does not mind when its file is moved or removed
under it: what is written then is lost with the process. So each use of a connection first looks whether the
file is still the one that it opened, which costs a microsecond; when the file is back, so are the answers.
Blocks; any thread, `shorten_log` in the one that writes.
"""

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Engine
from sqlalchemy.exc import DisconnectionError

LOG_BYTES: Final = 64 << 20
LOG_GROWTH_BYTES: Final = 16 << 20
LOG_WAIT_MS: Final = 250
RETRY_S: Final = 0.05

_SETTINGS = (
    "PRAGMA synchronous = FULL",  # acknowledged is on disk, also after a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32000",  # KiB for each connection, of which the last one used is used first
    f"PRAGMA journal_size_limit = {LOG_BYTES}",
)
_IDENTITY: Final = "llmatic_file"


class DatabaseFile:
    """A database at `path`, which is absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._shorten_at = LOG_BYTES

    def make(self, timeout_s: float) -> None:
        """Make it if it is not there. Raises sqlite3.Error, OSError."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(FileExistsError):  # for this user alone, and so are the files beside it
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        while True:
            try:
                with contextlib.closing(self._open("rwc", timeout_s)) as connection:
                    connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # Of several that make it at once all but one are told so, and SQLite does not wait here.
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)
        for place in (self.path, self.path.parent):
            if not os.access(place, os.W_OK):
                raise PermissionError(f"this user may not write to {place}")

    def connect(self, timeout_s: float) -> sqlite3.Connection:
        """A connection to what is there. Raises sqlite3.Error."""
        connection = self._open("rw", timeout_s)
        try:
            for setting in _SETTINGS:
                connection.execute(setting)
        except BaseException:
            connection.close()
            raise
        return connection

    def remember(self, _connection: object, record: Any) -> None:
        """A listener for new connections of a pool."""
        record.info[_IDENTITY] = self._identity()

    def require_same(self, _connection: object, record: Any, _proxy: object) -> None:
        """A listener for connections taken from a pool: a new one is opened if the file is another."""
        if record.info[_IDENTITY] != self._identity():
            raise DisconnectionError(f"{self.path} is another file now")

    def shorten_log(self, engine: Engine, *, at_once: bool = False) -> None:
        """Begin the write-ahead log anew if it has grown long, or `at_once`, where the disk is full: its room
        may then do for what is to be deleted.

        SQLite does so by itself when no reader is in the way, which need never happen where there are many.
        """
        try:
            size = self._log.stat().st_size
        except OSError:
            return
        if not size or (size < self._shorten_at and not at_once):
            return
        self._shorten_at = max(LOG_BYTES, size + LOG_GROWTH_BYTES)
        with contextlib.suppress(sqlite3.Error), contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            before = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
            cursor.execute(f"PRAGMA busy_timeout = {LOG_WAIT_MS}")
            try:
                # Nobody else writes, so every reader that begins now is at the end of the log already.
                is_busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {before}")
                cursor.close()
            if not is_busy:
                self._shorten_at = LOG_BYTES

    def _open(self, mode: str, timeout_s: float) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True,
            timeout=timeout_s,
            isolation_level=None,  # BEGIN is ours: the driver's own comes too late for reads
            check_same_thread=False,
        )

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino
