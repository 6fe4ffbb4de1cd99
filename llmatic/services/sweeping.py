"""Forgets what is over: expired files, parts of uploads that ended, blobs that nobody knows.

Owns when that is done, and the care that only this database's own blobs are taken for nobody's. Event loop's
thread; blobs are listed and deleted in others.
"""

import asyncio
import secrets
from itertools import islice
from typing import Final

import structlog

from llmatic.core.errors import LlmaticError
from llmatic.services.async_blobs import AsyncBlobs
from llmatic.services.files import FILE_PREFIX, Files
from llmatic.services.uploads import PART_PREFIX, Uploads
from llmatic.store.blobs import Blobs
from llmatic.store.database import Database
from llmatic.store.files import known_files
from llmatic.store.uploads import known_parts, store_mark

SWEEP_EVERY_S: Final = 60.0
# In rounds. Listing the blobs of a bucket takes a request for every thousand; what is being written, one.
TIDY_EVERY: Final = 360
BURY_EVERY: Final = 10
LEFTOVER_AGE_S: Final = 24 * 3600.0
AT_ONCE: Final = 500
MARK_KEY: Final = "store-mark"

_log = structlog.get_logger("llmatic.files")


class Sweeper:
    """What is done in the background for as long as the server runs."""

    def __init__(self, database: Database, blobs: AsyncBlobs, files: Files, uploads: Uploads) -> None:
        self._database = database
        self._blobs = blobs
        self._files = files
        self._uploads = uploads

    async def run(self) -> None:
        """Sweep at once and every minute, remove what the dead left every ten minutes, and tidy up every six
        hours. Never returns; cancel it.
        """
        n_rounds = 0
        while True:
            try:
                await self._files.sweep()
                await self._uploads.sweep()
                if n_rounds % TIDY_EVERY == 0:
                    await self.tidy()
                elif n_rounds % BURY_EVERY == 0:
                    await self._bury(LEFTOVER_AGE_S)
            except LlmaticError as error:
                _log.warning("sweep_failed", why=error.message)
            except Exception:
                _log.exception("sweep_failed")
            n_rounds += 1
            await asyncio.sleep(SWEEP_EVERY_S)

    async def tidy(self, age_s: float = LEFTOVER_AGE_S) -> int:
        """Remove what died with its writer, and files' and parts' blobs without a record; how many of those.

        Only what is older than `age_s`: a younger blob's record may still be on its way.
        """
        await self._bury(age_s)
        if not await self._are_ours():
            _log.error(
                "blobs_not_swept", why="The blobs belong to another database; give each its own place."
            )
            return 0
        keys = self._blobs.blobs.older_than(age_s)
        n_gone = 0
        while some := await self._blobs.run(lambda: list(islice(keys, AT_ONCE))):
            files = {key for key in some if key.startswith(FILE_PREFIX)}
            parts = {key for key in some if key.startswith(PART_PREFIX)}
            files -= await self._database.read(known_files(files))
            parts -= await self._database.read(known_parts(parts))
            for key in files | parts:
                await self._blobs.forget(key)
            n_gone += len(files) + len(parts)
        if n_gone:
            _log.info("blobs_swept", n=n_gone)
        return n_gone

    async def _bury(self, age_s: float) -> None:
        await self._blobs.run(lambda: self._blobs.blobs.tidy(age_s))

    async def _are_ours(self) -> bool:
        """Whether the place bears this database's mark; it gets it if it bears none."""
        mark = (await self._database.write(store_mark(secrets.token_hex(16)))).encode()
        return await self._blobs.run(lambda: _found_mark(self._blobs.blobs, mark)) == mark


def _found_mark(blobs: Blobs, fresh: bytes) -> bytes:
    try:
        return b"".join(blobs.read(MARK_KEY))
    except KeyError:
        writer = blobs.create(MARK_KEY)
        try:
            writer.write(fresh)
            writer.commit()
        finally:
            writer.discard()
        return fresh
