"""The encoders' engine on a real model."""

import asyncio
import random
from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np
import pytest

from llmatic.config import ModelSpec
from llmatic.core.encoding import EncodeRequest
from llmatic.core.types import EngineInfo
from llmatic.engines.encoding.backend import EncoderBackend, Item, Matrix
from llmatic.engines.encoding.engine import EncoderEngine
from tests.engines.encoding.fake_backend import PATIENCE_S, Listener, ask
from tests.engines.sentence.models import minilm

pytestmark = pytest.mark.anyio
WORDS = ["the", "river", "bank", "money", "tree", "house", "green", "happy", "walking", "quickly"]


class Watched:
    """A backend that stops at each slice until it is told to go on. `entered`: how many tokens its items have."""

    def __init__(self, backend: EncoderBackend) -> None:
        self._backend = backend
        self.entered: SimpleQueue[list[int]] = SimpleQueue()
        self.permits: SimpleQueue[None] = SimpleQueue()

    @property
    def info(self) -> EngineInfo:
        return self._backend.info

    def read(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
        return self._backend.read(request, first, last)

    def stats(self) -> dict[str, float]:
        return self._backend.stats()

    def close(self) -> None:
        self._backend.close()

    def compute(self, items: Sequence[Item]) -> Matrix:
        self.entered.put([len(item.ids) for item in items])
        self.permits.get(timeout=PATIENCE_S)
        return self._backend.compute(items)


async def test_a_query_behind_2048_documents() -> None:
    pytest.importorskip("sentence_transformers")
    from llmatic.engines.sentence.loading import open_backend

    spec = ModelSpec("m", source=str(minilm()), engine="sentence", options={"backend": "torch"})
    backend = Watched(open_backend(spec).backend)
    engine, listener = EncoderEngine(spec, backend, batch_tokens=256), Listener()
    engine.start(listener)
    rng = random.Random(1)
    documents = [" ".join(rng.choices(WORDS, k=rng.randint(5, 200))) for _ in range(2048)]
    engine.submit(ask("documents", *documents))
    backend.entered.get(timeout=PATIENCE_S)
    engine.submit(ask("query", "happy walking under the green tree"))
    backend.permits.put(None)
    assert backend.entered.get(timeout=PATIENCE_S) == [8], "next is the query, alone"
    backend.permits.put(None)
    behind = listener.rows("query")[0]
    engine.cancel("documents")
    engine.submit(ask("alone", "happy walking under the green tree", documents[0]))
    for _ in range(4):
        backend.permits.put(None)
    alone = listener.rows("alone")
    assert alone[0] == pytest.approx(behind, abs=1e-6)
    assert float(np.dot(alone[1], alone[1])) == pytest.approx(1.0, abs=1e-5)
    await asyncio.wait_for(engine.close(), PATIENCE_S)
