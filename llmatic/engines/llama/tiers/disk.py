"""Blocks of computed prompts as files: one directory per model under the configured one.

Owns the files and the thread that writes them. Never decides what is kept: that is the store's work.
What is damaged or another model's is deleted, not loaded; foreign names are left alone. Several processes may
share a directory: a file has a unique name until it is complete, and one that has gone is a miss. Reading
happens in the caller's thread, everything else in this module's own. Only the owner may read the files.
"""

import contextlib
import hashlib
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from llmatic.core.errors import ConfigError
from llmatic.core.priority import nice_this_thread
from llmatic.engines.llama.tiers.blockfile import (
    N_RANKS,
    NAME,
    Block,
    Found,
    file_bytes,
    head_of,
    name_of,
    read_head,
    read_rows,
)
from llmatic.engines.llama.tiers.layout import Rows

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

QUEUE_BYTES = 256 << 20
SCAN_LIMIT_S = 10.0
_TEMPORARY = re.compile(r"[0-9a-f]{32}-\d+-\d+-\d+\.tmp")


class DiskStore:
    """The files of one model. `model_key` names everything on which the bytes depend.

    That is the model's fingerprint, the codec's layout key and the library's version. `max_bytes` counts what
    was found at the start and what this process wrote.
    """

    def __init__(
        self,
        directory: Path,
        model_key: str,
        *,
        max_bytes: int,
        queue_bytes: int = QUEUE_BYTES,
        write: Callable[[int, memoryview], int] = os.write,
    ) -> None:
        """Make the directory and read the headers in it. Raises ConfigError if it cannot be written."""
        self._model = hashlib.blake2b(model_key.encode(), digest_size=16).digest()
        self.directory = directory / self._model.hex()
        self.max_bytes = max_bytes
        self.on_failed: Callable[[bytes], None] = lambda _id: None
        self._queue_bytes = queue_bytes
        self._write = write
        self._changed = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._pending: dict[bytes, Block] = {}
        self._pending_bytes = 0
        self._is_busy = self._is_closed = False
        self._n_temporary = 0
        self.n_written = self.n_failed = self.n_corrupt = self.n_refused = 0
        self.last_error = ""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, path = self._open_temporary(bytes(16))
            os.close(descriptor)
            _unlink(path)
        except OSError as error:
            raise ConfigError(
                f"the cache directory '{directory}' cannot be used: {error.strerror}"
            ) from error
        self.found = self._scan()
        self._thread = threading.Thread(target=self._run, name="llmatic-cache-files", daemon=True)
        self._thread.start()

    # -- what the store asks for; any thread

    def write(self, block: Block) -> bool:
        """Write the block soon; False if too much waits already. Until then `read` finds it all the same."""
        with self._changed:
            if not self.has_room(block.rows.nbytes):
                self.n_refused += 1
                return False
            self._drop_pending(block.id)
            self._pending[block.id] = block
            self._pending_bytes += block.rows.nbytes
            self._queue(lambda: self._write_pending(block))
            return True

    def has_room(self, n_bytes: int) -> bool:
        """Whether so many bytes may wait in the queue besides those that do; anything may wait alone."""
        fits = not self._pending_bytes or self._pending_bytes + n_bytes <= self._queue_bytes
        return fits and not self._is_closed

    def read(self, id: bytes) -> Rows | None:
        """The block's rows, checked; None if they are gone or damaged, and then the file is gone too."""
        with self._changed:
            if id in self._pending:
                return self._pending[id].rows
        for path in self._paths(id):
            try:
                with path.open("rb", buffering=0) as file:
                    rows = read_rows(file.read, path.name, self._model)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._note(error)
                return None
            if rows is None:
                self.n_corrupt += 1
                _unlink(path)
            return rows
        return None

    def delete(self, id: bytes) -> None:
        """Remove the block's file soon, or never write it."""
        with self._changed:
            self._drop_pending(id)
            self._queue(lambda: self._delete(id))

    def rank(self, id: bytes, rank: int) -> None:
        """Change the block's rank soon."""
        with self._changed:
            self._queue(lambda: self._rename(id, rank))

    def touch(self, ids: list[bytes], used: float) -> None:
        """Note on the files when they were used."""
        with self._changed:
            self._queue(lambda: self._set_times(ids, used))

    def drain(self, timeout_s: float, room_bytes: int | None = None) -> bool:
        """Wait until all is done, or until so much fits into the queue; False when the time is over."""

        def is_done() -> bool:
            if self._is_closed:
                return True
            if room_bytes is not None:
                return self.has_room(room_bytes)
            return not self._work and not self._is_busy

        with self._changed:
            return self._changed.wait_for(is_done, timeout_s)

    def close(self) -> None:
        """Finish the file that is being written, forget the rest. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._work.clear()
            self._pending.clear()
            self._pending_bytes = 0
            self._changed.notify_all()
        self._thread.join()

    @property
    def pending_bytes(self) -> int:
        """Rows in memory that wait to be written."""
        return self._pending_bytes

    # -- the writing thread

    def _queue(self, work: Callable[[], None]) -> None:
        if not self._is_closed:
            self._work.append(work)
            self._changed.notify_all()

    def _drop_pending(self, id: bytes) -> None:
        block = self._pending.pop(id, None)
        if block is not None:
            self._pending_bytes -= block.rows.nbytes

    def _run(self) -> None:
        nice_this_thread()
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._work or self._is_closed)
                if self._is_closed:
                    return
                work = self._work.popleft()
                self._is_busy = True
            try:
                work()
            except OSError as error:
                self._note(error)

    def _write_pending(self, block: Block) -> None:
        if self._pending.get(block.id) is not block:
            return
        try:
            self._write_file(block)
            self.n_written += 1
            is_written = True
        except OSError as error:
            self._note(error)
            is_written = False
        with self._changed:
            is_wanted = self._pending.get(block.id) is block
            if is_wanted:
                self._drop_pending(block.id)
        if not is_written and is_wanted:
            self.on_failed(block.id)

    def _write_file(self, block: Block) -> None:
        descriptor, path = self._open_temporary(block.id)
        try:
            try:
                if fcntl is not None:
                    with contextlib.suppress(OSError):  # a file system without locks
                        fcntl.flock(descriptor, fcntl.LOCK_EX)
                for data in (head_of(block, self._model), block.rows.data):
                    rest = memoryview(data)
                    while rest:
                        rest = rest[self._write(descriptor, rest) :]
                os.fsync(descriptor)
                os.utime(descriptor if os.utime in os.supports_fd else path, (block.used, block.used))
            finally:
                os.close(descriptor)
            path.replace(self._path(block.id, block.rank))
        except OSError:
            _unlink(path)
            raise

    def _open_temporary(self, id: bytes) -> tuple[int, Path]:
        self._n_temporary += 1
        name = f"{id.hex()}-{os.getpid()}-{time.time_ns()}-{self._n_temporary}.tmp"
        path = self.directory / name
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        try:
            return os.open(path, flags, 0o600), path
        except FileNotFoundError:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(path, flags, 0o600), path

    def _delete(self, id: bytes) -> None:
        for path in self._paths(id):
            _unlink(path)

    def _rename(self, id: bytes, rank: int) -> None:
        for path in self._paths(id):
            if path != self._path(id, rank):
                with contextlib.suppress(FileNotFoundError):
                    path.replace(self._path(id, rank))

    def _set_times(self, ids: list[bytes], used: float) -> None:
        for id in ids:
            for path in self._paths(id):
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path, (used, used))

    def _note(self, error: OSError) -> None:
        self.n_failed += 1
        self.last_error = f"{error.strerror}: '{self.directory}'"

    def _path(self, id: bytes, rank: int) -> Path:
        return self.directory / name_of(id, rank)

    def _paths(self, id: bytes) -> list[Path]:
        return [self._path(id, rank) for rank in range(N_RANKS)]

    # -- opening

    def _scan(self) -> list[Found]:
        """The usable files, those used last first. What is damaged, or left over by a crash, is deleted."""
        files: list[tuple[float, int, Path]] = []
        for entry, status in _entries(self.directory):
            if _TEMPORARY.fullmatch(entry.name):
                _unlink_if_abandoned(Path(entry.path))
            elif NAME.fullmatch(entry.name):
                files.append((min(status.st_mtime, time.time()), status.st_size, Path(entry.path)))
        files.sort(reverse=True, key=lambda file: file[0])
        found: dict[bytes, Found] = {}
        deadline = time.monotonic() + SCAN_LIMIT_S
        for used, size, path in files:
            if time.monotonic() > deadline:
                self._work.append(lambda path=path: _unlink(path))  # type: ignore[misc]
                continue
            try:
                with path.open("rb", buffering=0) as file:
                    head = read_head(file.read, path.name, self._model, used)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._note(error)
                continue
            if head is None or file_bytes(head.key, head.n_row_bytes) != size:
                self.n_corrupt += 1
                _unlink(path)
            elif head.id not in found or head.rank > found[head.id].rank:
                found[head.id] = head
        return list(found.values())


def _entries(directory: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                yield entry, entry.stat(follow_symlinks=False)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _unlink_if_abandoned(path: Path) -> None:
    """A process that still writes the file holds a lock on it."""
    with contextlib.suppress(OSError):
        if fcntl is not None:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(descriptor)
        path.unlink()
