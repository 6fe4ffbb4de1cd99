"""llama.cpp's own log: kept from the terminal, its last lines kept for error messages.

Owns the process's one log callback, because llama.cpp has one per process. Called by any thread.
"""

import ctypes
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

import llama_cpp as C

_WORST_LEVELS = (3, 4)  # GGML_LOG_LEVEL_WARN, GGML_LOG_LEVEL_ERROR


@cache
def _callback() -> tuple[Any, deque[str]]:
    lines: deque[str] = deque(maxlen=8)

    def keep(level: int, text: bytes, _data: Any) -> None:
        if level in _WORST_LEVELS and (line := text.decode("utf-8", "replace").strip()):
            lines.append(line)

    return C.llama_log_callback(keep), lines


def silence() -> None:
    """Take llama.cpp's log; idempotent."""
    C.llama_log_set(_callback()[0], ctypes.c_void_p())


def share_log(set_log: Callable[[Any, Any], None]) -> None:
    """Take the log of a library beside llama.cpp, by its own function to set the callback."""
    set_log(_callback()[0], ctypes.c_void_p())


def last_lines() -> str:
    """What llama.cpp complained of most recently, in one line; then forgotten."""
    lines = _callback()[1]
    text = "; ".join(lines)
    lines.clear()
    return text or "it gave no reason"
