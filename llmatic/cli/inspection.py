"""What can be said of a configured model without loading it.

Owns the facts that `llmatic models` prints, as plain JSON values. Reads file headers; never imports a
model library, never downloads, never starts a process.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from llmatic.cli.companions import check_adapters, check_draft, check_projector
from llmatic.cli.encoders import check_folder, check_gguf_encoder
from llmatic.cli.tables import size
from llmatic.config import AdapterSpec, ModelSpec, load_settings
from llmatic.core.errors import ConfigError
from llmatic.engines import resolve_engine
from llmatic.engines.installed import served
from llmatic.folders import LocatedFolder, folder_path
from llmatic.gguf_header import GgufHeader, read_header
from llmatic.registry import Registry
from llmatic.services.capabilities import KnownCapabilities
from llmatic.sources import Located, adapter_path, source_path


def open_registry(config: Path | None) -> Registry:
    """The registry of the configuration, as `serve` would have it. Raises ConfigError."""
    models, _ = served(load_settings(config, os.environ).models)
    return Registry(models, started=int(time.time()))


def overview(spec: ModelSpec, known: KnownCapabilities) -> dict[str, Any]:
    """One line of `models list`; a malformed source counts as not here, a base's files as the base's."""
    files = [_located(spec, adapter) for adapter in spec.adapters]
    if spec.base is None:
        files.insert(0, _located(spec))
    return {
        "id": spec.id,
        "engine": spec.engine,
        "source": spec.source or None,
        "size": size(_size_bytes(files)) if files else None,
        "here": all(located is not None and located.is_present for located in files),
        "preload": spec.preload,
        "can": abilities(asdict(known.of(spec))),
        "aliases": list(spec.aliases),
        "base": spec.base,
        "adapters": [Path(adapter.path).name for adapter in spec.adapters],
        "draft": spec.draft,
    }


def effective(spec: ModelSpec, registry: Registry) -> dict[str, Any]:
    """Every value of the specification under its configuration key, and the file it stands for.

    A model with a base shows the base's values where it has none of its own.
    """
    capabilities = asdict(KnownCapabilities(registry).of(spec))
    if spec.base is not None:
        own = {name: getattr(spec, name) for name in ("id", "base", "aliases", "adapters", "sampling")}
        spec = replace(registry.resolve(spec.base), **own)
    values = {field.name.removesuffix("_s"): getattr(spec, field.name) for field in fields(spec)}
    del values["draft_source"]
    values["aliases"] = list(spec.aliases)
    values["adapters"] = [{"path": item.path, "scale": item.scale} for item in spec.adapters]
    values["sampling"] = dict(spec.sampling)
    values["options"] = dict(spec.options)
    values["keep_alive"] = "never" if spec.keep_alive_s is None else spec.keep_alive_s
    for key in ("context", "threads", "gpu_layers"):
        values[key] = "engine's choice" if values[key] is None else values[key]
    if capabilities["completion"] is not False:
        values["chat_template"] = spec.chat_template or "the model's own"
        values["chat_format"] = spec.chat_format or "found from the template"
    located = _located(spec)
    file = None if located is None else str(located.path)
    return {**values, "file": file, "capabilities": capabilities}


def abilities(capabilities: dict[str, Any]) -> list[str]:
    """What a model is known to be able to do, in words."""
    return [name for name, value in capabilities.items() if value is True]


def check(spec: ModelSpec, registry: Registry) -> dict[str, Any]:
    """{id, ok, facts, problems, notes}: whether the model could be loaded, as far as its files tell.

    Of a model with a base only what it adds is looked at; the base has a report of its own.
    """
    report: dict[str, Any] = {"id": spec.id, "ok": False, "facts": {}, "problems": [], "notes": []}
    try:
        resolve_engine(spec.engine)
        if spec.base is not None:
            report["facts"]["base"] = spec.base
        elif spec.engine == "llama":
            _check_llama(spec, registry, report)
        elif spec.engine == "sentence":
            can = KnownCapabilities(registry).of(spec)
            check_folder(spec, can, report)
            report["facts"]["can"] = abilities(asdict(can))
        else:
            report["notes"].append(f"the engine '{spec.engine}' checks its own source when it loads")
        if spec.engine not in ("llama", "sentence") and spec.adapters:
            report["notes"].append(f"the engine '{spec.engine}' must know adapters, or it refuses requests")
        elif spec.adapters:
            check_adapters(spec, registry.resolve(spec.base or spec.id), report)
        if spec.draft is not None:
            check_draft(spec, registry.resolve(spec.draft), report)
    except ConfigError as error:
        report["problems"].append(error.message)
    report["ok"] = not report["problems"]
    return report


def _check_llama(spec: ModelSpec, registry: Registry, report: dict[str, Any]) -> None:
    from llmatic.engines.llama.encoder_options import task_of
    from llmatic.engines.llama.options import read_options

    located = source_path(spec)
    first = read_header(located.path) if located.path.is_file() else None
    is_encoder = "task" in spec.options if first is None else task_of(spec, first) is not None
    can = KnownCapabilities(registry).of(spec)
    if is_encoder:
        check_gguf_encoder(spec, can, report)
    else:
        read_options(spec)
    report["facts"]["file"] = str(located.path)
    missing = [part for part in located.parts if not part.is_file()]
    if missing and located.remote:
        report["notes"].append("not downloaded yet; that happens when the model is first loaded")
        return
    if missing:
        raise ConfigError(f"the file {missing[0]} does not exist")
    headers = [read_header(part) for part in located.parts]
    report["facts"] |= _facts(headers)
    report["facts"]["can"] = abilities(asdict(can))
    if not headers[0].n_weights:
        report["problems"].append("the file holds no weights, only a vocabulary")
    if headers[0].n_vocab is None:
        report["problems"].append("the file holds no vocabulary")
    if not is_encoder:
        _check_template(spec, headers[0], report)
    if spec.projector is not None:
        check_projector(spec, report)


def _facts(headers: list[GgufHeader]) -> dict[str, Any]:
    first = headers[0]
    return {
        "name": first.name or None,
        "architecture": first.architecture,
        "quantization": first.quantization,
        "weights": sum(header.n_weights for header in headers),
        "size": size(sum(header.size_bytes for header in headers)),
        "trained context": first.n_context_train,
        "vocabulary": first.n_vocab,
        "gguf version": first.version,
    }


def _check_template(spec: ModelSpec, header: GgufHeader, report: dict[str, Any]) -> None:
    """Compile the template that chats would be rendered with."""
    from llmatic.engines.chat import ChatTemplate, template_source
    from llmatic.engines.chat.detection import family_named, find_family

    source = template_source(spec.chat_template) if spec.chat_template else header.chat_template
    report["facts"]["chat template"] = "compiles" if source else "none"
    if source is None:
        report["notes"].append("no chat template: /v1/completions works, /v1/chat/completions is refused")
        return
    try:
        ChatTemplate(source, bos="", eos="")
    except ConfigError:
        report["facts"]["chat template"] = "does not compile"
        raise
    family = family_named(spec.chat_format, source) if spec.chat_format else find_family(source)
    report["facts"]["chat format"] = family.name


def _located(spec: ModelSpec, adapter: AdapterSpec | None = None) -> Located | LocatedFolder | None:
    try:
        if adapter is not None:
            return adapter_path(spec, adapter)
        return folder_path(spec) if spec.engine == "sentence" else source_path(spec)
    except ConfigError:
        return None


def _size_bytes(files: Sequence[Located | LocatedFolder | None]) -> int | None:
    """All files together; None if one is not here."""
    if any(located is None or not located.is_present for located in files):
        return None
    return sum(part.stat().st_size for located in files if located for part in _parts(located))


def _parts(located: Located | LocatedFolder) -> tuple[Path, ...]:
    return located.files() if isinstance(located, LocatedFolder) else located.parts
