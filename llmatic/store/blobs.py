"""Blobs: bytes under a key, written once, read often.

Owns the interface. A blob is not there until it is whole: whoever dies while writing leaves nothing that
anybody can see. Every method blocks: call it in a thread.
"""

from collections.abc import Iterator
from typing import Protocol

CHUNK_BYTES = 512 * 1024

Piece = bytes | memoryview


class BlobWriter(Protocol):
    """A blob in the making. One thread at a time. End it with `commit` or `discard`."""

    size_bytes: int

    def write(self, *pieces: Piece) -> None:
        """Append. Raises InsufficientStorage, Unavailable."""
        ...

    def commit(self) -> None:
        """Make it visible, safe from a power cut. Raises as `write`; then nothing is visible."""
        ...

    def discard(self) -> None:
        """Forget it. Idempotent, and nothing after `commit`."""
        ...


class BlobReader(Iterator[bytes], Protocol):
    """Pieces of a blob, which outlive its deletion. One thread at a time. Raises Unavailable."""

    def close(self) -> None:
        """Let go of it; whoever does not read to the end must say so. Idempotent."""
        ...


class Blobs(Protocol):
    """A place for blobs. Keys are our own: letters, digits, `-` and `_`."""

    def create(self, key: str) -> BlobWriter:
        """A new blob; an older one of that key is replaced by the commit."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> BlobReader:
        """Bytes `start` to `end` (not included) in chunks. Raises KeyError if there is none, Unavailable."""
        ...

    def delete(self, key: str) -> None:
        """Forget it. Idempotent. Raises Unavailable."""
        ...

    def older_than(self, age_s: float) -> Iterator[str]:
        """The keys of all blobs that were written at least so many seconds ago. Raises Unavailable."""
        ...

    def tidy(self, age_s: float) -> None:
        """Remove what writers that died so many seconds ago have left, and sooner where it is known that they
        are dead. Never what somebody is writing. Raises Unavailable.
        """
        ...
