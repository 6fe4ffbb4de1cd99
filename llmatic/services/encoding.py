"""Runs encode requests and gathers their rows.

Owns nothing: whoever awaits `encode_rows` may be cancelled, and the request with it. Never knows HTTP and
never renders. Event loop's thread.
"""

from array import array
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from llmatic.core.encoding import Encoded, EncodeEvent, EncodeRequest
from llmatic.core.errors import EngineFailed
from llmatic.core.types import Finished, Usage

FLOAT_BYTES = 4

OpenEncoding = Callable[[EncodeRequest], AsyncGenerator[EncodeEvent, None]]


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of an answer. `data`: float32, little-endian, shape [n_rows, n_columns], row after row."""

    n_rows: int
    n_columns: int
    data: bytes
    n_prompt_tokens: int

    def row(self, index: int) -> bytes:
        """The bytes of one row."""
        size = self.n_columns * FLOAT_BYTES
        return self.data[index * size : (index + 1) * size]

    def values(self) -> list[list[float]]:
        """The rows as numbers."""
        numbers = array("f", self.data).tolist()
        return [numbers[k * self.n_columns : (k + 1) * self.n_columns] for k in range(self.n_rows)]


async def encode_rows(
    open_stream: OpenEncoding, request: EncodeRequest, spent: Callable[[Usage], None] | None = None
) -> Rows:
    """Every row of the request. Raises what the engine raises.

    `spent` is told what was computed, once, however it ends; of a request that was cut off in proportion to
    its rows.
    """
    n_seen = n_columns = n_announced = 0
    n_tokens: int | None = None
    data = bytearray()
    try:
        async with aclosing(open_stream(request)) as events:
            async for event in events:
                if isinstance(event, Encoded):
                    size = len(event.data) // len(event.rows)
                    if not data:
                        n_columns = size // FLOAT_BYTES
                        data = bytearray(request.n_rows * size)
                    for k, row in enumerate(event.rows):
                        data[row * size : (row + 1) * size] = event.data[k * size : (k + 1) * size]
                    n_seen += len(event.rows)
                elif isinstance(event, Finished):
                    n_tokens = event.usage.n_prompt_tokens
                else:
                    n_announced = event.n_prompt_tokens
    finally:
        if n_tokens is None:
            n_tokens = n_announced * n_seen // max(1, request.n_rows)
        if spent is not None:
            spent(Usage(n_tokens, 0))
    if n_seen != request.n_rows:
        raise EngineFailed("The engine ended the request without finishing it.")
    return Rows(request.n_rows, n_columns, bytes(data), n_tokens)
