"""From a model's `engine:` to a loaded engine: built-in kinds, installed plugins, or `package.module:Name`.

Owns the table of kinds. Never imports an engine before it is asked to load one, so that the server
process may look a kind up. `load_engine` runs in the worker process, on its main thread.
"""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.core.ports import EncodingEngine, GenerationEngine, StepEngine

GROUP = "llmatic.engines"
BUILT_IN = {
    "fake": "llmatic.engines.fake:FakeEngine",
    "llama": "llmatic.engines.llama:create",
    "sentence": "llmatic.engines.sentence:create",
}

Engine = GenerationEngine | EncodingEngine | StepEngine
Progress = Callable[[float | None, str], None]


def engine_kinds() -> dict[str, str]:
    """Kind → `module:factory`, built-in kinds and plugins; a plugin cannot take a built-in kind's name."""
    plugins = {point.name: point.value for point in entry_points(group=GROUP)}
    return plugins | BUILT_IN


def resolve_engine(kind: str) -> str:
    """The `module:factory` of `kind`, nothing imported. Raises ConfigError if there is no such kind."""
    if kind in BUILT_IN:
        return BUILT_IN[kind]
    if ":" in kind:
        return kind
    kinds = engine_kinds()
    if kind in kinds:
        return kinds[kind]
    nearest = get_close_matches(kind, kinds, n=1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    raise ConfigError(
        f"Unknown engine '{kind}'.{hint} Known engines: {', '.join(sorted(kinds))}; "
        "or name a class as package.module:Name.",
        param="engine",
    )


def load_engine(spec: ModelSpec, on_progress: Progress | None = None) -> Engine:
    """Import the engine's factory and call it with `spec`; blocks until the model is loaded.

    A factory with a parameter `on_progress` is handed a function to call with a fraction from 0 to 1 (None:
    unknown) and a word for what is being done. Raises ConfigError if something that the engine needs is not
    installed or the factory cannot be imported; what the factory itself raises passes through.
    """
    from llmatic.engines.installed import missing

    if lack := missing(spec):
        raise ConfigError(lack, param="engine")
    factory = _import_factory(resolve_engine(spec.engine), spec.engine)
    engine = factory(spec, on_progress=on_progress) if _wants_progress(factory) else factory(spec)
    return _checked(engine, spec.engine)


def _import_factory(path: str, kind: str) -> Callable[..., Any]:
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError, ValueError) as error:
        reason = f"Engine '{kind}' cannot be imported from '{path}': {error}"
        raise ConfigError(reason, param="engine") from error
    if not callable(found):
        raise ConfigError(f"Engine '{kind}': '{path}' is not a class or function.", param="engine")
    factory: Callable[..., Any] = found
    return factory


def _wants_progress(factory: Callable[..., Any]) -> bool:
    try:
        return "on_progress" in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False


def _checked(engine: Any, kind: str) -> Engine:
    lacks = [name for name in ("close", "info") if not hasattr(engine, name)]
    if not isinstance(engine, StepEngine) and not any(
        hasattr(engine, name) for name in ("generate", "encode")
    ):
        lacks.insert(0, "generate")
    if lacks:
        raise ConfigError(f"Engine '{kind}' lacks {', '.join(lacks)}; see docs/engines.md.", param="engine")
    loaded: Engine = engine
    return loaded
