"""llama.cpp, fenced in: one loaded model with one context.

The only file, with `model`, `vocabulary`, `adapters` and `media.projector`, that calls llama.cpp. Every
argument is checked in Python first, because llama.cpp aborts the process on many wrong ones; a failed check
is our own mistake and raises ValueError. One thread owns a Backend and makes every call on it; only
`interrupt` may come from another one. Never decides what to decode: that is the scheduler's work.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import llama_cpp as C
import numpy as np
from numpy.typing import NDArray

from llmatic.core.errors import ConfigError, EngineFailed
from llmatic.engines.llama.adapters import Adapters, AdapterSet
from llmatic.engines.llama.interruption import Interruption
from llmatic.engines.llama.llama_batch import Batch
from llmatic.engines.llama.log import last_lines, silence
from llmatic.engines.llama.media.rows import GridPart
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import MAX_SEQUENCES, Options
from llmatic.engines.llama.positions import N_DIMS, Positions

N_SCORED_ROWS_MAX = 32
N_KEPT_SLOTS = 48
_NO_ROOM, _ABORTED = 1, 2
_FLASH_ATTENTION = (C.LLAMA_FLASH_ATTN_TYPE_DISABLED, C.LLAMA_FLASH_ATTN_TYPE_ENABLED)
# ggml.h
_CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}


class DecodeResult(Enum):
    """What became of a batch. NO_ROOM and ABORTED leave the cache usable; NO_ROOM leaves it as it was."""

    DONE = "done"
    NO_ROOM = "no room"
    ABORTED = "aborted"


class Backend:
    """A context over `model`.

    `n_context` cells serve `n_sequences` sequences (ids 0 … n_sequences-1), of which one may hold at most
    `n_context_each`: all of them, or its own part if the cache is not unified. At most `n_batch`
    rows are decoded by a call, and at most `n_outputs_max` of them give logits.
    """

    def __init__(
        self,
        model: Model,
        options: Options,
        *,
        n_context: int,
        n_sequences: int,
        n_threads: int,
        is_unified: bool = True,
        has_flash_attention: bool = True,
    ) -> None:
        """Allocate the cache. Raises ConfigError with llama.cpp's last words if it cannot."""
        silence()
        if not 1 <= n_sequences <= MAX_SEQUENCES:
            raise ConfigError(f"from 1 to {MAX_SEQUENCES} parallel sequences are possible, not {n_sequences}")
        self.model = model
        self.n_vocab = model.vocabulary.n_tokens
        self.n_sequences = n_sequences
        self._length = [0] * n_sequences
        self._can_add = is_unified and model.can_fork and n_sequences < MAX_SEQUENCES
        self._copies: list[tuple[int, int]] = []
        params = C.llama_context_default_params()
        params.n_ctx = n_context
        params.n_batch = options.batch
        params.n_ubatch = min(options.ubatch, options.batch)
        params.n_seq_max = n_sequences + self._can_add  # one more to put restored parts together in
        params.n_outputs_max = min(options.batch, n_sequences + N_SCORED_ROWS_MAX)
        params.n_threads = n_threads
        params.n_threads_batch = options.threads_batch or n_threads
        params.flash_attn_type = _FLASH_ATTENTION[has_flash_attention]
        params.kv_unified = self.is_unified = is_unified
        params.swa_full = True
        params.offload_kqv = options.offload_kqv
        params.type_k, params.type_v = _CACHE_TYPES[options.type_k], _CACHE_TYPES[options.type_v]
        attention, parts = "flash" if has_flash_attention else "plain", 1 if is_unified else n_sequences
        self._layout = f"{options.type_k}/{options.type_v}/{attention}/{parts}"
        self.interruption = Interruption(params)
        self.adapters = Adapters(model.handle)
        self._used: AdapterSet = ()
        self._context: Any = C.llama_init_from_model(model.handle, params)
        if not self._context:
            raise ConfigError(f"llama.cpp could not create a context of {n_context} tokens: {last_lines()}")
        self._memory = C.llama_get_memory(self._context)
        if not self._memory:
            self.close()
            raise ConfigError(f"'{model.path}' keeps no memory of what it read and so writes no text")
        n_each = int(C.llama_n_ctx_seq(self._context))
        self.n_context = min(n_context, n_each) if self.is_unified else n_each * n_sequences
        self.n_context_each = min(n_each, self.n_context)
        self.n_batch = int(C.llama_n_batch(self._context))
        self.n_whole = min(self.n_batch, int(C.llama_n_ubatch(self._context)))
        self.n_outputs_max = min(self.n_batch, n_sequences + N_SCORED_ROWS_MAX)
        if self.n_batch < n_sequences:
            self.close()
            raise ConfigError(
                f"a context of {n_context} tokens is too small for {n_sequences} parallel sequences"
            )
        self._positions = Positions(n_sequences)
        self._batch = Batch(self.n_batch, N_DIMS if self.model.has_grids else 1)
        self._rows: NDArray[np.float32] | None = None

    @property
    def layout(self) -> str:
        """What saved states and the bits of the results depend on, besides the weights."""
        return self._layout

    @property
    def can_fork(self) -> bool:
        """Whether sequences may share the cells of a common beginning."""
        return self.model.can_fork

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], outputs: Sequence[int]
    ) -> DecodeResult:
        """Compute one batch; `outputs` are the indexes of the rows whose logits are wanted, ascending.

        Each slot's positions must go on where the slot ends. Raises ValueError on any argument that llama.cpp
        would not survive or would silently misread, EngineFailed when the computation itself fails.
        """
        if tokens and not 0 <= min(tokens) <= max(tokens) < self.n_vocab:
            raise ValueError("a token is outside the vocabulary")
        lengths = self._check(len(tokens), positions, slots, outputs)
        places = self._positions.of_tokens(positions, slots)
        return self._decode(self._batch.fill(tokens, places, slots, outputs), lengths, len(outputs))

    def decode_rows(
        self,
        rows: NDArray[np.float32],
        positions: Sequence[int],
        slots: Sequence[int],
        outputs: Sequence[int],
        *,
        is_causal: bool = True,
        grid: GridPart | None = None,
    ) -> DecodeResult:
        """As `decode`, of embeddings [n, n_embd] in the place of tokens.

        Not `is_causal`: every row sees those behind it too; at most `n_whole` are possible then. `grid`:
        where the rows, all of one slot, stand in a model that `has_grids`.
        """
        if rows.ndim != 2 or rows.shape[1] != self.model.n_embd or rows.dtype != np.float32:
            raise ValueError(f"rows of {self.model.n_embd} float32 are needed, not {rows.dtype} {rows.shape}")
        if not is_causal and len(rows) > self.n_whole:
            raise ValueError(f"at most {self.n_whole} rows can see each other")
        lengths = self._check(len(rows), positions, slots, outputs)
        if grid is not None and (
            not self.model.has_grids or len(lengths) != 1 or grid.places.shape[1] != len(rows)
        ):
            raise ValueError("a grid is needed of one slot's rows, in a model that has grids")
        rows = np.ascontiguousarray(rows)
        places = self._positions.of_rows(positions, slots, grid, n_dims=N_DIMS if self.model.has_grids else 1)
        batch = self._batch.fill_rows(rows, places, slots, outputs)
        if not is_causal:
            C.llama_set_causal_attn(self._context, False)
        try:
            result = self._decode(batch, lengths, len(outputs))
        finally:
            if not is_causal:
                C.llama_set_causal_attn(self._context, True)
        if grid is not None and result is DecodeResult.DONE:
            self._positions.add(slots[0], grid)
        return result

    def _decode(self, batch: Any, lengths: dict[int, int], n_outputs: int) -> DecodeResult:
        self._rows = None
        code = C.llama_decode(self._context, batch)
        self._copies.clear()
        if code == _NO_ROOM:
            return DecodeResult.NO_ROOM
        if code == _ABORTED:
            for slot in lengths:
                self._length[slot] = int(C.llama_memory_seq_pos_max(self._memory, slot)) + 1
            return DecodeResult.ABORTED
        if code != 0:
            raise EngineFailed(f"llama.cpp failed to decode a batch (code {code}): {last_lines()}")
        for slot, length in lengths.items():
            self._length[slot] = length
        if n_outputs:
            C.llama_synchronize(self._context)
            pointer = C.llama_get_logits(self._context)
            if not pointer:
                raise EngineFailed(f"llama.cpp returned no logits: {last_lines()}")
            self._rows = np.ctypeslib.as_array(pointer, shape=(n_outputs, self.n_vocab))
        return DecodeResult.DONE

    def _check(
        self, n_rows: int, positions: Sequence[int], slots: Sequence[int], outputs: Sequence[int]
    ) -> dict[int, int]:
        """The slots' lengths after this batch; ValueError if it may not be given to llama.cpp."""
        if not 1 <= n_rows <= self.n_batch:
            raise ValueError(f"a batch holds from 1 to {self.n_batch} rows, not {n_rows}")
        if len(positions) != n_rows or len(slots) != n_rows:
            raise ValueError("tokens, positions and slots differ in length")
        if min(slots) < 0 or max(slots) >= self.n_sequences:
            raise ValueError("a slot is out of range")
        if len(outputs) > self.n_outputs_max or any(not 0 <= row < n_rows for row in outputs):
            raise ValueError("too many output rows, or one that is not in the batch")
        if any(a >= b for a, b in pairwise(outputs)):
            raise ValueError("output rows must ascend")
        lengths: dict[int, int] = {}
        for slot, position in zip(slots, positions, strict=True):
            if position != lengths.get(slot, self._length[slot]):
                raise ValueError(
                    f"slot {slot} goes on at {lengths.get(slot, self._length[slot])}, not {position}"
                )
            lengths[slot] = position + 1
        return lengths

    def logits(self, index: int) -> NDArray[np.float32]:
        """Logits of the last decode's `index`-th output row: a writable view, valid until the next decode."""
        if self._rows is None or not 0 <= index < len(self._rows):
            raise ValueError(f"there is no output row {index}")
        row: NDArray[np.float32] = self._rows[index]
        return row

    def length(self, slot: int) -> int:
        """Tokens that the slot holds."""
        return self._length[slot]

    def fork(self, source: int, target: int, n_tokens: int) -> None:
        """Let the empty slot `target` have the first `n_tokens` of `source`.

        In a unified cache they share the cells. Elsewhere they are copied during the next decode, and only a
        whole sequence can be: what is too much is cut off again.
        """
        self._check_slots(source, target)
        if not self.can_fork:
            raise ValueError("this model's state cannot be shared")
        if source == target or self._length[target] or not 0 <= n_tokens <= self._length[source]:
            raise ValueError(f"cannot share {n_tokens} tokens of slot {source} with slot {target}")
        if self._positions.ends_in_grid(source, n_tokens):
            raise ValueError(f"cannot share {n_tokens} tokens of slot {source}: they end in a picture")
        if n_tokens:
            end = self._positions.of(source, n_tokens)
            if self.is_unified:
                C.llama_memory_seq_cp(self._memory, source, target, 0, end)
            else:
                C.llama_memory_seq_cp(self._memory, source, target, -1, -1)
                self._copies.append((source, target))
                C.llama_memory_seq_rm(self._memory, target, end, -1)
            self._length[target] = n_tokens
            self._positions.fork(source, target, n_tokens)

    def free(self, slot: int) -> None:
        """Forget the slot's tokens."""
        self._check_slots(slot)
        C.llama_memory_seq_rm(self._memory, slot, -1, -1)
        self._length[slot] = 0
        self._positions.trim(slot, 0)

    def trim(self, slot: int, n_tokens: int) -> None:
        """Forget what the slot holds behind its first `n_tokens`.

        Of a picture in a grid all rows go; nothing can go on from among them anyway.
        """
        self._check_slots(slot)
        if not 0 <= n_tokens <= self._length[slot]:
            raise ValueError(f"slot {slot} holds {self._length[slot]} tokens, not {n_tokens}")
        if n_tokens < self._length[slot]:
            if not C.llama_memory_seq_rm(self._memory, slot, self._positions.of(slot, n_tokens), -1):
                raise ValueError("this model's state cannot be cut")
            self._length[slot] = n_tokens
            self._positions.trim(slot, n_tokens)

    def save(self, slot: int) -> NDArray[np.uint8]:
        """The slot's state as bytes, from which `restore` makes an equal one in a cache of the same shape.

        Raises EngineFailed if it is a copy that the next decode is going to make.
        """
        self._check_slots(slot)
        if any(slot == target for _, target in self._copies):
            raise EngineFailed("the copy in this slot has not been made yet")
        size = int(C.llama_state_seq_get_size(self._context, slot))
        state = np.empty(size, np.uint8)
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        n_written = int(C.llama_state_seq_get_data(self._context, pointer, size, slot))
        if not n_written:
            raise EngineFailed(f"llama.cpp could not save a sequence: {last_lines()}")
        return state[:n_written]

    @property
    def can_add(self) -> bool:
        """Whether `restore` may add to a slot that holds something."""
        return self._can_add

    def restore(
        self, slot: int, state: NDArray[np.uint8], n_tokens: int, grids: Sequence[GridPart] = ()
    ) -> None:
        """Let `slot` go on with a saved `state` that ends at `n_tokens` tokens and begins where it ends.

        `grids`: those of all pictures in the text.
        Raises EngineFailed, with the slot as it was, if llama.cpp does not take it or finds other positions
        in it, or if the next decode is going to copy from or to the slot.
        """
        self._check_slots(slot)
        if any(slot in ends for ends in self._copies):
            raise EngineFailed("a copy with this slot has not been made yet")
        n_held = self._length[slot]
        if n_held and not self.can_add:
            raise ValueError(f"slot {slot} is not empty")
        target = self.n_sequences if n_held else slot
        state = np.ascontiguousarray(state)
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        n_read = int(C.llama_state_seq_set_data(self._context, pointer, state.nbytes, target))
        first = int(C.llama_memory_seq_pos_min(self._memory, target))
        end = int(C.llama_memory_seq_pos_max(self._memory, target)) + 1
        is_right = n_read > 0 and first == n_held and end == self._positions.end_of(n_tokens, grids)
        if is_right and n_held:
            C.llama_memory_seq_cp(self._memory, target, slot, first, end)
        if n_held or not is_right:
            C.llama_memory_seq_rm(self._memory, target, -1, -1)
        if not is_right:
            raise EngineFailed(f"a saved state of {n_tokens} tokens was not taken: {last_lines()}")
        self._length[slot] = n_tokens
        self._positions.set(slot, n_tokens, grids)

    def prepare(self, adapters: AdapterSet, in_use: Iterable[AdapterSet]) -> None:
        """Load adapters for later decodes, keeping those `in_use`. Raises InvalidRequest for a bad one."""
        if adapters:
            self.adapters.prepare(adapters, in_use)

    def use(self, adapters: AdapterSet) -> None:
        """Run the next decodes with exactly these adapters, which `prepare` has loaded."""
        if adapters != self._used:
            self.adapters.use(self._context, adapters)
            self._used = adapters

    def clear(self) -> None:
        """Forget every slot."""
        C.llama_memory_clear(self._memory, False)
        self._copies.clear()
        self._positions.clear()
        self._length = [0] * self.n_sequences

    def interrupt(self) -> None:
        """Make the running decode, and every later one, return ABORTED soon (CPU only). From any thread."""
        self.interruption.set()

    def close(self) -> None:
        """Free the context. Idempotent; nothing else may be called afterwards."""
        context, self._context = self._context, None
        self._rows = None
        if context:
            C.llama_free(context)
            self.adapters.close()

    def _check_slots(self, *slots: int) -> None:
        if not all(0 <= slot < self.n_sequences for slot in slots):
            raise ValueError(f"slots run from 0 to {self.n_sequences - 1}")


def open_backend(
    path: Path,
    options: Options,
    *,
    n_gpu_layers: int | None,
    n_context: int | None,
    n_running: int,
    n_threads: int,
    is_exact: bool = False,
    has_media: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Backend:
    """Load the file and make a context for `n_running` sequences at once, and some more to keep texts in.

    `n_context` None picks one from the model's training length. `is_exact`: arithmetic that does not depend
    on what else is computed. `has_media`: pictures are going to be read. Raises ConfigError: not a model, a
    kind that cannot be served, no memory.
    """
    model = Model(path, options, n_gpu_layers=n_gpu_layers, on_progress=on_progress)
    try:
        n_context = n_context or min(model.n_context_train * n_running, 16384)
        is_unified = options.kv_unified and not is_exact
        n_kept_share = options.n_kept_share(n_gpu_layers, saves_all=not (has_media and model.has_grids))
        keeps = is_unified and model.can_fork and n_kept_share > 0
        return Backend(
            model,
            options,
            n_context=n_context,
            n_sequences=min(MAX_SEQUENCES, n_running + N_KEPT_SLOTS) if keeps else n_running,
            n_threads=n_threads,
            is_unified=is_unified,
            has_flash_attention=not is_exact,
        )
    except BaseException:
        model.close()
        raise
