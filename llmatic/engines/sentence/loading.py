"""Putting a sentence encoder's parts together.

Owns the order of loading, and the choice between OpenVINO and torch. Runs where the engine is created and
blocks, seconds long when a model is converted for the first time; keeps nothing.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.core.types import EncoderInfo, EngineInfo
from llmatic.engines.encoding.inputs import InputReader
from llmatic.engines.encoding.options import EncoderOptions, read_encoder_options
from llmatic.engines.encoding.vocabularies import open_vocabulary
from llmatic.engines.llama.threads import default_threads
from llmatic.engines.sentence.backend import SentenceBackend
from llmatic.engines.sentence.computing import Computer, Shape, Unconvertible
from llmatic.engines.sentence.converting import convert_apart
from llmatic.engines.sentence.files import UNLIMITED, Facts, read_facts
from llmatic.engines.sentence.ir_cache import Entry, key_of, load_entry, locked, store_entry
from llmatic.engines.sentence.tokenizer import FastTokenizer
from llmatic.folders import check_sha256, locate_folder
from llmatic.sources import cache_dir

logger = logging.getLogger(__name__)
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A backend that can compute, and the options that it was loaded with."""

    backend: SentenceBackend
    options: EncoderOptions


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is loaded, and what is told of it."""

    spec: ModelSpec
    options: EncoderOptions
    folder: Path
    facts: Facts
    n_threads: int
    report: Progress

    @property
    def insists(self) -> bool:
        """Nothing but OpenVINO will do."""
        return self.options.backend == "openvino" or self.options.precision == "int8"


def open_backend(spec: ModelSpec, on_progress: Progress | None = None) -> Loaded:
    """Load what `spec` names; `on_progress` as in `create`.

    Raises ConfigError: wrong options, no such folder, damaged or unsupported, a library is missing.
    """
    # Threads of the tokenizer would take turns with those that compute.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    options = read_encoder_options(spec, engine="sentence")
    vocabulary = open_vocabulary(options, spec.id)
    wanted = _located(spec, options, on_progress or _silent)
    facts = wanted.facts
    computer, shape = _open_computer(wanted)
    n_context = _longest(wanted, shape)
    tokenizer = FastTokenizer(
        shape.tokenizer,
        n_vocab=shape.n_vocab,
        has_types="token_type_ids" in shape.columns,
        filler=shape.pad_id,
    )
    reader = InputReader(
        tokenizer,
        options,
        model_id=spec.id,
        n_context=n_context,
        prompts=facts.prompts or {},
        vocabulary=vocabulary,
    )
    info = _info(wanted, shape, computer, n_context)
    return Loaded(SentenceBackend(info, reader, computer, shape), options)


def convert_here(spec: ModelSpec) -> None:
    """Put the converted model into the cache, in this process. Raises Unconvertible, ConfigError."""
    wanted = _located(spec, read_encoder_options(spec, engine="sentence"), _silent)
    _converted(wanted, *_place(wanted))


def _located(spec: ModelSpec, options: EncoderOptions, report: Progress) -> _Wanted:
    folder = locate_folder(spec, on_progress=report)
    check_sha256(folder, options.sha256, spec.id)
    facts = read_facts(folder, options, spec.id)
    return _Wanted(spec, options, folder, facts, spec.threads or default_threads(), report)


def _silent(_share: float | None, _what: str) -> None:
    pass


def _open_computer(wanted: _Wanted) -> tuple[Computer, Shape]:
    if _takes_openvino(wanted):
        try:
            return _open_openvino(wanted)
        except Unconvertible as error:
            if wanted.insists:
                raise ConfigError(
                    f"model '{wanted.spec.id}': it cannot be had with the backend openvino: {error}"
                ) from error
            logger.warning("model '%s': computed by torch: OpenVINO %s", wanted.spec.id, error)
    return _open_torch(wanted)


def _takes_openvino(wanted: _Wanted) -> bool:
    options = wanted.options
    if wanted.insists:
        if options.device == "cuda" or options.backend == "torch":
            what = "device cuda" if options.device == "cuda" else "backend torch"
            raise ConfigError(
                f"model '{wanted.spec.id}': backend openvino and precision int8 compute on a CPU; they do "
                f"not go with {what}"
            )
        return True
    if options.backend == "torch" or options.precision == "f16" or find_spec("openvino") is None:
        return False
    return options.device == "cpu" or (options.device == "auto" and not _has_gpu())


def _has_gpu() -> bool:
    """Whether it is worth asking torch, whose import takes seconds, for a CUDA device."""
    if not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return bool(torch.cuda.is_available())


def _open_torch(wanted: _Wanted) -> tuple[Computer, Shape]:
    from llmatic.engines.sentence.library import load_torch_model
    from llmatic.engines.sentence.torch_backend import TorchComputer, torch_device, torch_precision

    wanted.report(None, "loading with torch")
    device = torch_device(wanted.options.device, wanted.spec.id)
    precision = torch_precision(wanted.options.precision, device, wanted.spec.id)
    model = load_torch_model(wanted.folder, wanted.facts, device=device, model_id=wanted.spec.id)
    computer = TorchComputer(model.module, device=device, precision=precision, n_threads=wanted.n_threads)
    return computer, model.shape


def _open_openvino(wanted: _Wanted) -> tuple[Computer, Shape]:
    cache, key = _place(wanted)
    wanted.report(None, "loading with OpenVINO")
    entry = load_entry(cache, key)
    if entry is None:
        wanted.report(None, "converting to OpenVINO, once")
        if "torch" not in sys.modules:
            convert_apart(wanted.spec)
        entry = _converted(wanted, cache, key)
    return _compiled(wanted, entry.model), entry.shape


def _place(wanted: _Wanted) -> tuple[Path, str]:
    """Where the converted model belongs: the cache and the key."""
    form = "int8" if wanted.options.precision == "int8" else "f32"
    return cache_dir() / "openvino", key_of(wanted.folder, wanted.facts.task, form)


def _converted(wanted: _Wanted, cache: Path, key: str) -> Entry:
    """The entry, made in this process unless another one has made it. Raises Unconvertible, ConfigError."""
    try:
        with locked(cache, key):
            return load_entry(cache, key) or _convert(wanted, cache, key)
    except OSError as error:
        raise ConfigError(
            f"model '{wanted.spec.id}': the converted model cannot be kept in {cache}: "
            f"{error.strerror or error}; LLMATIC_CACHE_DIR names another place"
        ) from error


def _compiled(wanted: _Wanted, model: Any) -> Computer:
    from llmatic.engines.sentence.openvino_backend import OpenVinoComputer

    return OpenVinoComputer(
        model, precision=wanted.options.precision, n_threads=wanted.n_threads, model_id=wanted.spec.id
    )


def _convert(wanted: _Wanted, cache: Path, key: str) -> Entry:
    """Convert, check against torch, write. Raises Unconvertible, OSError, ConfigError."""
    from llmatic.engines.sentence import conversion
    from llmatic.engines.sentence.library import load_torch_model
    from llmatic.engines.sentence.openvino_backend import OpenVinoComputer, core_of
    from llmatic.engines.sentence.torch_backend import TorchComputer

    core_of(wanted.spec.id)
    is_int8 = wanted.options.precision == "int8"
    model = load_torch_model(wanted.folder, wanted.facts, device="cpu", model_id=wanted.spec.id)
    converted = conversion.convert(model)
    if is_int8:
        conversion.reduce_weights(converted)
    right = TorchComputer(model.module, device="cpu", precision="f32", n_threads=wanted.n_threads)
    made = OpenVinoComputer(
        converted,
        precision="int8" if is_int8 else "f32",
        n_threads=wanted.n_threads,
        model_id=wanted.spec.id,
    )
    items = conversion.check_items(model.shape, _longest(wanted, model.shape), wanted.facts.task)
    conversion.compare(model.shape, items, right, made, wanted.facts.task)
    made.close()
    return store_entry(cache, key, model.shape, lambda path: conversion.save(converted, path))


def _longest(wanted: _Wanted, shape: Shape) -> int:
    """The longest input in tokens: what the configuration says, else what the model can take."""
    facts, wish = wanted.facts, wanted.options.max_length
    limit = facts.n_positions or UNLIMITED
    if wish is not None and wish > limit:
        raise ConfigError(
            f"model '{wanted.spec.id}': its inputs can have {limit} tokens, not {wish} (context or option "
            "'max_length')"
        )
    return wish or min(facts.n_context or UNLIMITED, shape.n_context, limit)


def _info(wanted: _Wanted, shape: Shape, computer: Computer, n_context: int) -> EngineInfo:
    spec, facts = wanted.spec, wanted.facts
    encoder = EncoderInfo(
        task=facts.task,
        n_columns=shape.n_columns,
        labels=facts.labels,
        is_multi_label=facts.is_multi_label,
        has_dimensions=facts.has_dimensions,
        prompts=facts.prompts or {},
        backend=computer.name,
        precision=computer.precision,
    )
    return EngineInfo(
        n_context=n_context,
        n_context_train=facts.n_positions or n_context,
        n_vocab=shape.n_vocab,
        n_parallel=spec.parallel,
        has_chat_template=False,
        has_infill=False,
        fingerprint=_fingerprint(wanted, computer),
        description=f"{_name(wanted.folder)}, {computer.name} {computer.precision}",
        size_bytes=_size(wanted.folder),
        encoder=encoder,
        writes=False,
    )


def _name(folder: Path) -> str:
    """The folder's, or that of the package whose folder `model` it is."""
    return folder.parent.name if folder.name == "model" else folder.name


def _size(folder: Path) -> int:
    """Bytes of the weights: of the safetensors, else of what stands in for them."""
    found: list[Path] = []
    for pattern in ("*.safetensors", "*.bin"):
        found = found or list(folder.rglob(pattern))
    return sum(path.stat().st_size for path in found)


def _fingerprint(wanted: _Wanted, computer: Computer) -> str:
    """What decides the numbers: the files, the libraries' versions, and who computes in what."""
    words = [key_of(wanted.folder, wanted.facts.task, computer.precision), computer.name, version("llmatic")]
    return f"fp_{hashlib.sha256(' '.join(words).encode()).hexdigest()[:12]}"
