"""Which options an encoder takes in the configuration, whichever library computes it, and their defaults.

Owns the names and the checks; engines with options of their own hand in the names. Never touches a model
library or a file; pure.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from llmatic.config import ModelSpec
from llmatic.core.encoding import TooLong
from llmatic.core.errors import ConfigError
from llmatic.core.types import EncodeTask

Precision = Literal["f32", "bf16", "f16", "int8"]
Compute = Literal["auto", "torch", "openvino"]
Device = Literal["auto", "cpu", "cuda"]

TASKS = ("embed", "rank", "classify")
COMPUTES = ("auto", "torch", "openvino")
PRECISIONS = ("f32", "bf16", "f16", "int8")
DEVICES = ("auto", "cpu", "cuda")
TOO_LONG = ("refuse", "truncate")
PROMPT_NAMES = ("query", "document", "default")
MAX_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How to load and run an encoder.

    `task` None: told by the model's files. `token_vocabulary`: in which vocabulary token ids of requests are:
    "own", "cl100k_base" or a path to a .tiktoken file or a tokenizer.json; None: they are refused. `prompts`:
    what comes before texts of an input type ("default": before those without one); None: the model's own.
    `matryoshka`: leading components of a vector are of use alone; None: what the model says. `sha256`: the
    sums of files in the model's folder, checked before loading. `batch_tokens`: tokens computed at once;
    None: measured. `max_length`: inputs of more tokens are too long; None: the model's own.
    """

    task: EncodeTask | None = None
    backend: Compute = "auto"
    precision: Precision = "f32"
    device: Device = "auto"
    too_long: TooLong = "refuse"
    token_vocabulary: str | None = None
    prompts: Mapping[str, str] | None = None
    matryoshka: bool | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    batch_tokens: int | None = None
    max_length: int | None = None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_TOKENS


def _is_prompts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        name in PROMPT_NAMES and isinstance(text, str) for name, text in value.items()
    )


def _is_sums(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(total, str) and re.fullmatch("[0-9a-fA-F]{64}", total)
        for name, total in value.items()
    )


def _one_of(names: Collection[str]) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in names, "one of " + ", ".join(names)


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "task": _one_of(TASKS),
    "backend": _one_of(COMPUTES),
    "precision": _one_of(PRECISIONS),
    "device": _one_of(DEVICES),
    "too_long": _one_of(TOO_LONG),
    "token_vocabulary": (
        lambda v: v is None or (isinstance(v, str) and v != ""),
        "own, cl100k_base, or a path to a .tiktoken file or a tokenizer.json",
    ),
    "prompts": (_is_prompts, "a mapping of " + ", ".join(PROMPT_NAMES) + " to texts"),
    "matryoshka": (lambda v: isinstance(v, bool), "true or false"),
    "sha256": (_is_sums, "a mapping of file names to SHA-256 sums of 64 hexadecimal digits"),
    "batch_tokens": (lambda v: v is None or _is_count(v), "a number of tokens"),
    "max_length": (lambda v: v is None or _is_count(v), "a number of tokens"),
}
_FOREIGN_KEYS: dict[str, Any] = {
    "gpu_layers": None,
    "chat_template": None,
    "chat_format": None,
    "draft": None,
    "projector": None,
    "adapters": (),
    "sampling": {},
    "deterministic": False,
}


def read_encoder_options(
    spec: ModelSpec,
    *,
    engine: str,
    lacks: Collection[str] = (),
    others: Collection[str] = (),
    keys: Collection[str] = (),
) -> EncoderOptions:
    """The encoder options of `spec`, checked, `spec.context` folded into `max_length`.

    `engine` is its name in messages. `lacks`: options that it does not have; `others`: options that it reads
    itself, skipped here. `keys`: keys of the entry that it knows beside those of every encoder. Raises
    ConfigError naming model, key and the nearest valid key.
    """
    _refuse_foreign_keys(spec, keys)
    known = {option.name for option in fields(EncoderOptions)} - set(lacks)
    given: dict[str, Any] = {}
    for key, value in spec.options.items():
        if key in others:
            continue
        if key not in known:
            names = known | set(others)
            near = difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known options: {', '.join(sorted(names))}"
            raise ConfigError(f"model '{spec.id}': the {engine} encoder has no option '{key}'{hint}")
        is_valid, wanted = _CHECKS[key]
        if not is_valid(value):
            raise ConfigError(f"model '{spec.id}': option '{key}' must be {wanted}, not {value!r}")
        given[key] = value
    if "sha256" in given:
        given["sha256"] = {name: total.lower() for name, total in given["sha256"].items()}
    return EncoderOptions(**given | {"max_length": _max_length(spec, given.get("max_length"))})


def _refuse_foreign_keys(spec: ModelSpec, keys: Collection[str]) -> None:
    for key, absent in _FOREIGN_KEYS.items():
        if key not in keys and getattr(spec, key) not in (absent, None):
            raise ConfigError(
                f"model '{spec.id}': '{key}' means nothing for a model that turns texts into numbers; "
                "remove it",
                param=key,
            )
    if spec.threads is not None and spec.threads < 1:
        raise ConfigError(f"model '{spec.id}': threads must be positive, not {spec.threads}")


def _max_length(spec: ModelSpec, option: int | None) -> int | None:
    if spec.context is None:
        return option
    if not _is_count(spec.context):
        raise ConfigError(f"model '{spec.id}': context must be positive, not {spec.context}")
    if option is not None and option != spec.context:
        raise ConfigError(
            f"model '{spec.id}': context ({spec.context}) and option 'max_length' ({option}) say the same "
            "thing of an encoder and differ; keep one"
        )
    return spec.context
