"""In which order requests are read, and what becomes of those that cannot be."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import EngineFailed, InvalidRequest, LlmaticError, QueueFull
from llmatic.core.types import Priority
from llmatic.engines.encoding.backend import Item
from llmatic.engines.encoding.intake import CHUNK_CHARACTERS, TINY_CHARACTERS, Intake, is_tiny, next_chunk
from tests.engines.encoding.fake_backend import PATIENCE_S, ask

BIG = "w" * (CHUNK_CHARACTERS // 2)


class Desk:
    """An intake with a reader that can be held, and what it tells. `read`: (request, first, last)."""

    def __init__(self) -> None:
        self.read: list[tuple[str, int, int]] = []
        self.threads: set[str] = set()
        self.entered: SimpleQueue[str] = SimpleQueue()
        self.ended: SimpleQueue[tuple[str, list[Item] | LlmaticError]] = SimpleQueue()
        self.failure: Exception | None = None
        self.limit = 10**9
        self.is_held = False
        self.is_reading = False
        self._permits = threading.Semaphore(0)
        self.intake = Intake(
            self._read,
            on_progress=self._progress,
            on_items=lambda request, items: self.ended.put((request.id, items)),
            on_refusal=lambda request, error: self.ended.put((request.id, error)),
            name="intake-test",
        )

    def release(self, n: int = 1) -> None:
        self._permits.release(n)

    def next_ended(self) -> tuple[str, list[Item] | LlmaticError]:
        return self.ended.get(timeout=PATIENCE_S)

    def next_refusal(self) -> LlmaticError:
        _, error = self.next_ended()
        assert isinstance(error, LlmaticError)
        return error

    def _read(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
        self.read.append((request.id, first, last))
        self.threads.add(threading.current_thread().name)
        self.is_reading = True
        if self.is_held:
            self.entered.put(request.id)
            assert self._permits.acquire(timeout=PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        self.is_reading = False
        return [Item([len(text)]) for text in request.texts[first:last]]

    def _progress(self, request: EncodeRequest, n_tokens: int) -> None:
        self.limit -= n_tokens
        if self.limit < 0:
            raise QueueFull("too much")


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.is_held = False
    desk.release(100)
    desk.intake.close()


def test_a_tiny_request_is_read_where_it_is_submitted(desk: Desk) -> None:
    desk.intake.submit(ask("a", "one", "two"))
    assert desk.ended.get_nowait() == ("a", [Item([3]), Item([3])])
    assert desk.threads == {threading.current_thread().name}


def test_what_is_tiny() -> None:
    assert is_tiny(ask("a", "x"))
    assert not is_tiny(ask("a", *["x"] * 5))
    assert not is_tiny(ask("a", "x" * TINY_CHARACTERS))
    assert not is_tiny(EncodeRequest("a", "rank", ("x", "y"), query="q" * (TINY_CHARACTERS // 2)))
    assert not is_tiny(EncodeRequest("a", "embed", token_ids=((1,) * TINY_CHARACTERS,)))


def test_chunks_end_where_there_are_enough_characters() -> None:
    request = ask("a", "x", BIG, BIG, "y", BIG * 3, "z")
    assert next_chunk(request, 0) == (3, CHUNK_CHARACTERS + 1)
    assert next_chunk(request, 3) == (5, 3 * len(BIG) + 1)
    assert next_chunk(request, 5) == (6, 1)


def test_a_query_counts_with_each_text() -> None:
    assert next_chunk(EncodeRequest("a", "rank", ("x",) * 9, query=BIG), 0)[0] == 2


def test_all_of_a_large_request_is_read(desk: Desk) -> None:
    texts = tuple("x" * n for n in range(1, 500))
    desk.intake.submit(ask("a", *texts))
    assert desk.next_ended() == ("a", [Item([n]) for n in range(1, 500)])
    assert len(desk.read) > 5
    assert desk.threads == {"intake-test"}


def test_whoever_was_read_least_is_next(desk: Desk) -> None:
    desk.is_held = True
    desk.intake.submit(ask("large", *[BIG] * 6))
    assert desk.entered.get(timeout=PATIENCE_S) == "large"
    desk.intake.submit(ask("medium", *[BIG] * 3))
    desk.intake.submit(ask("tiny", "a"))
    desk.intake.submit(ask("batch", "a", priority=Priority.BATCH))
    desk.is_held = False
    desk.release()
    assert [desk.next_ended()[0] for _ in range(4)] == ["tiny", "medium", "large", "batch"]
    assert desk.read == [
        ("large", 0, 2), ("medium", 0, 2), ("tiny", 0, 1), ("large", 2, 4), ("medium", 2, 3), ("large", 4, 6),
        ("batch", 0, 1),
    ]  # fmt: skip


def test_a_dropped_request_is_read_no_further(desk: Desk) -> None:
    desk.is_held = True
    desk.intake.submit(ask("large", *[BIG] * 6))
    desk.entered.get(timeout=PATIENCE_S)
    desk.intake.drop("large")
    desk.intake.drop("nobody")
    desk.intake.submit(ask("next", BIG, BIG, BIG))
    desk.is_held = False
    desk.release()
    assert desk.next_ended()[0] == "next"
    assert desk.read == [("large", 0, 2), ("next", 0, 2), ("next", 2, 3)]


@pytest.mark.parametrize("texts", [("x",), (BIG, BIG, BIG)])
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (InvalidRequest("no"), InvalidRequest),
        (ValueError("no"), InvalidRequest),
        (KeyError("no"), EngineFailed),
        (MemoryError(), EngineFailed),
    ],
)
def test_what_cannot_be_read_is_refused(
    desk: Desk, texts: tuple[str, ...], failure: Exception, kind: type[LlmaticError]
) -> None:
    desk.failure = failure
    desk.intake.submit(ask("a", *texts))
    assert type(desk.next_refusal()) is kind
    assert len(desk.read) == 1
    desk.failure = None
    desk.intake.submit(ask("b", *texts))
    assert desk.next_ended()[0] == "b"


def test_too_much_is_refused_as_soon_as_it_is_known(desk: Desk) -> None:
    desk.limit = len(BIG) * 3 // len(BIG) - 1
    desk.intake.submit(ask("a", *[BIG] * 9))
    assert isinstance(desk.next_refusal(), QueueFull)
    assert desk.read == [("a", 0, 2), ("a", 2, 4)]


def test_closing_waits_for_the_reader_and_ends_reading() -> None:
    desk = Desk()
    desk.is_held = True
    desk.intake.submit(ask("a", *[BIG] * 6))
    desk.entered.get(timeout=PATIENCE_S)
    closing = threading.Thread(target=desk.intake.close)
    closing.start()
    desk.is_held = False
    desk.release()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert not desk.is_reading
    desk.intake.close()
    desk.intake.submit(ask("b", "x"))
    assert {name for name, _, _ in desk.read} == {"a"}
