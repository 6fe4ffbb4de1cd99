"""Which options a GGUF encoder takes in the configuration, and how they and the file's header go together.

Owns the names and defaults of what llama.cpp's encoders have beyond all encoders, and the choice of task and
pooling. Never calls llama.cpp; pure.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.core.types import EncodeTask
from llmatic.engines.encoding.options import EncoderOptions, read_encoder_options
from llmatic.engines.llama import options as llama_options
from llmatic.gguf_header import POOLINGS, GgufHeader, encoder_task

N_ROWS = 256
_LOADING = (
    *("main_gpu", "split_mode", "tensor_split", "mmap", "mlock", "check_tensors", "offload_kqv"),
    *("ubatch", "threads_batch"),
)
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "pooling": (lambda value: value in POOLINGS[1:], "one of " + ", ".join(POOLINGS[1:])),
    "normalize": (lambda value: isinstance(value, bool), "true or false"),
}


@dataclass(frozen=True, slots=True)
class GgufEncoderOptions:
    """How to load and run a GGUF encoder.

    `pooling`: how the rows of a text's tokens become one; None: as the file says. `normalize`: vectors are
    brought to unit length. `n_rows`: so many tokens are computed by one call of llama.cpp, unless one text is
    longer: every row's attention walks over all rows of the call, so more is slower.
    """

    encoder: EncoderOptions
    loading: llama_options.Options = field(default_factory=llama_options.Options)
    pooling: str | None = None
    normalize: bool = True
    n_rows: int = N_ROWS


def read_options(spec: ModelSpec) -> GgufEncoderOptions:
    """The options of `spec`, checked. Raises ConfigError naming model, key and the nearest valid key."""
    encoder = read_encoder_options(
        spec,
        engine="llama",
        lacks=("backend", "precision", "device"),
        others=(*_LOADING, *_CHECKS),
        keys=("gpu_layers",),
    )
    for key, (is_valid, wanted) in _CHECKS.items():
        if key in spec.options and not is_valid(spec.options[key]):
            value = spec.options[key]
            raise ConfigError(f"model '{spec.id}': option '{key}' must be {wanted}, not {value!r}")
    loading = {key: value for key, value in spec.options.items() if key in _LOADING}
    return GgufEncoderOptions(
        encoder=encoder,
        loading=llama_options.read_options(replace(spec, options=loading, parallel=1)),
        pooling=spec.options.get("pooling"),
        normalize=spec.options.get("normalize", True),
        n_rows=spec.options.get("ubatch", N_ROWS),
    )


def task_of(spec: ModelSpec, header: GgufHeader) -> EncodeTask | None:
    """What the model is an encoder for; None if it writes text.

    An option "task" that is none of the three counts as one, so that its name is refused where options are.
    """
    if "task" in spec.options:
        task: EncodeTask = spec.options["task"]
        return task
    return encoder_task(header)


def pooling_of(spec: ModelSpec, options: GgufEncoderOptions, header: GgufHeader, task: EncodeTask) -> str:
    """How rows become one. Raises ConfigError, naming the option, if the file cannot do the task."""
    model = f"model '{spec.id}'"
    if task != "embed":
        if options.pooling not in (None, "rank"):
            raise ConfigError(f"{model}: option 'pooling' must be rank for the task '{task}'")
        if not header.has_classifier:
            raise ConfigError(f"{model}: the file holds no classifier, so it cannot {task}")
        n_outputs = max(1, len(header.labels))
        is_score = n_outputs == 1 or header.labels == ("yes", "no")
        if is_score != (task == "rank"):
            words = "one score" if is_score else f"the {n_outputs} classes {', '.join(header.labels)}"
            raise ConfigError(
                f"{model}: option 'task' must be otherwise: the file's classifier gives {words}"
            )
        return "rank"
    pooling = options.pooling or header.pooling or "none"
    if pooling in ("none", "rank"):
        raise ConfigError(
            f"{model}: the file does not say how rows of tokens become one vector: set the option 'pooling' "
            "to mean, cls or last, as the model's makers say"
        )
    return pooling
