"""Opens what outlives the server: the database, the blobs, and the services that own them.

Owns the defaults of places and the secret's file. Blocks while it opens.
"""

import asyncio
import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from llmatic.config import AuthSettings, StoreSettings
from llmatic.core.errors import ConfigError, Unavailable
from llmatic.services.async_blobs import AsyncBlobs
from llmatic.services.background import Background
from llmatic.services.conversations import Conversations
from llmatic.services.files import FileLimits, Files
from llmatic.services.interactions import Interactions
from llmatic.services.keys import Keys
from llmatic.services.responses import ResponseLimits, Responses
from llmatic.services.runs import Runs
from llmatic.services.sweeping import Sweeper
from llmatic.services.uploads import Uploads
from llmatic.store.blobs import Blobs
from llmatic.store.database import Database, open_database
from llmatic.store.secret_marks import get_mark, put_mark

DATABASE_FILE: Final = "llmatic.db"
BLOB_FOLDER: Final = "blobs"
SECRET_FILE: Final = "secret"
SECRET_BYTES: Final = 32

_log = structlog.get_logger("llmatic.store")


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that is stored, by kind."""

    database: Database
    blobs: Blobs
    keys: Keys
    files: Files
    uploads: Uploads
    sweeper: Sweeper
    async_blobs: AsyncBlobs
    responses: Responses
    conversations: Conversations
    background: Background
    runs: Runs
    interactions: Interactions

    async def close(self) -> None:
        """Finish what was begun. Idempotent."""
        await self.background.close()
        await self.interactions.close()
        await asyncio.to_thread(self.async_blobs.close)
        await self.keys.close()
        await self.database.close()


def open_stored(store: StoreSettings, auth: AuthSettings, environ: Mapping[str, str] = os.environ) -> Stored:
    """Made where it is not there, and brought to the newest schema. Raises ConfigError."""
    folder = Path(store.folder) if store.folder is not None else data_dir(environ)
    database, keys = open_keys(store, auth, environ)
    blobs = open_blobs(store.blobs or str(folder / BLOB_FOLDER))
    async_blobs = AsyncBlobs(blobs)
    files = Files(database, async_blobs, FileLimits(store.max_file_bytes, store.quota_bytes))
    uploads = Uploads(database, async_blobs, files)
    kept = ResponseLimits(store.response_days, store.max_conversation_items)
    responses = Responses(database, kept)
    return Stored(
        database,
        blobs,
        keys,
        files,
        uploads,
        Sweeper(database, async_blobs, files, uploads),
        async_blobs,
        responses=responses,
        conversations=Conversations(database, kept.max_items),
        background=Background(responses),
        runs=Runs(database),
        interactions=Interactions(database),
    )


def open_keys(
    store: StoreSettings,
    auth: AuthSettings,
    environ: Mapping[str, str] = os.environ,
    *,
    takes_secret: bool = False,
) -> tuple[Database, Keys]:
    """Only the database and its API keys. Raises as `open_stored`.

    `takes_secret`: from now on the database's keys are made with this secret, whatever it was before.
    """
    folder = Path(store.folder) if store.folder is not None else data_dir(environ)
    secret = auth.secret.encode() if auth.secret is not None else _secret(folder / SECRET_FILE)
    database = open_database(store.url or f"sqlite:///{folder / DATABASE_FILE}")
    try:
        require_mark(database, secret, replacing=takes_secret)
    except BaseException:
        database.close_now()
        raise
    return database, Keys(database, secret)


def require_mark(database: Database, secret: bytes, *, replacing: bool = False) -> None:
    """Raises ConfigError if the keys of the database are made with another secret; blocks."""
    mine = hmac.digest(secret, b"the mark of an llmatic secret", hashlib.sha256).hex()
    found = database.read_now(get_mark)
    if found is None or (replacing and found != mine):
        found = database.write_now(put_mark(mine, replacing=replacing))
    if found != mine:
        raise ConfigError(
            "The database's keys were made with another secret than the one here, and would open nothing. "
            "Give all servers of a database the same auth.secret (LLMATIC_AUTH__SECRET), or the same file "
            "`secret`. If it is lost, `llmatic keys take-secret` gives up the keys that were made with it.",
            param="auth.secret",
        )


def open_blobs(place: str) -> Blobs:
    """The folder or bucket that `place` names. Raises ConfigError."""
    if place.startswith("s3://"):
        from llmatic.store.s3_blobs import S3Blobs

        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigError("store.blobs: write s3://bucket or s3://bucket/prefix")
        blobs = S3Blobs(bucket, prefix)
        try:
            blobs.require_bucket()
        except Unavailable as error:
            # Models can be served meanwhile, and files as soon as it is back.
            _log.warning("bucket_out_of_reach", bucket=bucket, why=error.message)
        return blobs
    from llmatic.store.local_blobs import LocalBlobs

    return LocalBlobs(Path(place))


def data_dir(environ: Mapping[str, str]) -> Path:
    """LLMATIC_DATA_DIR, else llmatic below the user's data directory."""
    if own := environ.get("LLMATIC_DATA_DIR", "").strip():
        return Path(own).expanduser()
    if shared := environ.get("XDG_DATA_HOME", "").strip():
        return Path(shared) / "llmatic"
    return Path.home() / ".local" / "share" / "llmatic"


def _secret(path: Path) -> bytes:
    """The file's content; made by whoever comes first. Raises ConfigError."""
    mine = path.with_name(f"{path.name}-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            with os.fdopen(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(mine, path)  # whole, or not there
            mine.unlink()
        found = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"The secret {path} cannot be read or made: {error.strerror}.") from None
    if len(found) < SECRET_BYTES:
        raise ConfigError(f"The secret {path} is cut short; delete it, and make all API keys anew.")
    return found
