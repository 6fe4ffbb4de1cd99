"""Computing with torch, on a CPU or on CUDA.

Owns the device, the precision and the number of threads. Imports torch when it is opened. The engine's thread
computes; the number of threads is set in the thread that computes, because torch keeps it by thread.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmatic.core.errors import ConfigError
from llmatic.engines.encoding.backend import Matrix
from llmatic.engines.encoding.options import Device, Precision
from llmatic.engines.sentence.padding import Column

logger = logging.getLogger(__name__)


class TorchComputer:
    """A torch module from token ids to rows; see `library.TorchModel`."""

    name = "torch"

    def __init__(self, module: Any, *, device: str, precision: Precision, n_threads: int) -> None:
        import torch

        self._torch = torch
        self._device = device
        self._precision = precision
        self._n_threads = n_threads
        self._told: int | None = None
        if precision != "f32":
            module = module.to({"bf16": torch.bfloat16, "f16": torch.float16}[precision])
        self._module = module

    @property
    def precision(self) -> Precision:
        """What the weights and the products are in; rows are float32 in any case."""
        return self._precision

    def padded(self, n_items: int, n_tokens: int) -> int:
        """torch bears any length; a GPU likes some better than others."""
        return n_tokens if self._device == "cpu" or n_items == 1 else -(-n_tokens // 8) * 8

    def rows(self, columns: Sequence[Column]) -> Matrix:
        """As Computer.rows."""
        torch = self._torch
        if self._device == "cpu" and self._told != threading.get_ident():
            torch.set_num_threads(self._n_threads)
            self._told = threading.get_ident()
        with torch.inference_mode():
            tensors = [torch.from_numpy(column).to(self._device) for column in columns]
            made = self._module(*tensors).float().cpu().numpy()
        rows: Matrix = np.ascontiguousarray(made, np.float32)
        return rows

    def close(self) -> None:
        """Free the weights."""
        self._module = None
        if self._device == "cuda":
            self._torch.cuda.empty_cache()


def torch_device(wanted: Device, model_id: str) -> str:
    """ "cpu" or "cuda". Raises ConfigError if CUDA was asked for and is not there."""
    if wanted == "cpu":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError(f"model '{model_id}': option 'device' is cuda, and torch finds no CUDA device")
    return "cpu"


def torch_precision(wanted: Precision, device: str, model_id: str) -> Precision:
    """What torch can compute in on the device. Raises ConfigError for a precision that it does not have."""
    if wanted == "int8":
        raise ConfigError(f"model '{model_id}': precision int8 needs the backend openvino on a CPU")
    if wanted == "f16" and device == "cpu":
        raise ConfigError(f"model '{model_id}': precision f16 needs device cuda; a CPU has f32 and bf16")
    if wanted == "bf16" and device == "cpu" and not _has_bf16():
        logger.warning("model '%s': this CPU has no bf16 arithmetic; it computes in f32 instead", model_id)
        return "f32"
    return wanted


def _has_bf16() -> bool:
    import torch

    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe is not None else False
