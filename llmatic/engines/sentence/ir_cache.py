"""Converted models on disk, so that the next start needs neither torch nor transformers.

Owns the folders `openvino/<key>` below the cache directory: their names, their completeness and their sums.
An entry is written beside its place and renamed, so that it is whole or not there; a lock keeps two workers
from converting the same model at once. Never converts. Runs where the model is loaded.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmatic.engines.sentence.computing import Shape

FORMAT = 1
LIBRARIES = ("openvino", "torch", "transformers", "sentence-transformers", "tokenizers")
SMALL_BYTES = 1 << 20
_MODEL, _WEIGHTS, _META = "model.xml", "model.bin", "meta.json"
_IGNORED = (".md", ".png", ".onnx", ".h5", ".msgpack", ".ot", ".gitattributes", ".pyc", ".py")


@dataclass(frozen=True, slots=True)
class Entry:
    """A converted model: the path of its IR, and what it takes and gives."""

    model: Path
    shape: Shape


def key_of(folder: Path, task: str, form: str) -> str:
    """What the conversion of a folder depends on: its files, the libraries, the task and the form of weights.

    Large files are told apart by size and time of change, small ones by content.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, task, form, [_version(name) for name in LIBRARIES]]).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name.startswith(".") or path.suffix in _IGNORED:
            continue
        state = path.stat()
        is_small = state.st_size <= SMALL_BYTES
        known = _sum(path) if is_small else f"{state.st_size} {state.st_mtime_ns}"
        digest.update(f"{path.relative_to(folder)}\0{known}\0".encode())
    return digest.hexdigest()[:32]


def load_entry(cache: Path, key: str) -> Entry | None:
    """The entry, if it is there and whole; a damaged one is removed."""
    place = cache / key
    try:
        meta = json.loads((place / _META).read_text(encoding="utf-8"))
        fine = all(_sum(place / name) == total for name, total in meta["sums"].items())
        shape = Shape(**meta["shape"] | {"columns": tuple(meta["shape"]["columns"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        fine = False
    if fine:
        return Entry(place / _MODEL, shape)
    shutil.rmtree(place, ignore_errors=True)
    return None


def store_entry(cache: Path, key: str, shape: Shape, save: Callable[[Path], Any]) -> Entry:
    """Write an entry; `save` writes the IR to the path that it is given. Raises OSError."""
    place, part = cache / key, cache / f"{key}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        save(part / _MODEL)
        sums = {name: _sum(part / name) for name in (_MODEL, _WEIGHTS)}
        meta = {"sums": sums, "shape": asdict(shape)}
        (part / _META).write_text(json.dumps(meta), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Entry(place / _MODEL, shape)


@contextmanager
def locked(cache: Path, key: str) -> Iterator[None]:
    """Alone with the entry, among all processes of this machine. Raises OSError if there can be no lock."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key}.lock").open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
