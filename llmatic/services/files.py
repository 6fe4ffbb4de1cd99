"""Files: taken in, checked, listed, given out, forgotten.

Owns the rules: purposes, sizes, quotas, lifetimes, and the order in which a file and its record come and go
(the blob first and last), so that no record is ever without its blob. Event loop's thread; blobs are written
and read in others.
"""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeVar

from llmatic.core.errors import InsufficientStorage, InvalidRequest, NotFound, PayloadTooLarge
from llmatic.services import jsonl
from llmatic.services.async_blobs import AsyncBlobs
from llmatic.store.blobs import BlobReader, Blobs, Piece
from llmatic.store.database import Database
from llmatic.store.files import (
    FileRecord,
    NoRoom,
    add_file,
    drop_expired,
    drop_file,
    get_file,
    list_files,
    stored_bytes,
)
from llmatic.store.paging import Order

MICROSECONDS: Final = 1_000_000
SWEEP_AT_ONCE: Final = 100
TURN_BYTES: Final = 128 * 1024
BREATH_S: Final = 20e-6
FILE_PREFIX: Final = "file-"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bytes of one file, and of all files of one owner together."""

    max_bytes: int = 512 * 1024 * 1024
    quota_bytes: int = 100 * 1024 * 1024 * 1024


class FileIntake:
    """A file on its way in; the sink of a form. End it with `Files.keep` or `discard`."""

    def __init__(self, blobs: AsyncBlobs, room_bytes: int, limits: FileLimits) -> None:
        self.id = new_file_id()
        self.filename = ""
        self._blob = blobs.writer(self.id)
        self._room_bytes = room_bytes
        self._limits = limits

    @property
    def size_bytes(self) -> int:
        """How much of it has come."""
        return self._blob.size_bytes

    def expect(self, size_bytes: int) -> None:
        """At least so much will come. Raises PayloadTooLarge."""
        if size_bytes > self._limits.max_bytes:
            raise too_large(self._limits.max_bytes)
        if size_bytes > self._room_bytes:
            raise no_room(self._limits.quota_bytes)

    async def begin(self, filename: str) -> None:
        """What it is called."""
        self.filename = filename

    async def write(self, *pieces: Piece) -> None:
        """Append. Raises PayloadTooLarge, InsufficientStorage, Unavailable."""
        self.expect(self.size_bytes + sum(map(len, pieces)))
        await self._blob.write(*pieces)

    async def commit(self) -> None:
        """Make its blob visible, which is no file before it has a record. Raises as `write`."""
        await self._blob.commit()

    async def discard(self) -> None:
        """Nothing of it is left. Idempotent; nothing after it was kept."""
        await self._blob.discard()


class Files:
    """The files of all owners."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs | AsyncBlobs,
        limits: FileLimits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._blobs = blobs if isinstance(blobs, AsyncBlobs) else AsyncBlobs(blobs)
        self.limits = limits
        self._clock = clock

    async def intake(self, owner: str) -> FileIntake:
        """A new file of the owner, to be written."""
        room = self.limits.quota_bytes - await self._database.read(stored_bytes(owner, self._now()))
        return FileIntake(self._blobs, room, self.limits)

    async def keep(
        self, intake: FileIntake, owner: str, purpose: str, lifetime_s: int | None = None
    ) -> FileRecord:
        """The file that was taken in, from now on there for its owner; or nothing is left of it.

        Raises InvalidRequest for an empty file and for lines that do not fit the purpose; PayloadTooLarge if
        the quota is used up by now; InsufficientStorage, Unavailable.
        """
        if not intake.size_bytes:
            raise InvalidRequest("File is empty.", param="file")
        await intake.commit()
        try:
            record = await self.described(
                intake.id,
                intake.size_bytes,
                owner=owner,
                filename=intake.filename,
                purpose=purpose,
                lifetime_s=lifetime_s,
            )
            await self._database.write(add_file(record, self.limits.quota_bytes))
        except NoRoom:
            await self._blobs.forget(intake.id)
            raise no_room(self.limits.quota_bytes) from None
        except (InvalidRequest, InsufficientStorage):
            await self._blobs.forget(intake.id)
            raise
        # After Unavailable the record may be there; a blob without one harms nobody, and is swept.
        return record

    async def described(
        self,
        file_id: str,
        size_bytes: int,
        *,
        owner: str,
        filename: str,
        purpose: str,
        lifetime_s: int | None,
    ) -> FileRecord:
        """The record to be of a blob. Raises InvalidRequest for lines that do not fit the purpose."""
        if jsonl.needs_lines(purpose):
            await self._blobs.run(lambda: self._check_lines(file_id, purpose))
        now = self._now()
        return FileRecord(
            id=file_id,
            owner=owner,
            filename=filename,
            purpose=purpose,
            size_bytes=size_bytes,
            created_at=now,
            expires_at=None if lifetime_s is None else now + lifetime_s * MICROSECONDS,
        )

    async def get(self, owner: str, file_id: str) -> FileRecord:
        """Raises NotFound in OpenAI's words."""
        record = await self._database.read(get_file(owner, file_id))
        if record is None or not record.is_there(self._now()):
            raise no_file(file_id)
        return record

    async def page(
        self, owner: str, *, limit: int, order: Order, after: str | None, purpose: str | None
    ) -> str:
        """At most `limit` of the owner's files, as `list_files` has them. Raises NotFound for `after`."""
        found = await self._database.read(
            list_files(owner, now=self._now(), limit=limit, order=order, after=after, purpose=purpose)
        )
        if found is None:
            raise NotFound(f"No such File object: {after}", param="after")
        return found

    def content(self, record: FileRecord, start: int = 0, end: int | None = None) -> BlobReader:
        """Bytes of the file in chunks; in a thread, and close it. Raises NotFound if it was deleted
        meanwhile.
        """
        try:
            return self._blobs.blobs.read(record.id, start, end)
        except KeyError:
            raise no_file(record.id) from None

    async def stream(
        self, record: FileRecord, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The same for the event loop. Raises NotFound before the first chunk."""
        try:
            async with aclosing(self._blobs.stream(record.id, start, end)) as chunks:
                async for data in chunks:
                    yield data
        except KeyError:
            raise no_file(record.id) from None

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, from a thread that may wait for blobs."""
        return await self._blobs.run(work)

    async def delete(self, owner: str, file_id: str) -> None:
        """Raises NotFound."""
        if not await self._database.write(drop_file(owner, file_id, self._now())):
            raise no_file(file_id)
        await self._blobs.forget(file_id)

    async def sweep(self) -> int:
        """Forget what has expired; how many files that were."""
        n_gone = 0
        while ids := await self._database.write(drop_expired(self._now(), SWEEP_AT_ONCE)):
            for file_id in ids:
                await self._blobs.forget(file_id)
            n_gone += len(ids)
        return n_gone

    def _check_lines(self, file_id: str, purpose: str) -> None:
        reader = self._blobs.blobs.read(file_id)
        try:
            jsonl.check_lines(purpose, _in_turns(reader))
        finally:
            reader.close()

    def _now(self) -> int:
        return int(self._clock() * MICROSECONDS)


def _in_turns(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces, with a breath after each: whoever looks into them holds up the event loop,
    which cannot run Python at the same time.
    """
    for chunk in chunks:
        for start in range(0, len(chunk), TURN_BYTES):
            yield chunk[start : start + TURN_BYTES]
            time.sleep(BREATH_S)


def new_file_id() -> str:
    """As OpenAI's: `file-` and letters and digits."""
    return FILE_PREFIX + secrets.token_hex(12)


def no_file(file_id: str) -> NotFound:
    """OpenAI's words for a file that is not there, or is somebody else's."""
    return NotFound(f"No such File object: {file_id}", param="id")


def too_large(max_bytes: int) -> PayloadTooLarge:
    """One file is larger than allowed."""
    return PayloadTooLarge(f"The file is too large: at most {max_bytes} bytes are taken.", param="file")


def no_room(quota_bytes: int) -> PayloadTooLarge:
    """All files of an owner together would be larger than allowed."""
    return PayloadTooLarge(
        f"There is no room for the file: your files may hold {quota_bytes} bytes together. Delete some.",
        param="file",
    )
