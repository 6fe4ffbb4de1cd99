"""Downloads of model files from a Hugging Face hub, and what a repository holds.

Owns one download: where it stopped last time it goes on, even in another process; what arrives is checked
against the hub's own hash before it gets its name. The only import of huggingface_hub, which finds the
hub (HF_ENDPOINT), the token (HF_TOKEN) and the proxy. Blocks; any thread; two processes wait for each other.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from llmatic.core.errors import ConfigError, LlmaticError, Unavailable

Progress = Callable[[float | None, str], None]
CHUNK_BYTES = 1 << 20
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a hub's repository; `revision` None is the repository's main branch."""

    repo: str
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}/{self.name}"


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit: the size in bytes of every file by its name."""

    commit: str
    sizes: Mapping[str, int]


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Broken(Exception):
    """The connection ended early; another attempt goes on from there."""


def download(
    file: HubFile,
    target: Path,
    *,
    on_progress: Progress | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch `file` and put it at `target`, complete and checked, or not at all.

    `pause` waits between attempts. Raises ConfigError if the hub has no such file or it needs a token,
    Unavailable if the hub cannot be reached, the disk is full or the file arrives damaged.
    """
    report = on_progress or StderrBar()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(target.name + ".lock")):
        if target.is_file():  # another process was quicker
            return
        url, etag, size = _look_up(file)
        part = target.with_name(f"{target.name}.{etag[:16] or 'unknown'}.part")
        _check_room(file, part, size)
        for attempt in range(ATTEMPTS):
            try:
                _fetch(file, url, part, size, report)
                break
            except _Broken as error:
                if attempt == ATTEMPTS - 1:
                    raise Unavailable(
                        f"The download of {file} broke off: {error}. Start again to go on."
                    ) from error
                pause(2.0**attempt)
        _check_hash(file, part, etag, size)
        part.replace(target)


def list_files(repo: str, revision: str | None = None) -> Listing:
    """What `repo` holds at `revision`; None: its main branch.

    Raises ConfigError if there is no such repository or it needs a token, Unavailable if the hub cannot be
    reached.
    """
    _import_hub()
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    except Exception as error:
        raise _translated(repo, error) from error
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return Listing(info.sha or revision or "main", sizes)


class StderrBar:
    """A bar that redraws itself on a terminal, and a line for each tenth elsewhere."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stderr
        self._shown = -1

    def __call__(self, fraction: float | None, what: str) -> None:
        """Show that `what` has come to `fraction` of its end."""
        percent = int(100 * (fraction or 0.0))
        live = self._out.isatty()
        step = percent if live else percent // 10
        if step == self._shown:
            return
        self._shown = step
        if live:
            bar = "█" * (percent * 30 // 100)
            end = "\n" if percent == 100 else ""
            self._out.write(f"\r{what} [{bar:<30}] {percent:3d} %{end}")
        else:
            self._out.write(f"{what}: {percent} %\n")
        self._out.flush()


def _look_up(file: HubFile) -> tuple[str, str, int | None]:
    """(address, hash or "", size) as the hub tells them."""
    _import_hub()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        meta = get_hf_file_metadata(hf_hub_url(file.repo, file.name, revision=file.revision))
        pinned = meta.commit_hash or file.revision
        return hf_hub_url(file.repo, file.name, revision=pinned), meta.etag or "", meta.size
    except Exception as error:
        raise _translated(file, error) from error


def _import_hub() -> None:
    """Raise ConfigError if the hub's library is not there."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # a server at home tells nobody what it runs on
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ConfigError("hf: sources need the package huggingface_hub; install it with pip.") from error


def _translated(file: HubFile | str, error: Exception) -> LlmaticError:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ConfigError(f"{file}: the repository is gated; accept its terms on the hub and set HF_TOKEN.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ConfigError(
            f"{file}: no such repository on the hub, or it is private and HF_TOKEN is not set."
        )
    if isinstance(error, errors.RevisionNotFoundError | errors.EntryNotFoundError):
        return ConfigError(f"{file}: the repository has no such file or revision.")
    if isinstance(error, errors.HFValidationError):
        return ConfigError(f"{file}: {error}")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Unavailable(f"{file} is not on this disk, and HF_HUB_OFFLINE forbids to download it.")
    words = str(error).strip().splitlines() or [type(error).__name__]
    return Unavailable(f"{file} is not on this disk, and the hub cannot be reached: {words[0]}")


def _fetch(file: HubFile, url: str, part: Path, size: int | None, report: Progress) -> None:
    """Append what is missing to `part`. Raises _Broken if it did not all come."""
    from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

    have = part.stat().st_size if part.exists() else 0
    if size is not None and have >= size > 0:
        return
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as reply:
            if reply.status_code not in (200, 206):
                raise _Broken(f"the hub answered {reply.status_code}")
            resumed = reply.status_code == 206
            _write(reply.iter_raw(), part, have if resumed else 0, size, _labelled(report, file))
    except (_Broken, LlmaticError):
        raise
    except OSError as error:
        raise Unavailable(f"{part} cannot be written: {error.strerror or error}") from error
    except Exception as error:
        raise _Broken(str(error) or type(error).__name__) from error
    if size is not None and part.stat().st_size < size:
        raise _Broken(f"{part.stat().st_size} of {size} bytes came")


def _labelled(report: Progress, file: HubFile) -> Callable[[float | None], None]:
    what = f"downloading {file.name}"
    return lambda fraction: report(fraction, what)


def _write(
    chunks: Iterator[bytes], part: Path, done: int, size: int | None, report: Callable[[float | None], None]
) -> None:
    with part.open("ab" if done else "wb") as out:
        for chunk in chunks:
            out.write(chunk)
            done += len(chunk)
            report(min(done / size, 1.0) if size else None)


def _check_hash(file: HubFile, part: Path, etag: str, size: int | None) -> None:
    """Large files carry their SHA-256 as etag, small ones git's SHA-1; anything else only has its size."""
    found = part.stat().st_size
    digest: _Hash | None = None
    if len(etag) == 64:
        digest = hashlib.sha256()
    elif len(etag) == 40:
        digest = hashlib.sha1(b"blob %d\0" % found, usedforsecurity=False)
    right = size is None or found == size
    if right and digest is not None:
        with part.open("rb") as file_object:
            while chunk := file_object.read(CHUNK_BYTES):
                digest.update(chunk)
        right = digest.hexdigest() == etag.lower()
    if not right:
        part.unlink()
        raise Unavailable(
            f"{file} arrived damaged: its checksum is not the hub's. It was removed; try again."
        )


def _check_room(file: HubFile, part: Path, size: int | None) -> None:
    missing = (size or 0) - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise Unavailable(f"{file} needs {missing} bytes more in {part.parent}, and {free} are free.")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


__all__ = ["HubFile", "Listing", "Progress", "StderrBar", "download", "list_files"]
