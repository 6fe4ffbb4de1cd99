"""What an encoder's engine needs of the library that computes.

Owns the interface alone. `read` is called in the intake thread or in the one that submits, never twice at
once; `compute` and `close` in the engine's. A backend must bear `read` and `compute` at once. Shapes are in
the docstrings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmatic.core.encoding import EncodeRequest
from llmatic.core.types import EngineInfo

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Item:
    """One input, ready to be computed: all its token ids, special ones included.

    `type_ids`: which of two texts each token belongs to (0 or 1), of a ranked pair; None: all 0.
    """

    ids: Sequence[int]
    type_ids: Sequence[int] | None = None


class EncoderBackend(Protocol):
    """A loaded encoder."""

    @property
    def info(self) -> EngineInfo:
        """What was loaded; `info.encoder` is set."""
        ...

    def read(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
        """Inputs `first` to `last` (not included) of the request, each as an Item with at least one token.

        Raises ContextLengthExceeded for an input too long, unless it is to be truncated; InvalidRequest for
        token ids that mean nothing.
        """
        ...

    def compute(self, items: Sequence[Item]) -> Matrix:
        """Rows of shape [len(items), info.encoder.n_columns], in the items' order. Blocks."""
        ...

    def stats(self) -> dict[str, float]:
        """Gauges of its own by name, if it has any. Any thread."""
        ...

    def close(self) -> Any:
        """Free the model. Idempotent."""
        ...
