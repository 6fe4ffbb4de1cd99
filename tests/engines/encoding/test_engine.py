"""The encoders' engine on a backend that does as it is told: what requests get, and in which order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded, EncodeRequest
from llmatic.core.engine_metrics import HELP
from llmatic.core.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, QueueFull
from llmatic.core.ports import StepEngine
from llmatic.core.types import EncoderInfo, Finished, Priority, Started
from llmatic.engines.encoding.backend import Item
from llmatic.engines.encoding.engine import EncoderEngine
from tests.engines.encoding.fake_backend import (
    N_COLUMNS,
    N_CONTEXT,
    PATIENCE_S,
    FakeBackend,
    Listener,
    ask,
    row_of,
    start,
    text_of,
)

pytestmark = pytest.mark.anyio


class Stage:
    """An engine with its backend and listener."""

    def __init__(self, backend: FakeBackend, engine: EncoderEngine, listener: Listener) -> None:
        self.backend = backend
        self.engine = engine
        self.listener = listener

    def submit(self, request_id: str, *texts: str, **fields: object) -> None:
        self.engine.submit(ask(request_id, *texts, **fields))

    def await_slice(self) -> list[list[int]]:
        """The items of the slice that runs next and waits to be released."""
        self.backend.entered.get(timeout=PATIENCE_S)
        return self.backend.computed[-1]

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While a slice of a request named "first" runs; then everything runs."""
        self.backend.hold()
        self.submit("first", "999")
        assert self.await_slice() == [[999]]
        yield
        self.backend.release(10_000)
        self.listener.wait("first")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    backend = FakeBackend()
    engine, listener = start(backend)
    yield Stage(backend, engine, listener)
    backend.release(10_000)
    await engine.close()


async def test_it_is_a_step_engine(stage: Stage) -> None:
    assert isinstance(stage.engine, StepEngine)
    assert stage.engine.info is stage.backend.info


async def test_every_row_comes_once(stage: Stage) -> None:
    texts = [text_of(1 + n % 90, n) for n in range(500)]
    stage.submit("a", *texts)
    wanted = {row: row_of([int(word) for word in text.split()]) for row, text in enumerate(texts)}
    assert stage.listener.rows("a") == wanted
    assert stage.listener.of("a")[0] == Started(sum(1 + n % 90 for n in range(500)))
    assert all(len(items) * max(map(len, items)) <= 100 for items in stage.backend.computed)


async def test_a_lone_query_is_one_step(stage: Stage) -> None:
    stage.submit("a", "1 2 3")
    started, encoded, finished = stage.listener.wait("a")
    assert (started, encoded) == (
        Started(3),
        Encoded((0,), np.array(row_of([1, 2, 3]), dtype="<f4").tobytes()),
    )
    assert isinstance(finished, Finished)
    assert len(stage.listener.steps) == 1, "one frame to the server, not three"


async def test_token_ids(stage: Stage) -> None:
    stage.engine.submit(EncodeRequest("a", "embed", token_ids=((5, 6), (7,))))
    assert stage.listener.rows("a") == {0: row_of([5, 6]), 1: row_of([7])}


async def test_equal_texts_are_computed_once(stage: Stage) -> None:
    stage.submit("a", "1 2", "3", "1 2", "3", "3")
    rows = stage.listener.rows("a")
    assert rows == {0: row_of([1, 2]), 2: row_of([1, 2]), **dict.fromkeys((1, 3, 4), row_of([3]))}
    assert sorted(stage.backend.computed[0]) == [[1, 2], [3]]
    assert stage.listener.of("a")[0] == Started(7)
    assert stage.engine.stats()["texts_encoded_total"] == 5


async def test_dimensions(stage: Stage) -> None:
    stage.submit("a", "3 4", dimensions=2)
    length = float(np.hypot(2, 7))
    assert stage.listener.rows("a")[0] == pytest.approx([2 / length, 7 / length], rel=1e-6)


async def test_a_query_behind_many_documents_waits_for_one_slice(stage: Stage) -> None:
    stage.backend.hold()
    stage.submit("documents", *(text_of(20 + n % 70, n) for n in range(2048)))
    for n in range(10):
        assert len(stage.await_slice()[0]) >= 20
        stage.submit(f"query {n}", f"{n} 2 3")
        stage.backend.release()
        assert stage.await_slice() == [[n, 2, 3]]
        stage.backend.release()
        stage.listener.wait(f"query {n}")
    stage.backend.release(10_000)
    assert len(stage.listener.rows("documents")) == 2048


async def test_a_refusal_comes_before_any_row(stage: Stage) -> None:
    stage.submit("a", *[text_of(400, n) for n in range(50)], text_of(N_CONTEXT + 1), param="documents")
    refusal = stage.listener.refusal("a")
    assert isinstance(refusal, ContextLengthExceeded)
    assert refusal.param == "documents"
    assert stage.listener.of("a") == [refusal]
    assert stage.backend.computed == []


async def test_what_cannot_be_read_is_the_clients_mistake(stage: Stage) -> None:
    stage.submit("a", "no number")
    assert isinstance(stage.listener.refusal("a"), InvalidRequest)


async def test_what_the_encoder_cannot_do_is_refused_unread(stage: Stage) -> None:
    stage.submit("a", "1", dimensions=N_COLUMNS + 1)
    stage.submit("b", "1", input_type="query")
    assert [stage.listener.refusal(name).param for name in "ab"] == ["dimensions", "input_type"]
    assert stage.backend.reads == []


@pytest.mark.parametrize("failure", [RuntimeError("broken"), MemoryError()])
async def test_a_failed_slice_ends_its_requests_and_no_others(stage: Stage, failure: Exception) -> None:
    with stage.busy():
        stage.submit("a", "1 2")
        stage.submit("b", "3 4", text_of(90))
        stage.submit("c", "5 6")
        stage.backend.release()
        assert stage.await_slice() == [[1, 2], [5, 6]]
        stage.backend.failure = failure
    for name in "ac":
        assert isinstance(stage.listener.refusal(name), EngineFailed)
    assert len(stage.listener.rows("b")) == 2


@pytest.mark.parametrize(
    "answer",
    [np.zeros((1, 3), np.float32), np.zeros((2, 4), np.float32), np.full((1, 4), np.nan, np.float32)],
)
async def test_rows_that_make_no_sense_are_a_failure(stage: Stage, answer: np.ndarray) -> None:
    stage.backend.answer = answer
    stage.submit("a", "1")
    assert isinstance(stage.listener.refusal("a"), EngineFailed)
    stage.submit("b", "1")
    assert stage.listener.rows("b") == {0: row_of([1])}


async def test_a_failure_ends_what_waits_of_a_request(stage: Stage) -> None:
    stage.backend.failure = RuntimeError("broken")
    stage.submit("a", text_of(90, 1), text_of(90, 2), text_of(90, 3))
    assert isinstance(stage.listener.refusal("a"), EngineFailed)
    stage.submit("b", "1")
    stage.listener.rows("b")
    assert [len(items) for items in stage.backend.computed] == [1, 1]
    assert stage.engine.stats()["requests_live"] == 0


async def test_a_cancelled_request_is_computed_no_further(stage: Stage) -> None:
    stage.backend.hold()
    stage.submit("a", text_of(90, 1), text_of(90, 2), text_of(90, 3))
    stage.await_slice()
    stage.engine.cancel("a")
    stage.engine.cancel("nobody")
    stage.submit("b", "1")
    stage.backend.release()
    assert stage.await_slice() == [[1]]
    stage.backend.release(10)
    stage.listener.rows("b")
    assert len(stage.backend.computed) == 2
    assert stage.listener.of("a") == []
    assert stage.engine.stats()["queue_tokens"] == 0


async def test_a_cancelled_request_is_read_no_further() -> None:
    class Hasty(FakeBackend):
        def read(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
            engine.cancel(request.id)
            return super().read(request, first, last)

    backend = Hasty()
    engine, listener = start(backend)
    engine.submit(ask("a", *(text_of(400, n) for n in range(100))))
    engine.submit(ask("b", *(text_of(400, n) for n in range(100)), priority=Priority.BATCH))
    while "b" not in {request_id for request_id, _, _ in backend.reads}:
        await asyncio.sleep(0)
    await engine.close()
    assert len([request_id for request_id, _, _ in backend.reads if request_id == "a"]) == 1
    assert listener.steps == []


async def test_rows_of_a_cancelled_request_do_not_reach_another_of_its_name(stage: Stage) -> None:
    stage.backend.hold()
    stage.submit("a", "1 2")
    stage.await_slice()
    stage.engine.cancel("a")
    stage.submit("a", "3 4")
    stage.backend.release(2)
    assert stage.listener.rows("a") == {0: row_of([3, 4])}


async def test_a_full_queue_refuses(stage: Stage) -> None:
    with stage.busy():
        for n in range(300):
            stage.submit(f"request {n}", "1")
        refusal = stage.listener.refusal("request 299")
    assert isinstance(refusal, QueueFull)
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s >= 1.0
    spec = ModelSpec("m", source="x")
    n_held = spec.parallel + spec.max_queue
    assert stage.engine.stats()["requests_refused_total"] == 301 - n_held
    for n in range(n_held - 1):
        stage.listener.rows(f"request {n}")
    stage.submit("later", "1")
    stage.listener.rows("later")


async def test_too_many_tokens_are_refused_but_for_a_request_alone() -> None:
    backend = FakeBackend()
    engine, listener = start(backend, spec=ModelSpec("m", source="x", max_queue_tokens=200))
    stage = Stage(backend, engine, listener)
    stage.submit("large", *[text_of(50, n) for n in range(9)])
    assert len(listener.rows("large")) == 9
    with stage.busy():
        stage.submit("a", text_of(150))
        stage.submit("b", text_of(150))
        assert isinstance(listener.refusal("b"), QueueFull)
        stage.submit("c", "1")
    assert listener.rows("a")
    assert listener.rows("c")
    await engine.close()


async def test_who_must_wait_is_told_that_it_was_accepted(stage: Stage) -> None:
    with stage.busy():
        stage.submit("long", *(text_of(90, n) for n in range(3)))
        stage.submit("query", "1")
        stage.backend.release()
        assert len(stage.await_slice()[0]) == 90
        assert stage.listener.of("query") == [Started(1)]
        assert stage.listener.of("long") == [], "it learns it with its first rows"
    assert len(stage.listener.rows("query")) == 1
    assert len(stage.listener.rows("long")) == 3


async def test_the_heartbeat(stage: Stage) -> None:
    assert stage.engine.heartbeat() == (0, None)
    with stage.busy():
        n_steps, began = stage.engine.heartbeat()
        assert n_steps == 0
        assert began is not None
    assert stage.engine.heartbeat() == (1, None)


async def test_figures(stage: Stage) -> None:
    with stage.busy():
        stage.submit("a", "1 2 3", "4")
        stage.submit("b", "5")
        stats = stage.engine.stats()
        assert (stats["requests_live"], stats["requests_running"], stats["requests_waiting"]) == (3, 1, 2)
        assert stats["queue_tokens"] == 5
    for name in "ab":
        stage.listener.rows(name)
    stats = stage.engine.stats()
    assert stats["tokens_prompt_total"] == stats["tokens_computed_total"] == 6
    assert stats["tokens_padding_total"] == 4
    assert stats["steps_total"] == 2
    assert stats["texts_encoded_total"] == 4
    assert stats["cache_ram_bytes"] == 17, "the backend's own"
    assert stats["queue_tokens"] == stats["requests_live"] == stats["requests_running"] == 0


async def test_every_figure_is_explained(stage: Stage) -> None:
    assert set(stage.engine.stats()) <= set(HELP)


async def test_an_id_in_use(stage: Stage) -> None:
    with stage.busy(), pytest.raises(ValueError, match="in use"):
        stage.submit("first", "1")


async def test_closing_fails_what_waits(stage: Stage) -> None:
    stage.backend.hold()
    stage.submit("a", text_of(90, 1), text_of(90, 2))
    stage.await_slice()
    stage.submit("b", text_of(90, 3))
    closing = asyncio.ensure_future(stage.engine.close())
    while not stage.listener.of("late"):  # accepted, until the closing has begun
        stage.engine.cancel("late")
        stage.submit("late", "1")
        await asyncio.sleep(0)
    stage.backend.release()
    await closing
    assert isinstance(stage.listener.refusal("late"), EngineFailed)
    assert isinstance(stage.listener.refusal("a"), EngineFailed)
    assert isinstance(stage.listener.refusal("b"), EngineFailed)
    stage.submit("c", "1")
    assert isinstance(stage.listener.refusal("c"), EngineFailed)
    await stage.engine.close()
    assert stage.backend.n_closed == 1


async def test_a_slices_size_is_found_by_timing() -> None:
    backend = FakeBackend()
    engine = EncoderEngine(ModelSpec("m", source="x"), backend)
    assert {len(ids) for items in backend.computed for ids in items} == {128}
    await engine.close()


def test_a_backend_that_fails_while_it_is_timed_is_closed() -> None:
    backend = FakeBackend()
    backend.failure = RuntimeError("no such instruction")
    with pytest.raises(RuntimeError, match="no such instruction"):
        EncoderEngine(ModelSpec("m", source="x"), backend)
    assert backend.n_closed == 1


async def test_scores_of_one_column() -> None:
    backend = FakeBackend(EncoderInfo("rank", 1))
    backend.answer = np.array([[0.25]], np.float32)
    engine, listener = start(backend)
    engine.submit(EncodeRequest("a", "rank", ("1",), query="2"))
    assert listener.rows("a") == {0: [0.25]}
    await engine.close()


async def test_what_is_held_waits_for_those_whom_somebody_waits_for(stage: Stage) -> None:
    stage.engine.hold(600.0)
    stage.submit("batch", "1 2", priority=Priority.BATCH)
    stage.submit("live", "3 4")
    assert stage.listener.rows("live")
    assert stage.listener.of("batch") in ([], [Started(2)])
    assert stage.backend.computed == [[[3, 4]]]
    stage.engine.hold(0.0)
    assert stage.listener.rows("batch")


async def test_what_is_held_goes_on_by_itself(stage: Stage) -> None:
    stage.engine.hold(0.01)
    stage.submit("batch", "1 2", priority=Priority.BATCH)
    assert stage.listener.rows("batch")


async def test_what_is_held_can_be_cancelled_and_closed(stage: Stage) -> None:
    stage.engine.hold(600.0)
    stage.submit("one", "1 2", priority=Priority.BATCH)
    stage.submit("two", "1 2", priority=Priority.BATCH)
    stage.engine.cancel("one")
    stage.submit("live", "3 4")
    stage.listener.wait("live")
    await stage.engine.close()
    assert isinstance(stage.listener.refusal("two"), EngineFailed)
    assert stage.listener.of("one") in ([], [Started(2)])


async def test_after_a_hold_the_slices_of_batches_are_small(stage: Stage) -> None:
    texts = [text_of(20, n) for n in range(20)]
    stage.submit("before", *texts, priority=Priority.BATCH)
    stage.listener.wait("before")
    assert max(map(len, stage.backend.computed)) == 5
    stage.engine.hold(0.0)
    stage.backend.computed.clear()
    stage.submit("after", *texts, priority=Priority.BATCH)
    stage.listener.wait("after")
    assert max(map(len, stage.backend.computed)) == 2
