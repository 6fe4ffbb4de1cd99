"""Which options a model of kind `llama` takes in the configuration, and their defaults.

Owns the names and the checks. Never touches llama.cpp; pure.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError

MAX_SEQUENCES = 256
SPLIT_MODES = ("none", "layer", "row", "tensor")
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")


@dataclass(frozen=True, slots=True)
class Options:
    """How to load and run a model. `batch`, `ubatch`: rows per decode call and per compute pass.

    `prefill_chunk`: rows of a prompt that go into one step while other streams are writing.
    `kv_unified`: one cache that all sequences share, or an equal part of the context for each.
    `main_gpu`, `split_mode`, `tensor_split`: as llama.cpp's command line means them.
    """

    main_gpu: int = 0
    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()
    mmap: bool = True
    mlock: bool = False
    check_tensors: bool = False
    offload_kqv: bool = True
    kv_unified: bool = True
    type_k: str = "f16"
    type_v: str = "f16"
    batch: int = 512
    ubatch: int = 512
    threads_batch: int | None = None
    prefill_chunk: int = 256


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65536


def _is_split(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(share, int | float) and not isinstance(share, bool) and share >= 0 for share in value
    )


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "main_gpu": (lambda v: v == 0 or _is_count(v), "the number of a GPU, from 0"),
    "split_mode": (lambda v: v in SPLIT_MODES, "one of " + ", ".join(SPLIT_MODES)),
    "tensor_split": (_is_split, "a list of shares, one per GPU"),
    "type_k": (lambda v: v in CACHE_TYPES, "one of " + ", ".join(CACHE_TYPES)),
    "type_v": (lambda v: v in CACHE_TYPES, "one of " + ", ".join(CACHE_TYPES)),
    "batch": (_is_count, "a number of tokens from 1 to 65536"),
    "ubatch": (_is_count, "a number of tokens from 1 to 65536"),
    "prefill_chunk": (_is_count, "a number of tokens from 1 to 65536"),
    "threads_batch": (lambda v: v is None or _is_count(v), "a number of threads"),
}
_BOOLEAN: tuple[Callable[[Any], bool], str] = (lambda v: isinstance(v, bool), "true or false")


def read_options(spec: ModelSpec) -> Options:
    """The options of `spec`, checked. Raises ConfigError naming model, key and the nearest valid key."""
    known = {field.name for field in fields(Options)}
    given: dict[str, Any] = {}
    for key, value in spec.options.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known options: {', '.join(sorted(known))}"
            raise ConfigError(f"model '{spec.id}': the llama engine has no option '{key}'{hint}")
        is_valid, wanted = _CHECKS.get(key, _BOOLEAN)
        if not is_valid(value):
            raise ConfigError(f"model '{spec.id}': option '{key}' must be {wanted}, not {value!r}")
        given[key] = tuple(value) if key == "tensor_split" else value
    if not 1 <= spec.parallel <= MAX_SEQUENCES:
        raise ConfigError(
            f"model '{spec.id}': parallel must be from 1 to {MAX_SEQUENCES}, not {spec.parallel}"
        )
    if spec.context is not None and spec.context < 1:
        raise ConfigError(f"model '{spec.id}': context must be positive, not {spec.context}")
    if spec.threads is not None and spec.threads < 1:
        raise ConfigError(f"model '{spec.id}': threads must be positive, not {spec.threads}")
    options = Options(**given)
    if options.batch < spec.parallel:
        raise ConfigError(f"model '{spec.id}': option 'batch' must be at least parallel ({spec.parallel})")
    return options
