"""From the texts of requests to their Items, beside the computing.

Owns the requests that are being read. A thread of its own, made nice, reads them a chunk at a time, each time
of the request of which the least has been read, so that a single query never waits for more than a chunk of
another's documents. A tiny request is read at once in the thread that submits it, if nobody reads just then:
waking a thread costs as much as reading it does. There are never two readers at once.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import EngineFailed, InvalidRequest, LlmaticError
from llmatic.core.priority import nice_this_thread
from llmatic.engines.encoding.backend import Item

_LOG = logging.getLogger(__name__)

CHUNK_CHARACTERS = 16 * 1024
TINY_CHARACTERS = 1024
TINY_ROWS = 4
CHARACTERS_PER_TOKEN = 4

Read = Callable[[EncodeRequest, int, int], Sequence[Item]]


@dataclass(slots=True, eq=False)
class _Reading:
    request: EncodeRequest
    arrival: int
    n_read: int = 0
    items: list[Item] = field(default_factory=list)


class Intake:
    """Reads requests with `read`. Any thread may call it; it never blocks but in `close`.

    It tells, in its own thread or in the one that submits: `on_progress` how many tokens more were read (a
    LlmaticError raised there refuses the request), then `on_items` of the whole request, or `on_refusal`.
    """

    def __init__(
        self,
        read: Read,
        *,
        on_progress: Callable[[EncodeRequest, int], None],
        on_items: Callable[[EncodeRequest, list[Item]], None],
        on_refusal: Callable[[EncodeRequest, LlmaticError], None],
        name: str,
    ) -> None:
        self._read = read
        self._on_progress = on_progress
        self._on_items = on_items
        self._on_refusal = on_refusal
        self._readings: dict[str, _Reading] = {}
        self._n_arrived = 0
        self._wake = threading.Condition()
        self._is_closed = False
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, request: EncodeRequest) -> None:
        """Begin to read. Nothing more comes of it once `drop` or `close` has been called."""
        if is_tiny(request) and self._turn.acquire(blocking=False):
            try:
                self._advance(_Reading(request, 0))
            finally:
                self._turn.release()
            return
        with self._wake:
            self._n_arrived += 1
            self._readings[request.id] = _Reading(request, self._n_arrived)
            self._wake.notify()

    def drop(self, request_id: str) -> None:
        """Read no more of it. Unknown ids are ignored."""
        with self._wake:
            self._readings.pop(request_id, None)

    def close(self) -> None:
        """Stop reading, for good; waits for the running chunk. Idempotent."""
        with self._wake:
            if self._is_closed:
                return
            self._is_closed = True
            self._readings.clear()
            self._wake.notify()
        self._thread.join()
        self._turn.acquire()  # and never given back: what `read` needs may go now

    def _run(self) -> None:
        nice_this_thread()
        while (reading := self._next()) is not None:
            with self._turn:
                self._advance(reading)

    def _next(self) -> _Reading | None:
        """Whose turn it is, once there is somebody; None: the end."""
        with self._wake:
            while not self._readings and not self._is_closed:
                self._wake.wait()
            if self._is_closed:
                return None
            return min(self._readings.values(), key=_order)

    def _advance(self, reading: _Reading) -> None:
        """Read one chunk."""
        request, first = reading.request, len(reading.items)
        try:
            last, n_characters = next_chunk(request, first)
            items = self._read(request, first, last)
            assert len(items) == last - first, "one for each input"
            assert all(len(item.ids) for item in items), "none is empty"
            reading.items.extend(items)
            reading.n_read += n_characters
            self._on_progress(request, sum(len(item.ids) for item in items))
        except Exception as error:
            self.drop(request.id)
            self._on_refusal(request, _refusal(request, error))
            return
        if last == request.n_rows:
            self.drop(request.id)
            self._on_items(request, reading.items)


def is_tiny(request: EncodeRequest) -> bool:
    """Whether reading it takes no longer than waking a thread."""
    return request.n_rows <= TINY_ROWS and _size(request, 0, TINY_CHARACTERS)[1] < TINY_CHARACTERS


def next_chunk(request: EncodeRequest, first: int) -> tuple[int, int]:
    """Up to which input (not included) to read at once from `first` on, and how many characters these are."""
    return _size(request, first, CHUNK_CHARACTERS)


def _size(request: EncodeRequest, first: int, enough: int) -> tuple[int, int]:
    n_query = len(request.query or "")
    n_characters = 0
    for row in range(first, request.n_rows):
        if request.texts:
            n_characters += len(request.texts[row]) + n_query
        else:
            n_characters += len(request.token_ids[row]) * CHARACTERS_PER_TOKEN
        if n_characters >= enough:
            return row + 1, n_characters
    return request.n_rows, n_characters


def _order(reading: _Reading) -> tuple[int, int, int]:
    return reading.request.priority, reading.n_read, reading.arrival


def _refusal(request: EncodeRequest, error: Exception) -> LlmaticError:
    if isinstance(error, LlmaticError):
        return error
    if isinstance(error, ValueError | TypeError | OverflowError | RecursionError):
        _LOG.warning("request %s cannot be read: %s", request.id, error)
        return InvalidRequest(f"The request cannot be read: {error}", param=request.param)
    _LOG.error("request %s could not be read", request.id, exc_info=error)
    return EngineFailed("The request could not be read.")
