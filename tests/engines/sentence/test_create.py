import asyncio
import queue
from pathlib import Path

import numpy as np
import pytest

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded, EncodeRequest
from llmatic.core.errors import ConfigError, LlmaticError
from llmatic.core.ports import EngineEvent, StepEngine, StepEvents
from llmatic.core.types import Finished, Usage
from llmatic.engines import load_engine
from tests.engines.sentence.models import make_small


def test_the_kind_sentence_serves_a_folder(
    minilm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMATIC_CACHE_DIR", str(tmp_path / "cache"))
    told: list[str] = []
    options = {"backend": "torch", "batch_tokens": 64, "token_vocabulary": "own"}
    spec = ModelSpec("m", str(make_small(tmp_path)), "sentence", options=options)
    engine = load_engine(spec, lambda _share, what: told.append(what))
    assert isinstance(engine, StepEngine)
    assert told == ["loading with torch"]
    events: queue.SimpleQueue[tuple[str, EngineEvent | LlmaticError]] = queue.SimpleQueue()

    def on_step(step: StepEvents) -> None:
        for event in step:
            events.put(event)

    engine.start(on_step)
    engine.submit(EncodeRequest("1", "embed", token_ids=((7592, 2088), (7592,))))
    rows: dict[int, bytes] = {}
    while not isinstance(event := events.get(timeout=60)[1], Finished):
        assert not isinstance(event, LlmaticError), event
        if isinstance(event, Encoded):
            width = len(event.data) // len(event.rows)
            rows |= {row: event.data[width * place :][:width] for place, row in enumerate(event.rows)}
    asyncio.run(engine.close())
    assert event.usage == Usage(7, 0)
    assert {row: np.frombuffer(data, "<f4").shape for row, data in rows.items()} == {0: (32,), 1: (32,)}


def test_what_is_wrong_stops_the_loading(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no option 'bakend'; did you mean 'backend'"):
        load_engine(ModelSpec("m", str(tmp_path), "sentence", options={"bakend": "torch"}))
