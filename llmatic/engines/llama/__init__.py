"""Engine kind `llama`: GGUF models on llama.cpp. Importing this package loads nothing; `create` does."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Union

from llmatic.config import ModelSpec

if TYPE_CHECKING:
    from llmatic.engines.encoding.engine import EncoderEngine
    from llmatic.engines.llama.engine import LlamaEngine


def create(
    spec: ModelSpec, on_progress: Callable[[float | None, str], None] | None = None
) -> Union["LlamaEngine", "EncoderEngine"]:
    """Load the model of `spec`; blocks until a token was decoded or a text computed. Raises ConfigError.

    Which of the two, the file's header says, or the option "task". `on_progress` is told a share from 0 to 1
    (None: unknown) and what is being done.
    """
    from llmatic.engines.llama.encoder_options import task_of
    from llmatic.gguf_header import read_header
    from llmatic.sources import locate_source

    path = locate_source(spec, on_progress=on_progress)
    header = read_header(path)
    task = task_of(spec, header)
    if task is not None:
        from llmatic.engines.llama.encoder_loading import load_encoder

        return load_encoder(spec, path, header, task, on_progress=on_progress)
    from llmatic.engines.llama.engine import LlamaEngine

    return LlamaEngine(spec, on_progress=on_progress)
