"""Engine kind `sentence`: sentence-transformers, cross-encoders and Hugging Face classifiers.

Importing this package loads nothing; `create` does.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmatic.config import ModelSpec

if TYPE_CHECKING:
    from llmatic.engines.encoding.engine import EncoderEngine

# OpenVINO tells its makers of every import and every conversion, unless this package of theirs is missing.
_modules: dict[str, Any] = sys.modules
_modules.setdefault("openvino_telemetry", None)


def create(
    spec: ModelSpec, on_progress: Callable[[float | None, str], None] | None = None
) -> "EncoderEngine":
    """Load the model of `spec`; blocks until it has computed. Raises ConfigError.

    `on_progress` is told a share from 0 to 1 (None: unknown) and what is being done.
    """
    from llmatic.engines.encoding.engine import EncoderEngine
    from llmatic.engines.sentence.loading import open_backend

    loaded = open_backend(spec, on_progress)
    return EncoderEngine(spec, loaded.backend, batch_tokens=loaded.options.batch_tokens)
