"""Blobs in a folder.

Owns the folder. A blob is written to a temporary name, synced, and renamed; then its folder is synced. The
disk begins to write a large one while the rest of it is still coming, so that the last sync is short.
Whoever writes holds a lock, so that the leftovers of the dead can be told from what others are writing. The
last bytes of the disk are left to the database, without which nothing could be deleted either.
Blocks; any thread, each writer and reader in one at a time.
"""

import contextlib
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from uuid import uuid4

from llmatic.core.errors import ConfigError, InsufficientStorage, LlmaticError, Unavailable
from llmatic.store.blobs import CHUNK_BYTES, Piece

_FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
_INCOMING = "incoming"
_WRITE_OUT_BYTES = 8 * 1024 * 1024
RESERVE_BYTES = 64 * 1024 * 1024
SILENT_S = 600.0  # a writer that holds no lock is dead, or behind a network file system that does not tell
_MAX_PIECES = 512  # of one system call; Linux takes 1024


class LocalBlobs:
    """A `Blobs` in `folder`, which is made if it is not there. Raises ConfigError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / _INCOMING
        try:
            self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"store.blobs: {folder} cannot be made: {error.strerror}") from None

    def create(self, key: str) -> "LocalWriter":
        """As `Blobs.create`."""
        return LocalWriter(self._incoming / f"{key}-{uuid4().hex}", self._path(key))

    def read(self, key: str, start: int = 0, end: int | None = None) -> "LocalReader":
        """As `Blobs.read`."""
        try:
            return LocalReader(self._path(key), start, end)
        except FileNotFoundError:
            raise KeyError(key) from None
        except OSError as error:
            raise translated(error) from error

    def delete(self, key: str) -> None:
        """As `Blobs.delete`."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise translated(error) from error

    def older_than(self, age_s: float) -> Iterator[str]:
        """As `Blobs.older_than`."""
        try:
            for folder in list(self._folder.iterdir()):
                if folder.name != _INCOMING and folder.is_dir():
                    yield from (path.name for path in _older(folder, age_s))
        except OSError as error:
            raise translated(error) from error

    def tidy(self, age_s: float) -> None:
        """As `Blobs.tidy`."""
        try:
            for path in _older(self._incoming, min(age_s, SILENT_S)):
                if _is_dead(path, age_s):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise translated(error) from error

    def _path(self, key: str) -> Path:
        assert key.replace("-", "").replace("_", "").isalnum(), "keys are made by this program"
        return self._folder / key[-2:] / key


class LocalWriter:
    """A `BlobWriter`: `temporary` becomes `path`."""

    def __init__(self, temporary: Path, path: Path) -> None:
        self._temporary = temporary
        self._path = path
        self._n_written_out = 0
        self._is_open = True
        self.size_bytes = 0
        try:
            self._file = open(temporary, "xb", buffering=0)  # noqa: SIM115 (open until commit or discard)
        except OSError as error:
            raise translated(error) from error
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, *pieces: Piece) -> None:
        """As `BlobWriter.write`."""
        try:
            for start in range(0, len(pieces), _MAX_PIECES):
                self._write_all(pieces[start : start + _MAX_PIECES])
            if self.size_bytes - self._n_written_out >= _WRITE_OUT_BYTES:
                self._write_out()
        except OSError as error:
            raise translated(error) from error

    def _write_all(self, pieces: Sequence[Piece]) -> None:
        n_wanted = sum(map(len, pieces))
        self._require_room(n_wanted)
        n_written = os.writev(self._file.fileno(), pieces)
        self.size_bytes += n_wanted
        if n_written < n_wanted:  # rare: the disk is nearly full, or a signal came
            view = memoryview(b"".join(pieces))[n_written:]
            while view:
                view = view[self._file.write(view) :]

    def _require_room(self, n_bytes: int) -> None:
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_blocks and disk.f_bavail * disk.f_frsize < n_bytes + RESERVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _write_out(self) -> None:
        """Have the disk begin with what is new, without waiting: Linux does so before it drops clean pages,
        and none of these is clean.
        """
        start, self._n_written_out = self._n_written_out, self.size_bytes
        if sys.platform == "linux":
            os.posix_fadvise(self._file.fileno(), start, self.size_bytes - start, os.POSIX_FADV_DONTNEED)

    def commit(self) -> None:
        """As `BlobWriter.commit`."""
        try:
            os.fsync(self._file.fileno())
            _make_folder(self._path.parent)
            os.replace(self._temporary, self._path)
            self._file.close()
            _sync_folder(self._path.parent)
        except OSError as error:
            self.discard()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)  # it may have been renamed before the failure
            raise translated(error) from error
        self._is_open = False

    def discard(self) -> None:
        """As `BlobWriter.discard`. What cannot be removed now is found by `LocalBlobs.tidy`."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)


class LocalReader:
    """A `BlobReader` of an open file. Raises OSError."""

    def __init__(self, path: Path, start: int, end: int | None) -> None:
        self._file = FileIO(path)
        self._position = start
        self._end = os.fstat(self._file.fileno()).st_size if end is None else end

    def __iter__(self) -> "LocalReader":
        return self

    def __next__(self) -> bytes:
        n_wanted = min(CHUNK_BYTES, self._end - self._position)
        try:
            data = os.pread(self._file.fileno(), n_wanted, self._position) if n_wanted > 0 else b""
        except OSError as error:
            raise translated(error) from error
        if not data:
            self._end = self._position
            self.close()
            raise StopIteration
        self._position += len(data)
        return data

    def close(self) -> None:
        """As `BlobReader.close`."""
        self._file.close()


def translated(error: OSError) -> LlmaticError:
    """What a client is told."""
    if error.errno in _FULL:
        return InsufficientStorage("The server's disk is full: the file was not stored.")
    return Unavailable(f"The server's storage cannot be used: {error.strerror}.", retry_after_s=1.0)


def _older(folder: Path, age_s: float) -> Iterator[Path]:
    """The files in a folder that were last written at least so long ago. Raises OSError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime >= age_s:
                    yield Path(entry.path)


def _is_dead(path: Path, age_s: float) -> bool:
    """Whether nobody writes the temporary file; where that cannot be told, whether it is as old as that."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return time.time() - os.fstat(file.fileno()).st_mtime >= age_s
    return True


def _make_folder(folder: Path) -> None:
    """Make it if it is not there, so that it is there after a power cut."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True, mode=0o700)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """A renamed file is there after a power cut only once its folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
