"""A loaded encoder of the kind `sentence`, whoever computes.

Owns the joining of reading, padding and computing. `read` runs in the intake thread, `compute` and `close` in
the engine's.
"""

from collections.abc import Sequence

from llmatic.core.encoding import EncodeRequest
from llmatic.core.types import EngineInfo
from llmatic.engines.encoding.backend import Item, Matrix
from llmatic.engines.encoding.inputs import InputReader
from llmatic.engines.sentence.computing import Computer, Shape
from llmatic.engines.sentence.padding import columns_of


class SentenceBackend:
    """An EncoderBackend."""

    def __init__(self, info: EngineInfo, reader: InputReader, computer: Computer, shape: Shape) -> None:
        self._info = info
        self._reader = reader
        self._computer = computer
        self._shape = shape

    @property
    def info(self) -> EngineInfo:
        """What was loaded."""
        return self._info

    def read(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
        """As EncoderBackend.read."""
        return self._reader.read(request, first, last)

    def compute(self, items: Sequence[Item]) -> Matrix:
        """As EncoderBackend.compute."""
        length = self._computer.padded(len(items), max(len(item.ids) for item in items))
        length = min(length, self._info.n_context)
        return self._computer.rows(columns_of(items, self._shape.columns, self._shape.pad_id, length))

    def stats(self) -> dict[str, float]:
        """It has none of its own."""
        return {}

    def close(self) -> None:
        """Free the model. Idempotent."""
        self._computer.close()
