"""Uploads: files that come in parts, put together in the order that their owner says.

Owns the rules: sizes, the hour that an upload lasts, what may be done to it in which state. Parts are blobs
of their own until the upload is complete; a completed or cancelled upload's parts are deleted. Event loop's
thread.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from llmatic.core.errors import (
    InsufficientStorage,
    InvalidRequest,
    LlmaticError,
    NotFound,
    PayloadTooLarge,
)
from llmatic.services.async_blobs import AsyncBlobs, Intake
from llmatic.services.files import MICROSECONDS, Files, new_file_id, no_room
from llmatic.store.blobs import Piece
from llmatic.store.database import Database
from llmatic.store.files import FileRecord, NoRoom
from llmatic.store.uploads import (
    PartRecord,
    UploadRecord,
    add_part,
    add_upload,
    cancel_upload,
    complete_upload,
    drop_parts,
    drop_uploads,
    get_parts,
    get_upload,
    parts_to_drop,
)

MAX_UPLOAD_BYTES: Final = 8 * 1024**3
MAX_PART_BYTES: Final = 64 * 1024**2
LIFETIME_S: Final = 3600
# A part may be sent again, for instance when its reply was lost.
MAX_TIMES_SENT: Final = 2
# Whoever began to put parts together just before the end has this long.
GRACE_S: Final = 3600
REMEMBERED_S: Final = 24 * 3600
SWEEP_AT_ONCE: Final = 100
PART_PREFIX: Final = "part_"

State = Literal["pending", "completed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as it is now, and the file that it has become."""

    record: UploadRecord
    state: State
    file: FileRecord | None = None


class PartIntake:
    """A part on its way in; the sink of a form. End it with `Uploads.keep_part` or `discard`."""

    def __init__(self, blobs: AsyncBlobs, upload: UploadRecord) -> None:
        self.id = PART_PREFIX + secrets.token_hex(16)
        self.upload = upload
        self._blob: Intake = blobs.writer(self.id)

    def expect(self, size_bytes: int) -> None:
        """At least so much will come. Raises PayloadTooLarge, InvalidRequest."""
        if size_bytes > MAX_PART_BYTES:
            raise PayloadTooLarge(
                f"The part is too large: at most {MAX_PART_BYTES} bytes are taken.", param="data"
            )
        if size_bytes > self.upload.size_bytes:
            raise _too_many_bytes(self.upload)

    async def begin(self, filename: str) -> None:
        """Its name says nothing."""

    @property
    def size_bytes(self) -> int:
        """How much of it has come."""
        return self._blob.size_bytes

    async def write(self, *pieces: Piece) -> None:
        """Append. Raises PayloadTooLarge, InvalidRequest, InsufficientStorage, Unavailable."""
        self.expect(self.size_bytes + sum(map(len, pieces)))
        await self._blob.write(*pieces)

    async def commit(self) -> None:
        """Make its blob visible. Raises InvalidRequest, InsufficientStorage, Unavailable."""
        if not self.size_bytes:
            raise InvalidRequest("The part is empty.", param="data")
        await self._blob.commit()

    async def discard(self) -> None:
        """Nothing of it is left. Idempotent; nothing after it was kept."""
        await self._blob.discard()


class Uploads:
    """The uploads of all owners."""

    def __init__(
        self, database: Database, blobs: AsyncBlobs, files: Files, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._files = files
        self._clock = clock

    async def create(
        self,
        owner: str,
        *,
        size_bytes: int,
        filename: str,
        mime_type: str,
        purpose: str,
        lifetime_s: int | None = None,
    ) -> Upload:
        """A new upload; its bytes count against the owner's quota from now on. Raises PayloadTooLarge."""
        now = self._now()
        record = UploadRecord(
            id=f"upload_{secrets.token_hex(16)}",
            owner=owner,
            filename=filename,
            mime_type=mime_type,
            purpose=purpose,
            size_bytes=size_bytes,
            lifetime_s=lifetime_s,
            status="pending",
            created_at=now,
            expires_at=now + LIFETIME_S * MICROSECONDS,
        )
        quota = self._files.limits.quota_bytes
        try:
            await self._database.write(add_upload(record, quota))
        except NoRoom:
            error = no_room(quota)
            error.param = "bytes"
            raise error from None
        return Upload(record, "pending")

    async def part(self, owner: str, upload_id: str) -> PartIntake:
        """A new part, to be written. Raises NotFound; InvalidRequest if the upload is closed."""
        upload = await self._get(owner, upload_id)
        self._require_open(upload)
        return PartIntake(self._blobs, upload)

    async def keep_part(self, intake: PartIntake) -> PartRecord:
        """The part that was taken in, from now on there; or nothing is left of it.

        Raises InvalidRequest if the upload is closed or full by now; InsufficientStorage, Unavailable.
        """
        upload = intake.upload
        await intake.commit()
        part = PartRecord(intake.id, upload.id, intake.size_bytes, self._now())
        if not await self._database.write(add_part(upload.owner, part, upload.size_bytes * MAX_TIMES_SENT)):
            await self._blobs.forget(intake.id)
            self._require_open(await self._get(upload.owner, upload.id))
            raise _too_many_bytes(upload)
        return part

    async def complete(
        self, owner: str, upload_id: str, part_ids: Sequence[str], md5: str | None = None
    ) -> Upload:
        """Make the parts a file, in this order. The same call again gives the same file.

        `md5`: of the whole file, in hexadecimal. Raises NotFound, InvalidRequest, PayloadTooLarge,
        InsufficientStorage, Unavailable.
        """
        upload = await self._get(owner, upload_id)
        if (done := await self._completed(upload, part_ids)) is not None:
            return done
        self._require_open(upload)
        self._require_size(upload, part_ids, await self._database.read(get_parts(upload.id)))
        file_id = new_file_id()
        try:
            await self._put_together(file_id, upload, part_ids, md5)
            file = await self._files.described(
                file_id,
                upload.size_bytes,
                owner=owner,
                filename=upload.filename,
                purpose=upload.purpose,
                lifetime_s=upload.lifetime_s,
            )
            quota = self._files.limits.quota_bytes
            if not await self._database.write(complete_upload(upload, part_ids, file, quota)):
                raise InvalidRequest(f"Upload {upload.id} was closed meanwhile.", param="upload_id")
        except InvalidRequest:
            await self._blobs.forget(file_id)
            upload = await self._get(owner, upload_id)
            if (done := await self._completed(upload, part_ids)) is not None:
                return done
            self._require_open(upload)
            raise
        except NoRoom:
            await self._blobs.forget(file_id)
            raise no_room(self._files.limits.quota_bytes) from None
        except InsufficientStorage:
            await self._blobs.forget(file_id)
            raise
        await self._drop_parts(upload)
        return Upload(upload, "completed", file)

    async def cancel(self, owner: str, upload_id: str) -> Upload:
        """Close it and forget its parts; again if it is cancelled. Raises NotFound, InvalidRequest."""
        if not await self._database.write(cancel_upload(owner, upload_id)):
            upload = await self._get(owner, upload_id)
            if upload.status != "cancelled":
                self._require_open(upload)
        upload = await self._get(owner, upload_id)
        await self._drop_parts(upload)
        return Upload(upload, "cancelled")

    async def sweep(self) -> None:
        """Forget parts of closed and expired uploads, and uploads that ended a day ago."""
        before = self._now() - GRACE_S * MICROSECONDS
        while ids := await self._database.read(parts_to_drop(before, SWEEP_AT_ONCE)):
            await self._forget_parts(ids)
        await self._database.write(drop_uploads(self._now() - REMEMBERED_S * MICROSECONDS))

    async def _completed(self, upload: UploadRecord, part_ids: Sequence[str]) -> Upload | None:
        """What became of it when the very same was asked before: its reply may have been lost."""
        if upload.status != "completed" or upload.part_ids != tuple(part_ids) or upload.file_id is None:
            return None
        try:
            return Upload(upload, "completed", await self._files.get(upload.owner, upload.file_id))
        except NotFound:
            return None

    async def _put_together(
        self, file_id: str, upload: UploadRecord, part_ids: Sequence[str], md5: str | None
    ) -> None:
        blob = self._blobs.writer(file_id)
        digest = hashlib.md5(usedforsecurity=False)
        try:
            for part_id in part_ids:
                async with aclosing(self._blobs.stream(part_id)) as chunks:
                    async for data in chunks:
                        await blob.write(data)
                        if md5 is not None:
                            await self._blobs.run(partial(digest.update, data))
            if md5 is not None and digest.hexdigest() != md5.lower():
                raise InvalidRequest(
                    f"The md5 checksum of the uploaded bytes is {digest.hexdigest()}, not {md5}.", param="md5"
                )
            await blob.commit()
        except KeyError:
            raise InvalidRequest(
                f"A part of upload {upload.id} is no longer there.", param="part_ids"
            ) from None
        finally:
            await blob.discard()

    def _require_open(self, upload: UploadRecord) -> None:
        state = self._state(upload)
        if state != "pending":
            raise InvalidRequest(f"Upload {upload.id} is already {state}.", param="upload_id")

    def _require_size(
        self, upload: UploadRecord, part_ids: Sequence[str], parts: Sequence[PartRecord]
    ) -> None:
        sizes = {part.id: part.size_bytes for part in parts}
        unknown = next((part_id for part_id in part_ids if part_id not in sizes), None)
        if unknown is not None:
            raise InvalidRequest(f"Part {unknown} not found in upload {upload.id}.", param="part_ids")
        if len(set(part_ids)) < len(part_ids):
            raise InvalidRequest("A part is named more than once.", param="part_ids")
        total = sum(sizes[part_id] for part_id in part_ids)
        if total != upload.size_bytes:
            raise InvalidRequest(
                f"The number of bytes uploaded ({total}) does not match the number of bytes that the upload "
                f"was created with ({upload.size_bytes}).",
                param="part_ids",
            )

    async def _drop_parts(self, upload: UploadRecord) -> None:
        try:
            await self._forget_parts([part.id for part in await self._database.read(get_parts(upload.id))])
        except LlmaticError:
            return  # the sweep will find them

    async def _forget_parts(self, ids: Sequence[str]) -> None:
        """Blobs first: what the database does not know is found much later."""
        for start in range(0, len(ids), SWEEP_AT_ONCE):
            some = ids[start : start + SWEEP_AT_ONCE]
            await asyncio.gather(*map(self._blobs.forget, some))
            await self._database.write(drop_parts(some))

    def _state(self, upload: UploadRecord) -> State:
        if upload.status == "pending" and not upload.is_open(self._now()):
            return "expired"
        return upload.status

    async def _get(self, owner: str, upload_id: str) -> UploadRecord:
        upload = await self._database.read(get_upload(owner, upload_id))
        if upload is None:
            raise NotFound(f"No such Upload object: {upload_id}", param="upload_id")
        return upload

    def _now(self) -> int:
        return int(self._clock() * MICROSECONDS)


def _too_many_bytes(upload: UploadRecord) -> InvalidRequest:
    return InvalidRequest(
        f"The parts hold more than the {upload.size_bytes} bytes that the upload was created with.",
        param="data",
    )
