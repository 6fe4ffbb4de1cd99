"""Engine kind `llama`: GGUF models on llama.cpp. Importing this package loads nothing; `create` does."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmatic.config import ModelSpec

if TYPE_CHECKING:
    from llmatic.engines.llama.engine import LlamaEngine


def create(spec: ModelSpec, on_progress: Callable[[float | None, str], None] | None = None) -> "LlamaEngine":
    """Load the model of `spec`; blocks until a token was decoded. Raises ConfigError.

    `on_progress` is told a share from 0 to 1 (None: unknown) and what is being done.
    """
    from llmatic.engines.llama.engine import LlamaEngine

    return LlamaEngine(spec, on_progress=on_progress)
