"""Whether a model that turns texts into numbers could be loaded, as far as its files tell.

Owns these checks of `llmatic models check`. Reads headers and settings; of weights it only takes the sums
that the configuration names. Never imports a model library, never downloads.
"""

from collections.abc import Mapping
from typing import Any

from llmatic.cli.tables import size
from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.engines.encoding.options import read_encoder_options
from llmatic.engines.installed import missing
from llmatic.engines.sentence.files import read_facts
from llmatic.folders import check_sha256, folder_path
from llmatic.services.capabilities import Capabilities


def check_folder(spec: ModelSpec, can: Capabilities, report: dict[str, Any]) -> None:
    """Add what there is to say of the folder of a `sentence` model to `report`. Raises ConfigError."""
    options = read_encoder_options(spec, engine=spec.engine)
    if lack := missing(spec):
        raise ConfigError(lack)
    located = folder_path(spec)
    report["facts"]["folder"] = str(located.path)
    if not located.is_present and located.is_remote:
        report["notes"].append("not downloaded yet; that happens when the model is first loaded")
        return
    if not located.is_present:
        raise ConfigError(f"the folder {located.path} does not exist")
    prompts = read_facts(located.path, options, spec.id).prompts
    report["facts"] |= _facts(can, prompts)
    report["facts"]["size"] = size(sum(path.stat().st_size for path in located.files()))
    if not any(path.suffix in (".safetensors", ".bin") for path in located.files()):
        report["problems"].append("the folder holds no weights")
    check_sha256(located.path, options.sha256, spec.id)
    if options.sha256:
        report["facts"]["sha256"] = "as configured"


def check_gguf_encoder(spec: ModelSpec, can: Capabilities, report: dict[str, Any]) -> None:
    """Add what there is to say of a GGUF encoder to `report`. Raises ConfigError."""
    from llmatic.engines.llama.encoder_options import read_options

    options = read_options(spec)
    report["facts"] |= _facts(can, options.encoder.prompts)


def _facts(can: Capabilities, prompts: Mapping[str, str] | None) -> dict[str, Any]:
    known = {"dimensions": can.dimensions, "labels": list(can.labels or ()), "prompts": dict(prompts or {})}
    return {"longest input": can.context_length, **{key: value for key, value in known.items() if value}}
