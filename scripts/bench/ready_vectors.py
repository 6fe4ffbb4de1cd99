"""An engine that has every answer ready: what is measured of a server with it is the server alone."""

import random
from array import array
from collections.abc import AsyncGenerator

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded, EncodeEvent, EncodeRequest
from llmatic.core.types import EncoderInfo, EngineInfo, Finished, Started, Usage

SIZE = 384
MOST_ROWS = 2048


class ReadyEngine:
    """Vectors of 384 random numbers, whatever is asked."""

    def __init__(self, spec: ModelSpec) -> None:
        rng = random.Random(1)
        numbers = array("f", (rng.uniform(-0.1, 0.1) for _ in range(SIZE * MOST_ROWS)))
        self._data = numbers.tobytes()
        encoder = EncoderInfo("embed", SIZE)
        self._info = EngineInfo(
            n_context=8192,
            n_context_train=8192,
            n_vocab=1,
            n_parallel=spec.parallel,
            has_chat_template=False,
            has_infill=False,
            fingerprint="ready",
            description=spec.id,
            encoder=encoder,
            writes=False,
        )

    @property
    def info(self) -> EngineInfo:
        """What it claims to be."""
        return self._info

    async def encode(self, request: EncodeRequest) -> AsyncGenerator[EncodeEvent, None]:
        """All rows at once."""
        n = request.n_rows
        yield Started(n)
        yield Encoded(tuple(range(n)), self._data[: n * SIZE * 4])
        yield Finished(Usage(n, 0))

    async def close(self) -> None:
        """Nothing to free."""
