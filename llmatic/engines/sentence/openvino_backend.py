"""Computing with OpenVINO on a CPU.

Owns the compiled model and how it is told to compute. Imports openvino when it is opened, and neither torch
nor transformers. The engine's thread computes.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmatic.core.errors import ConfigError
from llmatic.engines.encoding.backend import Matrix
from llmatic.engines.encoding.options import Precision
from llmatic.engines.sentence.padding import Column

logger = logging.getLogger(__name__)

N_EXACT = 32
N_FINE = 64
# Prepared kernels that are kept; a batch of a new shape makes about ten of them.
RUNTIME_CACHE = 2000


class OpenVinoComputer:
    """A compiled model. `model`: the path of an IR, or an openvino.Model."""

    name = "openvino"

    def __init__(self, model: "Path | Any", *, precision: Precision, n_threads: int, model_id: str) -> None:
        core = core_of(model_id)
        self._precision = cpu_precision(core, precision, model_id)
        read = core.read_model(str(model)) if isinstance(model, Path) else model
        self._compiled: Any = core.compile_model(
            read,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if self._precision == "bf16" else "f32",
                "INFERENCE_NUM_THREADS": n_threads,
                "PERFORMANCE_HINT": "LATENCY",
                # Threads bound to cores wait in line there when another process is busy on them.
                "ENABLE_CPU_PINNING": False,
                "CPU_RUNTIME_CACHE_CAPACITY": str(RUNTIME_CACHE),
            },
        )
        self._request: Any = self._compiled.create_infer_request()

    @property
    def precision(self) -> Precision:
        """What it computes in."""
        return self._precision

    def padded(self, n_items: int, n_tokens: int) -> int:
        """Every shape of a batch costs a preparation and keeps memory, so their number is bounded."""
        if n_tokens <= N_EXACT and n_items == 1:
            return n_tokens
        step = 4 if n_tokens <= N_FINE else 8
        return -(-n_tokens // step) * step

    def rows(self, columns: Sequence[Column]) -> Matrix:
        """As Computer.rows."""
        made = self._request.infer(dict(enumerate(columns)), share_inputs=True, share_outputs=True)
        rows: Matrix = np.array(made[0], np.float32)
        return rows

    def close(self) -> None:
        """Free the model."""
        self._request = None
        self._compiled = None


def core_of(model_id: str) -> Any:
    """openvino's entry point. Raises ConfigError if it is not installed."""
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(f"model '{model_id}': the backend openvino is not installed: {error}") from error
    return openvino.Core()


def cpu_precision(core: Any, wanted: Precision, model_id: str) -> Precision:
    """What the CPU can compute in. Raises ConfigError for a precision that no CPU has."""
    if wanted == "f16":
        raise ConfigError(f"model '{model_id}': precision f16 needs the backend torch and device cuda")
    if wanted == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        logger.warning("model '%s': this CPU has no bf16 arithmetic; it computes in f32 instead", model_id)
        return "f32"
    return wanted
