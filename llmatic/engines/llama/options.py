"""Which options a model of kind `llama` takes in the configuration, and their defaults.

Owns the names and the checks. Never touches llama.cpp; pure.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError

MAX_SEQUENCES = 256
N_EXACT_BATCH = 32
SPLIT_MODES = ("none", "layer", "row", "tensor")
SPECULATIONS = ("auto", "off", "lookup", "draft")
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")


@dataclass(frozen=True, slots=True)
class Options:
    """How to load and run a model. `batch`, `ubatch`: rows per decode call and per compute pass.
    `mmap` None: the file is read into memory, which can be quicker to compute from, if it takes no more than
    half of what is free.

    `kv_unified`: one cache that all sequences share, or an equal part of the context for each. `main_gpu`,
    `split_mode`, `tensor_split`: as llama.cpp's command line means them. `gap_target_s`: how long running
    streams may wait for a token while prompts are read; None: the pace's own rule. `cache_kept`: the share of
    the cells that ended texts may hold for others; None: none on a CPU, half on a GPU. `cache_ram_bytes`,
    `cache_disk_bytes`: what saved texts may take; None: an eighth of the memory, 8 GiB at most. `cache_dir`
    None: below the user's cache. `speculation`: where guesses come from; "auto" is the draft model if there
    is one, else the text itself. `media_cache_bytes`: what encoded pictures and sounds may take.
    `image_max_pixels`, `audio_max_s`: longer and larger ones are refused. `image_max_tokens`: of a picture,
    for models that let that vary; None: as the projector's file says.
    """

    main_gpu: int = 0
    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()
    mmap: bool | None = None
    mlock: bool = False
    check_tensors: bool = False
    offload_kqv: bool = True
    kv_unified: bool = True
    type_k: str = "f16"
    type_v: str = "f16"
    batch: int = 512
    ubatch: int = 512
    threads_batch: int | None = None
    gap_target_s: float | None = None
    cache_kept: float | None = None
    cache_ram_bytes: int | None = None
    cache_disk_bytes: int = 0
    cache_dir: str | None = None
    speculation: str = "auto"
    media_cache_bytes: int = 256 << 20
    image_max_pixels: int = 40_000_000
    image_max_tokens: int | None = None
    audio_max_s: float = 600.0

    def n_kept_share(self, gpu_layers: int | None, *, saves_all: bool = True) -> float:
        """The share of the cells for ended texts: saving to memory costs a CPU next to nothing.

        Not `saves_all`: what is computed of pictures cannot be saved.
        """
        if self.cache_kept is not None:
            return self.cache_kept
        return 0.5 if gpu_layers or not saves_all else 0.0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65536


def _is_number(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= limit


def _minutes(value: Any) -> float | None:
    """Seconds, from a second to a day: a number, or a text such as 90s or 10m."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 1 <= value <= 86400 else None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)", value) if isinstance(value, str) else None
    return None if found is None else _minutes(float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]])


def _size(value: Any) -> int | None:
    """Bytes: a number, or a text such as 500MB or 2GiB."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKMGT]?i?)B?", value) if isinstance(value, str) else None
    if found is None:
        return None
    unit = found[2]
    power = " KMGT".index(unit[:1].upper() or " ")
    return int(float(found[1]) * (1024 if unit.endswith("i") else 1000) ** power)


def _seconds(value: Any) -> float | None:
    """Seconds: a number, or a text such as 100ms or 0.5s."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0.001 <= value <= 60 else None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", value) if isinstance(value, str) else None
    return None if found is None else _seconds(float(found[1]) / (1000 if found[2] == "ms" else 1))


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_split(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(share, int | float) and not isinstance(share, bool) and share >= 0 for share in value
    )


def _name(value: Any) -> Any:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


_READ: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "gap_target": ("gap_target_s", lambda v: None if v is None else _seconds(v)),
    "cache_ram": ("cache_ram_bytes", lambda v: None if v is None else _size(v)),
    "cache_disk": ("cache_disk_bytes", _size),
    "speculation": ("speculation", _name),
    "media_cache": ("media_cache_bytes", _size),
    "audio_max": ("audio_max_s", lambda v: _minutes(v)),
    "tensor_split": ("tensor_split", tuple),
}
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "main_gpu": (lambda v: v == 0 or _is_count(v), "the number of a GPU, from 0"),
    "split_mode": (lambda v: v in SPLIT_MODES, "one of " + ", ".join(SPLIT_MODES)),
    "tensor_split": (_is_split, "a list of shares, one per GPU"),
    "type_k": (lambda v: v in CACHE_TYPES, "one of " + ", ".join(CACHE_TYPES)),
    "type_v": (lambda v: v in CACHE_TYPES, "one of " + ", ".join(CACHE_TYPES)),
    "batch": (_is_count, "a number of tokens from 1 to 65536"),
    "ubatch": (_is_count, "a number of tokens from 1 to 65536"),
    "gap_target": (lambda v: v is None or _seconds(v) is not None, "a time such as 100ms"),
    "cache_kept": (lambda v: v is None or _is_share(v), "a share from 0 to 1"),
    "cache_ram": (lambda v: v is None or _size(v) is not None, "a size such as 2GiB"),
    "cache_disk": (lambda v: _size(v) is not None, "a size such as 20GiB; 0 for none"),
    "cache_dir": (lambda v: v is None or (isinstance(v, str) and v != ""), "a folder"),
    "speculation": (lambda v: _name(v) in SPECULATIONS, "one of " + ", ".join(SPECULATIONS)),
    "media_cache": (lambda v: _size(v) is not None, "a size such as 256MiB; 0 for none"),
    "image_max_pixels": (lambda v: _is_number(v, 1 << 30), "a number of pixels"),
    "image_max_tokens": (lambda v: v is None or _is_count(v), "a number of tokens"),
    "audio_max": (lambda v: _minutes(v) is not None, "a time such as 600s or 10m"),
    "mmap": (lambda v: v is None or isinstance(v, bool), "true or false"),
    "threads_batch": (lambda v: v is None or _is_count(v), "a number of threads"),
}
_BOOLEAN: tuple[Callable[[Any], bool], str] = (lambda v: isinstance(v, bool), "true or false")


def read_options(spec: ModelSpec) -> Options:
    """The options of `spec`, checked. Raises ConfigError naming model, key and the nearest valid key."""
    spelt = {name: key for key, (name, _) in _READ.items()}
    known = {spelt.get(field.name, field.name) for field in fields(Options)}
    given: dict[str, Any] = {}
    for key, value in spec.options.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known options: {', '.join(sorted(known))}"
            raise ConfigError(f"model '{spec.id}': the llama engine has no option '{key}'{hint}")
        is_valid, wanted = _CHECKS.get(key, _BOOLEAN)
        if not is_valid(value):
            raise ConfigError(f"model '{spec.id}': option '{key}' must be {wanted}, not {value!r}")
        name, read = _READ.get(key, (key, lambda v: v))
        given[name] = read(value)
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
    if spec.deterministic and options.batch < N_EXACT_BATCH:
        raise ConfigError(
            f"model '{spec.id}': deterministic needs option 'batch' to be at least {N_EXACT_BATCH}"
        )
    return options
