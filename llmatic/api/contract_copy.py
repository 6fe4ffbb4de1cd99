"""The contract as parsed, kept as JSON between starts.

Reading the YAML takes a hundred times as long as reading the same as JSON, and leaves five times as much
memory behind. Owns the one file that holds the copy, with digests of what it was made of and of itself, so
that an older or damaged one is made anew. Blocks; at the start only.
"""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

COPY_FILE: Final = "openapi.json"


def parsed(raw: bytes, folder: Path | None) -> dict[str, Any]:
    """The document in `raw`, by way of the copy in `folder` if there is one. Raises YAMLError.

    A copy that cannot be read or written is done without.
    """
    if folder is None:
        return _from_yaml(raw)
    copy = folder / COPY_FILE
    found = _kept(copy, raw)
    if found is None:
        found = _from_yaml(raw)
        with contextlib.suppress(OSError):
            _keep(copy, raw, orjson.dumps(found))
    return found


def _from_yaml(raw: bytes) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return document


def _kept(copy: Path, raw: bytes) -> dict[str, Any] | None:
    try:
        head, _, body = copy.read_bytes().partition(b"\n")
    except OSError:
        return None
    if head != _head(raw, body):
        return None
    document: dict[str, Any] = orjson.loads(body)
    return document


def _keep(copy: Path, raw: bytes, body: bytes) -> None:
    """Whole, or not there: others may start at the same time."""
    mine = copy.with_name(f"{copy.name}-{secrets.token_hex(8)}")
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_head(raw, body) + b"\n" + body)
        mine.replace(copy)
    finally:
        mine.unlink(missing_ok=True)


def _head(raw: bytes, body: bytes) -> bytes:
    return f"{hashlib.sha256(raw).hexdigest()} {hashlib.sha256(body).hexdigest()}".encode()
