"""The rows of one llama_decode, in memory that llama.cpp reads.

Owns the arrays behind a `llama_batch`. Never calls llama.cpp and checks nothing: `backend` does. The engine's
thread uses it.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp as C
import numpy as np
from numpy.typing import NDArray


class Batch:
    """Rows for llama_decode in numpy memory; element writes through ctypes cost 100 times as much."""

    def __init__(self, n_rows: int, n_dims: int = 1) -> None:
        """`n_dims` positions belong to a row of embeddings."""
        self._token = np.zeros(n_rows, np.int32)
        self._position = np.zeros(n_rows * n_dims, np.int32)
        self._slot = np.zeros(n_rows, np.int32)
        self._n_slots = np.ones(n_rows, np.int32)
        self._flag = np.zeros(n_rows, np.int8)
        addresses = self._slot.ctypes.data + np.arange(n_rows, dtype=np.uint64) * self._slot.itemsize
        self._slot_pointers = addresses.astype(np.uint64)
        pointer: Any = ctypes.POINTER
        self._struct: Any = C.llama_batch()
        self._struct.pos = ctypes.cast(self._position.ctypes.data, pointer(ctypes.c_int32))
        self._struct.n_seq_id = ctypes.cast(self._n_slots.ctypes.data, pointer(ctypes.c_int32))
        self._struct.seq_id = ctypes.cast(self._slot_pointers.ctypes.data, pointer(pointer(ctypes.c_int32)))
        self._struct.logits = ctypes.cast(self._flag.ctypes.data, pointer(ctypes.c_int8))

    def fill(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], outputs: Sequence[int]
    ) -> Any:
        """The struct for rows of tokens, `outputs` being the indexes of those that give logits."""
        self._token[: len(tokens)] = tokens
        self._struct.token = ctypes.cast(self._token.ctypes.data, ctypes.POINTER(ctypes.c_int32))
        self._struct.embd = None
        self._position[: len(tokens)] = positions
        return self._place(len(tokens), slots, outputs)

    def fill_rows(
        self,
        rows: NDArray[np.float32],
        positions: NDArray[np.int32],
        slots: Sequence[int],
        outputs: Sequence[int],
    ) -> Any:
        """As `fill`, for rows of embeddings that live until they are decoded; `positions` [dims, n]."""
        self._struct.token = None
        self._struct.embd = ctypes.cast(rows.ctypes.data, ctypes.POINTER(ctypes.c_float))
        self._position[: positions.size] = positions.ravel()
        return self._place(len(rows), slots, outputs)

    def _place(self, n: int, slots: Sequence[int], outputs: Sequence[int]) -> Any:
        self._slot[:n] = slots
        self._flag[:n] = 0
        self._flag[outputs] = 1
        self._struct.n_tokens = n
        return self._struct
