"""llama.cpp, fenced in for encoders: tokens in, one row of numbers for each text out.

Owns contexts over a loaded model. Every argument is checked in Python first, because llama.cpp aborts the
process on many wrong ones; a failed check is our own mistake and raises ValueError. One thread makes all
calls. Knows neither tasks nor text.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp as C
import numpy as np

from llmatic.core.errors import ConfigError, EngineFailed
from llmatic.engines.encoding.backend import Matrix
from llmatic.engines.llama.llama_batch import Batch
from llmatic.engines.llama.log import last_lines, silence
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from llmatic.gguf_header import POOLINGS

N_SEQUENCES = 64
N_SHORT = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """What a context is made for: `n_tokens` of the longest text, `n_call` rows in one call of llama.cpp.

    Only a model that looks back alone (`is_causal`) may read a text in several calls.
    """

    n_tokens: int
    n_call: int
    n_sequences: int


class EncoderContext:
    """One llama_context that gives one row for each sequence."""

    def __init__(
        self, model: Model, options: Options, shape: Shape, *, pooling: str, n_columns: int, n_threads: int
    ) -> None:
        """Allocate. Raises ConfigError with llama.cpp's last words if it cannot."""
        silence()
        assert 1 <= shape.n_sequences <= shape.n_call <= shape.n_tokens
        self.shape = shape
        self._n_vocab = model.vocabulary.n_tokens
        self._n_columns = n_columns
        params = C.llama_context_default_params()
        params.n_ctx = shape.n_tokens
        params.n_batch = params.n_ubatch = shape.n_call
        params.n_seq_max = shape.n_sequences
        params.n_threads = n_threads
        params.n_threads_batch = options.threads_batch or n_threads
        params.embeddings = True
        params.pooling_type = POOLINGS.index(pooling)
        params.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.kv_unified = True
        params.swa_full = True
        params.offload_kqv = options.offload_kqv
        self._context: Any = C.llama_init_from_model(model.handle, params)
        if not self._context:
            raise ConfigError(
                f"llama.cpp could not create a context of {shape.n_tokens} tokens: {last_lines()}"
            )
        self._memory = C.llama_get_memory(self._context)
        is_encoder = C.llama_model_has_encoder(model.handle)
        self._call = C.llama_encode if is_encoder else C.llama_decode
        self._batch = Batch(shape.n_call)

    @property
    def has_memory(self) -> bool:
        """Whether a call goes on where the one before has ended."""
        return bool(self._memory)

    def compute(self, texts: Sequence[Sequence[int]]) -> Matrix:
        """One row [n_columns] for each text's tokens.

        Raises ValueError on what llama.cpp would not survive, EngineFailed when the computation fails.
        """
        self._check(texts)
        if self._memory:
            C.llama_memory_clear(self._memory, False)
        n_call = self.shape.n_call
        if len(texts) == 1:
            for first in range(0, len(texts[0]), n_call):
                part = texts[0][first : first + n_call]
                self._run(part, range(first, first + len(part)), [0] * len(part))
        else:
            tokens = [token for text in texts for token in text]
            positions = [place for text in texts for place in range(len(text))]
            self._run(tokens, positions, [slot for slot, text in enumerate(texts) for _ in text])
        return self._rows(len(texts))

    def _check(self, texts: Sequence[Sequence[int]]) -> None:
        shape = self.shape
        if not 1 <= len(texts) <= shape.n_sequences or not all(len(text) for text in texts):
            raise ValueError(f"from 1 to {shape.n_sequences} texts are possible, none of them empty")
        n_tokens = sum(len(text) for text in texts)
        if n_tokens > (shape.n_tokens if len(texts) == 1 else shape.n_call):
            raise ValueError(f"{n_tokens} tokens are too many")
        if min(map(min, texts)) < 0 or max(map(max, texts)) >= self._n_vocab:
            raise ValueError("a token is outside the vocabulary")

    def _run(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int]) -> None:
        batch = self._batch.fill(tokens, positions, slots, range(len(tokens)))
        code = self._call(self._context, batch)
        if code != 0:
            raise EngineFailed(f"llama.cpp failed to compute a batch (code {code}): {last_lines()}")

    def _rows(self, n_rows: int) -> Matrix:
        C.llama_synchronize(self._context)
        rows = np.empty((n_rows, self._n_columns), np.float32)
        for slot in range(n_rows):
            row = C.llama_get_embeddings_seq(self._context, slot)
            if not row:
                raise EngineFailed(f"llama.cpp returned no row for a text: {last_lines()}")
            ctypes.memmove(rows[slot].ctypes.data, row, rows[slot].nbytes)
        return rows

    def close(self) -> None:
        """Free it. Idempotent."""
        context, self._context = self._context, None
        if context:
            C.llama_free(context)


class EncoderContexts:
    """A small context for most texts, and a larger one while long texts are computed.

    llama.cpp keeps room for the logits of every row of a call, which encoders never fill: of a vocabulary of
    250,000 tokens 1 MB a row. So the room for long texts is given back with the first call without one.
    """

    def __init__(
        self,
        model: Model,
        options: Options,
        *,
        n_context: int,
        n_rows: int,
        pooling: str,
        n_columns: int,
        n_threads: int,
        is_causal: bool,
    ) -> None:
        """`n_context`: the longest text. `n_rows`: tokens of several texts in one call.

        `is_causal`: tokens see only those before them, and the last one's row is the text's.
        """
        self._model, self._options = model, options
        self._n_context = n_context
        self._pooling, self._n_columns, self._n_threads = pooling, n_columns, n_threads
        n_short = max(n_rows, min(n_context, N_SHORT))
        self._n_rows = n_rows
        self._short = self._open(Shape(n_short, n_short, min(N_SEQUENCES, n_short)))
        self._long: EncoderContext | None = None
        self._is_causal = is_causal and self._short.has_memory

    def _open(self, shape: Shape) -> EncoderContext:
        return EncoderContext(
            self._model,
            self._options,
            shape,
            pooling=self._pooling,
            n_columns=self._n_columns,
            n_threads=self._n_threads,
        )

    def compute(self, texts: Sequence[Sequence[int]]) -> Matrix:
        """One row for each text's tokens, in order. As `EncoderContext.compute`."""
        rows = np.empty((len(texts), self._n_columns), np.float32)
        n_short = self._short.shape.n_tokens
        n_longest = max(map(len, texts), default=0)
        if n_longest > self._n_context:
            raise ValueError(f"a text of {n_longest} tokens is longer than the context of {self._n_context}")
        if n_longest <= n_short:
            self._free_long()
        group: list[int] = []
        n_tokens = 0
        for place, text in enumerate(texts):
            if len(text) > n_short:
                rows[place] = self._long_context(n_longest).compute([text])[0]
                continue
            if group and (n_tokens + len(text) > self._n_rows or len(group) == self._short.shape.n_sequences):
                rows[group] = self._short.compute([texts[k] for k in group])
                group, n_tokens = [], 0
            group.append(place)
            n_tokens += len(text)
        if group:
            rows[group] = self._short.compute([texts[k] for k in group])
        return rows

    @property
    def n_long(self) -> int:
        """Tokens for which there is room beyond the usual; 0 unless a long text came last."""
        return 0 if self._long is None else self._long.shape.n_tokens

    def _long_context(self, n_tokens: int) -> EncoderContext:
        if self._long is None or self._long.shape.n_tokens < n_tokens:
            self._free_long()
            n_room = max(n_tokens, min(self._n_context, 1 << (n_tokens - 1).bit_length()))
            n_call = self._short.shape.n_call if self._is_causal else n_room
            try:
                self._long = self._open(Shape(n_room, n_call, 1))
            except ConfigError as error:
                raise EngineFailed(error.message) from error
        return self._long

    def _free_long(self) -> None:
        context, self._long = self._long, None
        if context is not None:
            context.close()

    def close(self) -> None:
        """Free all; the model stays. Idempotent."""
        self._free_long()
        self._short.close()
