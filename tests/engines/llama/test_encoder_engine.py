"""The kind `llama` of a GGUF encoder: another engine, with the same factory."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded, EncodeRequest
from llmatic.core.errors import ConfigError
from llmatic.core.ports import EngineEvent, StepEngine, StepEvents
from llmatic.core.types import Finished, Started
from llmatic.engines import load_engine
from llmatic.engines.llama import create
from llmatic.engines.llama.engine import LlamaEngine
from tests.engines.llama.small_encoder import write_reranker
from tests.engines.llama.small_model import spec_of

PATIENCE_S = 60


def encoder_spec(path: Path, **options: Any) -> ModelSpec:
    return ModelSpec(
        id="m", engine="llama", source=str(path), threads=1, options={"batch_tokens": 64, **options}
    )


def ask(engine: Any, request: EncodeRequest) -> list[EngineEvent]:
    """All events of a request, errors raised."""
    found: SimpleQueue[EngineEvent | Exception] = SimpleQueue()

    def listen(events: StepEvents) -> None:
        for _, event in events:
            found.put(event)

    engine.start(listen)
    engine.submit(request)
    events: list[EngineEvent] = []
    while not events or not isinstance(events[-1], Finished):
        event = found.get(timeout=PATIENCE_S)
        if isinstance(event, Exception):
            raise event
        events.append(event)
    return events


def rows_of(events: list[EngineEvent], n_rows: int) -> np.ndarray[Any, Any]:
    rows: dict[int, Any] = {}
    for event in events:
        if isinstance(event, Encoded):
            values = np.frombuffer(event.data, "<f4").reshape(len(event.rows), -1)
            rows |= dict(zip(event.rows, values, strict=True))
    return np.stack([rows[row] for row in range(n_rows)])


@pytest.fixture
def loaded() -> Any:
    """Loads engines and closes them."""
    engines: list[Any] = []

    def load(spec: ModelSpec, factory: Callable[[ModelSpec], Any] = create) -> Any:
        engines.append(factory(spec))
        return engines[-1]

    yield load
    for engine in engines:
        asyncio.run(engine.close())


def test_a_reranker(tmp_path: Path, loaded: Any) -> None:
    engine = loaded(encoder_spec(write_reranker(tmp_path / "m.gguf")), load_engine)
    assert isinstance(engine, StepEngine)
    assert not engine.info.writes
    assert engine.info.encoder is not None
    assert engine.info.encoder.task == "rank"
    texts = ("hell", "in there " * 100, "")
    events = ask(engine, EncodeRequest(id="r", task="rank", texts=texts, query="what?"))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[-1].usage.n_prompt_tokens == events[0].n_prompt_tokens > 200
    assert ((rows := rows_of(events, 3)) > 0).all()
    assert (rows < 1).all()
    assert len(set(rows[:, 0])) == 3


def test_a_chat_model_stays_one(model_path: Path, loaded: Any) -> None:
    engine = loaded(spec_of(model_path))
    assert isinstance(engine, LlamaEngine)
    assert engine.info.writes
    assert engine.info.encoder is None


def test_a_chat_model_told_to_embed(model_path: Path, loaded: Any) -> None:
    engine = loaded(encoder_spec(model_path, task="embed", pooling="last"))
    events = ask(engine, EncodeRequest(id="r", task="embed", texts=("hell", "there"), dimensions=None))
    rows = rows_of(events, 2)
    assert rows.shape == (2, 32)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "embed"}, "set the option 'pooling'"),
        ({"task": "rank"}, "holds no classifier"),
        ({"task": "write"}, "'task' must be one of"),
        ({"pooling": "mean"}, "no option 'pooling'"),
    ],
)
def test_what_a_chat_model_cannot_do(model_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create(spec_of(model_path, options=options))


def test_the_sum_of_the_file_is_checked(tmp_path: Path) -> None:
    path = write_reranker(tmp_path / "m.gguf")
    with pytest.raises(ConfigError, match=r"m\.gguf"):
        create(encoder_spec(path, sha256={"m.gguf": "0" * 64}))


def test_progress_is_told(tmp_path: Path) -> None:
    shares: list[float | None] = []
    spec = encoder_spec(write_reranker(tmp_path / "m.gguf"))
    engine = create(spec, on_progress=lambda share, _: shares.append(share))
    asyncio.run(engine.close())
    assert shares[-1] == 1.0
