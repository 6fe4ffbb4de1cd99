"""What a model can do: asked of its engine once it is loaded, of its file's header before.

Owns the reading of the headers, each once as long as its file stays the same. Never loads, downloads or
renders anything. Reading a header takes some milliseconds, with a large vocabulary a tenth of a second: call
`of` off the event loop unless the engine's own word is there. Any thread.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.core.types import EngineInfo
from llmatic.gguf_header import GgufHeader, read_header
from llmatic.registry import Registry
from llmatic.sources import source_path

_TOOLS = re.compile(r"\btools\b")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """As the API shows them. None: not known before the model is loaded.

    `tools`: the chat template presents tools; other chat models are told of them in a system message.
    `context_length` counts tokens of one prompt and its answer; `parallel` choices are written at a time.
    """

    chat: bool | None = None
    completion: bool | None = None
    tools: bool | None = None
    vision: bool | None = None
    audio: bool | None = None
    fim: bool | None = None
    embeddings: bool | None = False
    reasoning: bool | None = None
    context_length: int | None = None
    parallel: int | None = None
    chat_format: str | None = None


class KnownCapabilities:
    """The capabilities of the registry's models."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._headers: dict[Path, tuple[tuple[int, int], GgufHeader | None]] = {}

    def of(self, spec: ModelSpec, info: EngineInfo | None = None) -> Capabilities:
        """What `spec` can do; `info` is its engine's word, if it is loaded or once was."""
        if spec.base is not None:
            spec = self._registry.resolve(spec.base)
        return _of_file(spec, self) if info is None else _of_engine(info)

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


def _of_engine(info: EngineInfo) -> Capabilities:
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
    if spec.engine != "llama":
        return Capabilities(parallel=spec.parallel, chat_format=spec.chat_format)
    header = known.header(spec, spec.source)
    vision, audio = _senses(spec, known)
    plain = Capabilities(
        completion=True,
        vision=vision,
        audio=audio,
        parallel=spec.parallel,
        chat_format=spec.chat_format,
    )
    template = _template(spec, header)
    if header is None and template is None:
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


def _read(path: Path) -> GgufHeader | None:
    try:
        return read_header(path)
    except ConfigError:
        return None
