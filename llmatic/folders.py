"""From a model's `source:` to the folder on disk, for engines whose models are several files.

Owns what `package:NAME/folder`, `hf:org/repo` and plain paths mean where a folder is wanted, and which files
of a repository are needed. Never imports the package that carries a model and never opens a model file but to
check it. `locate_folder` may download and then blocks for long: call it in the worker process. `folder_path`
never touches the network and may be called anywhere.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.hub import HubFile, Progress, StderrBar, download, list_files
from llmatic.sources import cache_dir, in_package

MANIFEST = ".llmatic-folder.json"
_REPO = re.compile(
    r"([A-Za-z0-9_][A-Za-z0-9_.-]*)/([A-Za-z0-9_][A-Za-z0-9_.-]*)(?:@([A-Za-z0-9_][A-Za-z0-9_.-]*))?\Z"
)
# What sentence-transformers and transformers read; a numbered folder is one module of a model.
_NEEDED = re.compile(r"(?:[0-9]+_[A-Za-z0-9]+/)?(?!.*\.bin\.)[A-Za-z0-9_.-]+\.(?:json|txt|model|jinja)\Z")
_WEIGHTS = re.compile(r"(?:[0-9]+_[A-Za-z0-9]+/)?model(?:-[0-9]+-of-[0-9]+)?\.safetensors\Z")


@dataclass(frozen=True, slots=True)
class LocatedFolder:
    """Where a model's folder is or will be. `is_remote`: it is filled by a download."""

    path: Path
    is_remote: bool = False

    @property
    def is_present(self) -> bool:
        """True if the folder is on disk; of a download, with every file that was to come."""
        if not self.is_remote:
            return self.path.is_dir()
        return all(path.is_file() for path in self._promised() or [self.path / MANIFEST])

    def files(self) -> tuple[Path, ...]:
        """The model's files, sorted; none if the folder is not there."""
        if self.is_remote:
            return tuple(path for path in self._promised() if path.is_file())
        return tuple(sorted(path for path in self.path.rglob("*") if path.is_file()))

    def _promised(self) -> list[Path]:
        try:
            names: list[str] = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError):
            return []
        return [self.path.joinpath(*name.split("/")) for name in names]


def locate_folder(
    spec: ModelSpec, *, environ: Mapping[str, str] = os.environ, on_progress: Progress | None = None
) -> Path:
    """The model's folder, downloaded first if it comes from a hub and is not whole here yet.

    `on_progress` gets a fraction and a word; without it a bar is drawn on stderr. Raises ConfigError if
    there is no such folder, Unavailable if the hub cannot be reached.
    """
    located = folder_path(spec, environ)
    if not located.is_present:
        if not located.is_remote:
            raise ConfigError(f"Model '{spec.id}': the folder {located.path} does not exist.", param="source")
        _fetch(spec, located.path, on_progress or StderrBar())
    return located.path


def folder_path(spec: ModelSpec, environ: Mapping[str, str] = os.environ) -> LocatedFolder:
    """Where the model's folder is or will be.

    Raises ConfigError if `source` is malformed or the package that carries it is not installed.
    """
    kind, _, rest = spec.source.partition(":")
    if kind == "package":
        return LocatedFolder(in_package(spec.id, rest))
    if kind == "hf":
        org, repo, revision = _repository(spec.id, rest)
        folder = cache_dir(environ).joinpath("hub", org, repo, revision or "main")
        return LocatedFolder(folder, is_remote=True)
    if kind == "builtin":
        raise ConfigError(
            f"Model '{spec.id}': the engine '{spec.engine}' reads folders, and '{spec.source}' is a file.",
            param="source",
        )
    return LocatedFolder(Path(spec.source).expanduser())


def check_sha256(folder: Path, wanted: Mapping[str, str], model_id: str) -> None:
    """Raise ConfigError unless every named file of the folder has the SHA-256, in hexadecimal, wanted."""
    for name, digest in wanted.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(
                f"Model '{model_id}': {path} cannot be read: {error.strerror}.", param="sha256"
            ) from error
        if found != digest.lower():
            raise ConfigError(
                f"Model '{model_id}': the SHA-256 of {path} is {found}, and {digest} is expected: it is "
                "another version, or damaged.",
                param="sha256",
            )


def needed_files(names: Iterable[str]) -> list[str]:
    """Those files of a repository that a model is loaded from: settings, vocabulary, safetensors weights."""
    return [name for name in names if _NEEDED.match(name) or _WEIGHTS.match(name)]


def _fetch(spec: ModelSpec, folder: Path, report: Progress) -> None:
    """Download what is missing and write down what belongs to the model, last of all."""
    org, repo, revision = _repository(spec.id, spec.source.partition(":")[2])
    name = f"{org}/{repo}"
    listing = list_files(name, revision)
    wanted = needed_files(listing.sizes)
    if not any(_WEIGHTS.match(file) for file in wanted):
        raise ConfigError(
            f"Model '{spec.id}': hf:{name} has no weights in the safetensors format, and no other is read.",
            param="source",
        )
    sizes = [listing.sizes[file] for file in wanted]
    for file, size, done in zip(wanted, sizes, accumulate(sizes, initial=0), strict=False):
        part = _Part(report, f"downloading {name}", done, size, sum(sizes))
        download(HubFile(name, file, listing.commit), folder.joinpath(*file.split("/")), on_progress=part)
    manifest = folder / MANIFEST
    partial = manifest.with_name(f"{MANIFEST}.{os.getpid()}")
    partial.write_text(json.dumps({"commit": listing.commit, "files": wanted}), encoding="utf-8")
    partial.replace(manifest)


@dataclass(frozen=True, slots=True)
class _Part:
    """One file's progress as a share of all; sizes in bytes, `done` before this file."""

    report: Progress
    what: str
    done: int
    size: int
    total: int

    def __call__(self, fraction: float | None, _what: str) -> None:
        self.report((self.done + self.size * (fraction or 0.0)) / max(1, self.total), self.what)


def _repository(model_id: str, rest: str) -> tuple[str, str, str | None]:
    match = _REPO.match(rest)
    if match is None:
        raise ConfigError(
            f"Model '{model_id}': 'hf:{rest}' is no repository on a hub; write hf:org/repo or "
            "hf:org/repo@revision.",
            param="source",
        )
    return match[1], match[2], match[3]
