"""Files that the server itself writes for an owner: no quota, and not there before their record is.

Owns the way of their bytes into a blob. The record is added by whoever can do so together with what it
belongs to. Blocks; one thread at a time.
"""

from typing import Final

from llmatic.store.blobs import Blobs, BlobWriter
from llmatic.store.files import FileRecord

BUFFER_BYTES: Final = 256 * 1024
MICROSECONDS: Final = 1_000_000


class ProducedFile:
    """A file in the making under an id of the caller's choice. End it with `commit` or `discard`."""

    def __init__(self, blobs: Blobs, file_id: str, filename: str) -> None:
        self.id = file_id
        self._filename = filename
        self._blobs = blobs
        self._writer: BlobWriter | None = None
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        """Append. Raises InsufficientStorage, Unavailable."""
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            self._flush()

    def commit(self, owner: str, purpose: str, now: int, lifetime_s: int | None) -> FileRecord | None:
        """The record to add, its blob being safe; None if nothing was written. Times in microseconds.

        Raises InsufficientStorage, Unavailable.
        """
        if self._buffer:
            self._flush()
        if self._writer is None:
            return None
        self._writer.commit()
        return FileRecord(
            id=self.id,
            owner=owner,
            filename=self._filename,
            purpose=purpose,
            size_bytes=self._writer.size_bytes,
            created_at=now,
            expires_at=None if lifetime_s is None else now + lifetime_s * MICROSECONDS,
        )

    def discard(self) -> None:
        """Nothing of it is left. Idempotent; nothing after `commit`."""
        self._buffer.clear()
        if self._writer is not None:
            self._writer.discard()

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = self._blobs.create(self.id)
        self._writer.write(bytes(self._buffer))
        self._buffer.clear()
