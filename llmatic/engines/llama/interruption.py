"""Ending a decode that runs. Owns the memory that llama.cpp's abort callback looks at."""

import ctypes
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import llama_cpp as C


class Interruption:
    """llama.cpp's abort callback without Python in it: libc's strlen over a string that grows from "" to "x".

    The compute threads ask it hundreds of times per decode; a Python function would need the GIL there.
    """

    def __init__(self, params: Any) -> None:
        self._text = ctypes.create_string_buffer(2)
        self._lock = threading.Lock()
        self._is_allowed = False
        self._is_final = False
        try:
            strlen = ctypes.CDLL(None).strlen
        except (AttributeError, OSError, TypeError):
            return
        params.abort_callback = ctypes.cast(strlen, C.ggml_abort_callback)
        params.abort_callback_data = ctypes.cast(self._text, ctypes.c_void_p)

    def set(self) -> None:
        """End the running decode and every later one. From any thread."""
        with self._lock:
            self._is_final = True
            self._text[0] = b"x"

    def hurry(self) -> None:
        """End the running decode if that is allowed. From any thread."""
        with self._lock:
            if self._is_allowed:
                self._text[0] = b"x"

    @contextmanager
    def allowed(self) -> Generator[None]:
        """A decode that somebody may be in a hurry to see the end of. In the engine's thread."""
        with self._lock:
            self._is_allowed = True
        try:
            yield
        finally:
            with self._lock:
                self._is_allowed = False
                if not self._is_final:
                    self._text[0] = b"\0"
