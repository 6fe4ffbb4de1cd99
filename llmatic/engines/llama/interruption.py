"""Ending a decode that runs. Owns the memory that llama.cpp's abort callback looks at."""

import ctypes
from typing import Any

import llama_cpp as C


class Interruption:
    """llama.cpp's abort callback without Python in it: libc's strlen over a string that grows from "" to "x".

    The compute threads ask it hundreds of times per decode; a Python function would need the GIL there.
    """

    def __init__(self, params: Any) -> None:
        self._text = ctypes.create_string_buffer(2)
        try:
            strlen = ctypes.CDLL(None).strlen
        except (AttributeError, OSError, TypeError):
            return
        params.abort_callback = ctypes.cast(strlen, C.ggml_abort_callback)
        params.abort_callback_data = ctypes.cast(self._text, ctypes.c_void_p)

    def set(self) -> None:
        """From any thread."""
        self._text[0] = b"x"
