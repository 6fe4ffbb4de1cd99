"""A backend whose texts are numbers, which stops before each slice if it is told to; and who listens to an engine."""

import threading
from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded, EncodeRequest
from llmatic.core.errors import ContextLengthExceeded, LlmaticError
from llmatic.core.ports import EngineEvent, StepEvents
from llmatic.core.types import EncoderInfo, EngineInfo, Finished, Started
from llmatic.engines.encoding.backend import Item, Matrix
from llmatic.engines.encoding.engine import EncoderEngine

PATIENCE_S = 30.0
N_CONTEXT = 512
N_COLUMNS = 4


def row_of(ids: Sequence[int]) -> list[float]:
    """What the fake makes of an item."""
    return [float(len(ids)), float(sum(ids)), float(ids[0]), float(ids[-1])]


class FakeBackend:
    """Texts are numbers between spaces, which are the token ids. `computed`: the items of each slice.

    `hold()` makes `compute` wait for `release`; `entered` tells when it does. `failure`: raised by the next
    `compute`; `answer`: returned by it instead of the right rows.
    """

    def __init__(self, encoder: EncoderInfo | None = None) -> None:
        self.info = EngineInfo(
            n_context=N_CONTEXT,
            n_context_train=N_CONTEXT,
            n_vocab=1000,
            n_parallel=1,
            has_chat_template=False,
            has_infill=False,
            fingerprint="fp_fake",
            encoder=encoder or EncoderInfo("embed", N_COLUMNS, has_dimensions=True),
            writes=False,
        )
        self.computed: list[list[list[int]]] = []
        self.reads: list[tuple[str, int, int]] = []
        self.entered: SimpleQueue[int] = SimpleQueue()
        self.failure: BaseException | None = None
        self.answer: Matrix | None = None
        self.n_closed = 0
        self._permits = threading.Semaphore(0)
        self._is_held = False

    def hold(self) -> None:
        """From now on each slice waits for `release`."""
        self._is_held = True

    def release(self, n: int = 1) -> None:
        """Let so many slices pass."""
        self._permits.release(n)

    def read(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
        """As the interface says."""
        self.reads.append((request.id, first, last))
        if request.token_ids:
            return [Item(ids) for ids in request.token_ids[first:last]]
        items = [Item([int(word) for word in text.split()]) for text in request.texts[first:last]]
        if max(len(item.ids) for item in items) > N_CONTEXT:
            raise ContextLengthExceeded("too long", param=request.param)
        return items

    def compute(self, items: Sequence[Item]) -> Matrix:
        """As the interface says."""
        self.computed.append([list(item.ids) for item in items])
        if self._is_held:
            self.entered.put(len(items))
            assert self._permits.acquire(timeout=PATIENCE_S), "nobody released the slice"
        if (failure := self.failure) is not None:
            self.failure = None
            raise failure
        if (answer := self.answer) is not None:
            self.answer = None
            return answer
        return np.array([row_of(item.ids) for item in items], dtype=np.float32)

    def stats(self) -> dict[str, float]:
        """As the interface says."""
        return {"cache_ram_bytes": 17}

    def close(self) -> None:
        """As the interface says."""
        self.n_closed += 1


class Listener:
    """Hears an engine's events. `steps`: as they came."""

    def __init__(self) -> None:
        self.steps: list[list[tuple[str, EngineEvent | LlmaticError]]] = []
        self._heard = threading.Condition()

    def __call__(self, events: StepEvents) -> None:
        """Call it `on_step`."""
        with self._heard:
            self.steps.append(list(events))
            self._heard.notify_all()

    def of(self, request_id: str) -> list[EngineEvent | LlmaticError]:
        """All events of a request so far."""
        return [event for step in list(self.steps) for name, event in step if name == request_id]

    def wait(self, request_id: str) -> list[EngineEvent | LlmaticError]:
        """All its events, once it has ended."""
        with self._heard:
            assert self._heard.wait_for(lambda: self._is_over(request_id), PATIENCE_S), self.of(request_id)
        return self.of(request_id)

    def wait_started(self, request_id: str) -> None:
        """Until it was accepted."""
        with self._heard:
            assert self._heard.wait_for(lambda: bool(self.of(request_id)), PATIENCE_S)
        assert isinstance(self.of(request_id)[0], Started)

    def rows(self, request_id: str) -> dict[int, list[float]]:
        """Row → numbers of a request that has come to its end as it should."""
        first, *middle, last = self.wait(request_id)
        assert isinstance(first, Started), first
        assert isinstance(last, Finished), last
        assert last.usage.n_prompt_tokens == first.n_prompt_tokens
        assert last.usage.n_completion_tokens == 0
        found: dict[int, list[float]] = {}
        for event in middle:
            assert isinstance(event, Encoded)
            block = np.frombuffer(event.data, dtype="<f4").reshape(len(event.rows), -1)
            assert not found.keys() & set(event.rows), "every row comes once"
            found.update(zip(event.rows, block.tolist(), strict=True))
        return found

    def refusal(self, request_id: str) -> LlmaticError:
        """The error that a request ended with."""
        last = self.wait(request_id)[-1]
        assert isinstance(last, LlmaticError), last
        return last

    def _is_over(self, request_id: str) -> bool:
        return any(isinstance(event, Finished | LlmaticError) for event in self.of(request_id))


def start(
    backend: FakeBackend, *, batch_tokens: int = 100, spec: ModelSpec | None = None
) -> tuple[EncoderEngine, Listener]:
    """An engine, and who listens to it."""
    engine = EncoderEngine(spec or ModelSpec("m", source="x"), backend, batch_tokens=batch_tokens)
    listener = Listener()
    engine.start(listener)
    return engine, listener


def text_of(n_tokens: int, first: int = 1) -> str:
    """A text of so many tokens; texts of different `first` are different."""
    return " ".join([str(first), *["7"] * (n_tokens - 1)])


def ask(request_id: str, *texts: str, **fields: object) -> EncodeRequest:
    """A request for these texts."""
    return EncodeRequest(request_id, "embed", texts, **fields)  # type: ignore[arg-type]
