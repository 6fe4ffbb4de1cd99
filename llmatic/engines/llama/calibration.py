"""Timing a model before it serves.

Runs in the engine's thread, on an empty cache, and leaves it empty.
"""

import time

from llmatic.engines.llama.backend import Backend, DecodeResult
from llmatic.engines.llama.pace import Pace

CALIBRATION_S = 0.5
_ROWS = (1, 1, 4, 8, 16, 32)


def calibrate(backend: Backend, pace: Pace) -> None:
    """Time some small steps, for half a second at most; the rest is learned from the work itself."""
    until = time.perf_counter() + CALIBRATION_S
    for n_rows in _ROWS:
        began = time.perf_counter()
        if began > until or n_rows > min(backend.n_batch, backend.n_outputs_max, backend.n_context_each):
            break
        rows = list(range(n_rows))
        if backend.decode([0] * n_rows, rows, [0] * n_rows, rows) is not DecodeResult.DONE:
            break
        pace.calibrate(n_rows, time.perf_counter() - began)
        backend.clear()
    backend.clear()
