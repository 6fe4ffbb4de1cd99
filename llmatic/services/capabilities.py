"""What a model can do: asked of its engine once it is loaded, of its file's header before.

Owns the reading of the headers and folders, each once as long as its file stays the same. Never loads,
downloads or renders anything. Reading a header takes some milliseconds, with a large vocabulary a tenth of a
second: call `of` off the event loop unless the engine's own word is there. Any thread.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.core.types import EncodeTask, EngineInfo
from llmatic.engines.encoding.options import read_encoder_options
from llmatic.engines.sentence.files import Facts, read_facts
from llmatic.folders import folder_path
from llmatic.gguf_header import GgufHeader, encoder_task, read_header
from llmatic.registry import Registry
from llmatic.sources import source_path

_State = tuple[int, int]
Kind = EncodeTask | Literal["write"]

_TOOLS = re.compile(r"\btools\b")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """As the API shows them. None: not known before the model is loaded.

    `tools`: the chat template presents tools; other chat models are told of them in a system message.
    `rerank`: it ranks by itself; models that embed can rank too. `context_length` counts tokens of one prompt
    and its answer, or of one input where nothing is written; `parallel` choices are written at a time.
    `dimensions`: of its vectors. `labels`: its classes.
    """

    chat: bool | None = None
    completion: bool | None = None
    tools: bool | None = None
    vision: bool | None = None
    audio: bool | None = None
    fim: bool | None = None
    embeddings: bool | None = None
    rerank: bool | None = None
    classification: bool | None = None
    reasoning: bool | None = None
    context_length: int | None = None
    parallel: int | None = None
    chat_format: str | None = None
    dimensions: int | None = None
    labels: tuple[str, ...] | None = None

    def encodes(self, task: EncodeTask) -> bool | None:
        """Whether it does `task`."""
        return {"embed": self.embeddings, "rank": self.rerank, "classify": self.classification}[task]

    def encoding(
        self, task: EncodeTask | None, n_columns: int | None = None, labels: tuple[str, ...] | None = None
    ) -> "Capabilities":
        """These, for a model that does `task` and no other one; None: it does none."""
        return replace(
            self,
            embeddings=task == "embed",
            rerank=task == "rank",
            classification=task == "classify",
            dimensions=n_columns if task == "embed" else None,
            labels=labels if task == "classify" else None,
        )


WRITES_NOTHING = Capabilities(
    chat=False, completion=False, tools=False, vision=False, audio=False, fim=False, reasoning=False
)


class KnownCapabilities:
    """The capabilities of the registry's models."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._headers: dict[Path, tuple[_State, GgufHeader | None]] = {}
        self._facts: dict[str, tuple[_State, Facts | None]] = {}

    def of(self, spec: ModelSpec, info: EngineInfo | None = None) -> Capabilities:
        """What `spec` can do; `info` is its engine's word, if it is loaded or once was."""
        own = spec if spec.base is None else self._registry.resolve(spec.base)
        can = _of_file(own, self) if info is None else _of_engine(info)
        # An adapter changes what a model writes; there is none for what it encodes.
        return can.encoding(None) if spec.adapters else can

    def kind(self, spec: ModelSpec) -> Kind | None:
        """What its files and its configuration say that it does; None: they do not. Cheap."""
        if spec.base is not None:
            spec = self._registry.resolve(spec.base)
        task: EncodeTask | None = spec.options.get("task")
        if spec.engine == "sentence":
            facts = self.facts(spec)
            return task if facts is None else facts.task
        if spec.engine != "llama":
            return None
        header = None if task is not None else self.header(spec, spec.source)
        return task if header is None else encoder_task(header) or "write"

    def example(self, specs: Sequence[ModelSpec]) -> tuple[str, Kind] | None:
        """The id of one of the models to try, and what it does: one that writes, else one that embeds."""
        kinds = [(spec.id, self.kind(spec) or "write") for spec in specs]
        for wanted in ("write", "embed"):
            for model_id, kind in kinds:
                if kind == wanted:
                    return model_id, kind
        return None

    def header(self, spec: ModelSpec, source: str) -> GgufHeader | None:
        """The header of the first file of `source`; None if it is not here or cannot be read."""
        try:
            path = source_path(replace(spec, source=source)).path
            found = path.stat()
        except (ConfigError, OSError):
            return None
        state = (found.st_mtime_ns, found.st_size)
        known = self._headers.get(path)
        if known is None or known[0] != state:
            known = self._headers[path] = (state, _read(path))
        return known[1]

    def facts(self, spec: ModelSpec) -> Facts | None:
        """What the folder of a `sentence` model tells; None if it is not here or cannot be read."""
        try:
            folder = folder_path(spec).path
            found = (folder / "config.json").stat()
        except (ConfigError, OSError):
            return None
        state = (found.st_mtime_ns, found.st_size)
        known = self._facts.get(spec.id)
        if known is None or known[0] != state:
            known = self._facts[spec.id] = (state, _read_folder(folder, spec))
        return known[1]


def _of_engine(info: EngineInfo) -> Capabilities:
    encoder = info.encoder
    written = _of_writer(info) if info.writes else replace(WRITES_NOTHING, context_length=info.n_context)
    if encoder is None:
        return written.encoding(None)
    return written.encoding(encoder.task, encoder.n_columns, encoder.labels)


def _of_writer(info: EngineInfo) -> Capabilities:
    return Capabilities(
        chat=info.has_chat_template,
        completion=True,
        tools=info.has_tools,
        vision=info.has_vision,
        audio=info.has_audio,
        fim=info.has_infill,
        reasoning=info.has_reasoning,
        context_length=info.n_context,
        parallel=info.n_parallel,
        chat_format=info.chat_format or None,
    )


def _of_file(spec: ModelSpec, known: KnownCapabilities) -> Capabilities:
    if spec.engine == "sentence":
        return _of_folder(spec, known)
    if spec.engine != "llama":
        return Capabilities(parallel=spec.parallel, chat_format=spec.chat_format)
    header = known.header(spec, spec.source)
    kind = known.kind(spec)
    if kind is not None and kind != "write":
        return _of_gguf_encoder(spec, kind, header)
    vision, audio = _senses(spec, known)
    plain = Capabilities(
        completion=True,
        vision=vision,
        audio=audio,
        parallel=spec.parallel,
        chat_format=spec.chat_format,
    )
    template = _template(spec, header)
    if header is not None:
        plain = plain.encoding(None)
    elif template is None:
        return plain
    chat_format, reasons = _family(spec, template) if template else (None, False)
    return replace(
        plain,
        chat=bool(template),
        tools=bool(template and _TOOLS.search(template)),
        fim=True if header is not None and header.has_infill else None,
        reasoning=reasons,
        context_length=None if header is None else _context_length(spec, header),
        chat_format=chat_format,
    )


def _of_gguf_encoder(spec: ModelSpec, task: EncodeTask, header: GgufHeader | None) -> Capabilities:
    if header is None:
        return WRITES_NOTHING.encoding(task)
    limits = (spec.context, spec.options.get("max_length"), header.n_context_train)
    longest = min((limit for limit in limits if isinstance(limit, int)), default=None)
    return replace(WRITES_NOTHING.encoding(task, header.n_embd, header.labels), context_length=longest)


def _of_folder(spec: ModelSpec, known: KnownCapabilities) -> Capabilities:
    facts = known.facts(spec)
    if facts is None:
        task = spec.options.get("task")
        return WRITES_NOTHING if task is None else WRITES_NOTHING.encoding(task)
    can = WRITES_NOTHING.encoding(facts.task, facts.n_columns, facts.labels)
    return replace(can, context_length=facts.n_context)


def _template(spec: ModelSpec, header: GgufHeader | None) -> str | None:
    """The text of the chat template, empty if there is none; None if that cannot be known."""
    if spec.chat_template:
        from llmatic.engines.chat.builtin import template_source

        try:
            return template_source(spec.chat_template)
        except ConfigError:
            return None
    return None if header is None else header.chat_template or ""


def _senses(spec: ModelSpec, known: KnownCapabilities) -> tuple[bool | None, bool | None]:
    """Whether the model sees and hears."""
    if spec.projector is None:
        return False, False
    header = known.header(spec, spec.projector)
    return (None, None) if header is None else (header.has_vision, header.has_audio)


def _context_length(spec: ModelSpec, header: GgufHeader) -> int | None:
    """Known only where the configuration says it and the sequences share the cache."""
    if spec.context is None or header.n_context_train is None or not _is_shared(spec.options):
        return None
    return min(spec.context, header.n_context_train)


def _is_shared(options: Mapping[str, object]) -> bool:
    return options.get("kv_unified", True) is True


def _family(spec: ModelSpec, template: str) -> tuple[str | None, bool | None]:
    """The name of the model's family, and whether its models think."""
    from llmatic.engines.chat.detection import family_named, find_family

    try:
        family = family_named(spec.chat_format, template) if spec.chat_format else find_family(template)
    except ConfigError:
        return spec.chat_format, None
    return family.name, family.has_reasoning


def _read_folder(folder: Path, spec: ModelSpec) -> Facts | None:
    try:
        return read_facts(folder, read_encoder_options(spec, engine=spec.engine), spec.id)
    except ConfigError:
        return None


def _read(path: Path) -> GgufHeader | None:
    try:
        return read_header(path)
    except ConfigError:
        return None
