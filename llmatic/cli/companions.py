"""Whether a model's adapters, its projector and its draft fit it, as far as their files tell.

Owns these checks of `llmatic models check`. Reads file headers; never loads or downloads anything.
"""

from dataclasses import replace
from typing import Any

from llmatic.config import AdapterSpec, ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.gguf_header import GgufHeader, read_header
from llmatic.sources import Located, adapter_path, source_path

VOCABULARY_PADDING = (
    128  # by so many unused tokens at the end two vocabularies may differ (llama.cpp, common)
)


def check_adapters(spec: ModelSpec, base: ModelSpec, report: dict[str, Any]) -> None:
    """Add what there is to say of each adapter of `spec` to `report`; `base` is what they are applied to."""
    model = _header_of(base)
    for adapter in spec.adapters:
        try:
            _check_adapter(spec, adapter, model, report)
        except ConfigError as error:
            report["problems"].append(f"adapter: {error.message}")
    report["facts"]["adapters"] = [f"{item.path} × {item.scale:g}" for item in spec.adapters]


def _check_adapter(
    spec: ModelSpec, adapter: AdapterSpec, model: GgufHeader | None, report: dict[str, Any]
) -> None:
    located = adapter_path(spec, adapter)
    if not located.is_present and located.remote:
        report["notes"].append(
            f"the adapter {adapter.path} is not downloaded yet; its first request does that"
        )
        return
    if not located.is_present:
        raise ConfigError(f"the file {located.path} does not exist")
    header = read_header(located.path)
    if header.kind != "adapter":
        raise ConfigError(f"{located.path} is no adapter but a {header.kind}")
    if header.adapter_type != "lora":
        raise ConfigError(
            f"{located.path} is an adapter of type {header.adapter_type}; only lora can be used"
        )
    if model is not None and header.architecture != model.architecture:
        raise ConfigError(
            f"{located.path} is made for models of architecture {header.architecture}, "
            f"and this one is of architecture {model.architecture}"
        )


def check_projector(spec: ModelSpec, report: dict[str, Any]) -> None:
    """Add what there is to say of the file that makes `spec` see or hear to `report`. Raises ConfigError."""
    assert spec.projector is not None
    located = source_path(replace(spec, source=spec.projector))
    report["facts"]["projector"] = str(located.path)
    if not located.is_present and located.remote:
        report["notes"].append("the projector is not downloaded yet; that happens when the model is loaded")
        return
    if not located.is_present:
        raise ConfigError(f"the projector's file {located.path} does not exist")
    header = read_header(located.path)
    if not (header.has_vision or header.has_audio):
        raise ConfigError(f"{located.path} is no projector: it encodes neither pictures nor sounds")


def check_draft(spec: ModelSpec, draft: ModelSpec, report: dict[str, Any]) -> None:
    """Add what there is to say of the model that drafts for `spec`, which has a report of its own, too."""
    report["facts"]["draft"] = draft.id
    model, small = _header_of(spec), _header_of(draft)
    if model is None or small is None or model.n_vocab is None or small.n_vocab is None:
        return
    if abs(model.n_vocab - small.n_vocab) > VOCABULARY_PADDING:
        report["problems"].append(
            f"the draft '{draft.id}' has {small.n_vocab} tokens, this model {model.n_vocab}: "
            "only a model with the same vocabulary can draft"
        )
    if small.size_bytes >= model.size_bytes:
        report["notes"].append(
            f"the draft '{draft.id}' is no smaller than the model, so it makes nothing faster"
        )


def _header_of(spec: ModelSpec) -> GgufHeader | None:
    """The header of the first file; None if it cannot be read, which the model's own report says."""
    try:
        located: Located = source_path(spec)
        return read_header(located.path) if located.is_present else None
    except ConfigError:
        return None
