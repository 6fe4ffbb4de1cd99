"""The llama.cpp engine: one loaded model, many requests at once.

Owns its threads. The engine thread loads the model, owns its context and runs the steps; nothing else calls
llama.cpp on that context, and llama.cpp's compute threads inherit its priority. The intake thread, at a lower
priority, renders and tokenises; a third one encodes pictures and sounds before. Requests and cancellations
come in by an inbox that is read between steps; an idle engine sleeps on it. All events of a step leave in one
call.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from queue import Empty, SimpleQueue

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded
from llmatic.core.errors import EngineFailed, InvalidRequest, LlmaticError, QueueFull, RateLimited
from llmatic.core.ports import Request, StepEvents
from llmatic.core.priority import nice_this_thread
from llmatic.core.types import ChatPrompt, EngineInfo, Event, Finished, GenerationRequest, Priority
from llmatic.engines.llama.answers import Generation
from llmatic.engines.llama.bridge import Bridge
from llmatic.engines.llama.intake import Prepared
from llmatic.engines.llama.loading import Loaded, Progress, load
from llmatic.engines.llama.media.reader import Cancelled
from llmatic.engines.llama.media.rows import Expansion
from llmatic.engines.llama.precedence import may_stop
from llmatic.engines.llama.runner import Runner
from llmatic.engines.llama.sequences import Sequence
from llmatic.engines.llama.stats import Rates, engine_stats

_LOG = logging.getLogger(__name__)
_GATHER_S = 0.02
_VISIT_S = 60.0
_CLOSED = "The model is being unloaded."


class LlamaEngine:
    """A GenerationEngine and a StepEngine. Use `generate`, or `start` and `submit`, not both."""

    def __init__(self, spec: ModelSpec, *, on_progress: Progress | None = None) -> None:
        """Load the model and decode one token; blocks until that is done.

        `on_progress` is told how far the loading is, from the engine's thread. Raises ConfigError.
        """
        self._spec = spec
        self._on_progress = on_progress
        self._inbox: SimpleQueue[tuple[str, object]] = SimpleQueue()
        self._arrivals = itertools.count()
        self._ids: set[str] = set()
        self._ids_lock = threading.Lock()
        self._bridge = Bridge()
        self._on_step: Callable[[StepEvents], None] = self._bridge.deliver
        self._n_preparing = 0
        self._hurried: set[str] = set()
        self._held_until = 0.0
        self._visited_until = 0.0
        self._n_steps = 0
        self._n_refused = 0
        self._step_began: float | None = None
        self._rates = Rates()
        ready: SimpleQueue[Loaded | BaseException] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name=f"engine-{spec.id}", daemon=True
        )
        self._thread.start()
        loaded = ready.get()
        if isinstance(loaded, BaseException):
            raise loaded
        self._loaded = loaded
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="intake", initializer=nice_this_thread)
        self._seers = ThreadPoolExecutor(1, thread_name_prefix="media", initializer=nice_this_thread)
        self._is_closing = False

    @property
    def info(self) -> EngineInfo:
        """What was loaded; `n_context` is the most that one sequence may have."""
        return self._loaded.info

    def start(self, on_step: Callable[[StepEvents], None]) -> None:
        """Deliver the events of each step by `on_step`, called in the engine's thread."""
        self._on_step = on_step

    def submit(self, request: Request) -> None:
        """Queue a request; whatever becomes of it arrives as events. From any thread."""
        assert isinstance(request, GenerationRequest), "`info` names no encoder"
        with self._ids_lock:
            if request.id in self._ids:
                raise ValueError(f"request id {request.id!r} is in use")
            is_crowded = len(self._ids) >= self._spec.parallel + self._spec.max_queue
            self._ids.add(request.id)
        if is_crowded:
            self._inbox.put(
                ("refuse", (request.id, QueueFull("The model is overloaded. Please retry later.")))
            )
            return
        with self._ids_lock:
            self._n_preparing += 1
            if request.priority < Priority.BATCH:
                self._hurried.add(request.id)
        self._hurry(request)
        try:
            if isinstance(request.prompt, ChatPrompt) and request.prompt.media:
                self._seers.submit(self._see, request, request.prompt, next(self._arrivals))
            else:
                self._readers.submit(self._prepare, request, next(self._arrivals))
        except RuntimeError:  # the executor is shut down
            self._on_step([(request.id, EngineFailed(_CLOSED))])

    def hold(self, seconds: float) -> None:
        """For so long compute nothing that nobody waits for; 0 ends that. From any thread."""
        self._held_until = time.monotonic() + seconds
        if seconds:
            self._loaded.backend.interruption.hurry()
        self._inbox.put(("look", None))

    def _hurry(self, request: GenerationRequest) -> None:
        """Somebody waits for it: break off what nobody waits for."""
        if request.priority < Priority.BATCH:
            self._visited_until = time.monotonic() + _VISIT_S
            self._loaded.backend.interruption.hurry()

    def cancel(self, request_id: str) -> None:
        """Forget a request before the next step. From any thread; unknown ids are ignored."""
        with self._ids_lock:
            self._ids.discard(request_id)
        self._inbox.put(("cancel", request_id))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """As the port says."""
        inbox = self._bridge.open(request.id)
        self.submit(request)
        try:
            while True:
                event = await inbox.get()
                if isinstance(event, LlmaticError):
                    raise event
                assert not isinstance(event, Encoded), "it is no encoder"
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self._bridge.close(request.id)
            self.cancel(request.id)

    def stats(self) -> Mapping[str, float]:
        """Gauges and counters. From any thread; each figure is right, together they may be a step apart."""
        return engine_stats(self._loaded, self._rates) | {
            "requests_refused_total": self._n_refused,
            "steps_total": self._n_steps,
        }

    def heartbeat(self) -> tuple[int, float | None]:
        """Steps done, and since when the running one runs (None: idle). From any thread."""
        return self._n_steps, self._step_began

    async def close(self) -> None:
        """Fail what runs, free the model. Idempotent."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        # These threads use vocabulary and projector, which die with the model: they must be idle first.
        self._is_closing = True
        self._seers.shutdown(wait=True, cancel_futures=True)
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._loaded.backend.interrupt()
        self._inbox.put(("close", None))
        self._thread.join()

    def _see(self, request: GenerationRequest, prompt: ChatPrompt, arrival: int) -> None:
        """In the media thread."""
        try:
            media = self._loaded.media.read(
                prompt, lambda: self._is_wanted(request.id), salt=request.cache_salt
            )
        except Cancelled:
            pass
        except LlmaticError as error:
            self._inbox.put(("refuse", (request.id, error)))
        except Exception:
            _LOG.exception("the media of request %s could not be read", request.id)
            failure = EngineFailed("The images or sounds of this request could not be read.")
            self._inbox.put(("refuse", (request.id, failure)))
        else:
            with contextlib.suppress(RuntimeError):  # the executor is shut down
                self._readers.submit(self._prepare, request, arrival, media)
            return
        self._end_preparing(request)

    def _end_preparing(self, request: GenerationRequest) -> None:
        with self._ids_lock:
            self._n_preparing -= 1
            self._hurried.discard(request.id)

    def _is_wanted(self, request_id: str) -> bool:
        return request_id in self._ids and not self._is_closing

    def _prepare(self, request: GenerationRequest, arrival: int, media: tuple[Expansion, ...] = ()) -> None:
        """In the intake thread."""
        try:
            prepared = self._loaded.intake.prepare(request, datetime.now(), media)
            if self._loaded.saved is not None:
                self._loaded.saved.prefetch(prepared.namespace, prepared.prompt)
        except LlmaticError as error:
            self._inbox.put(("refuse", (request.id, error)))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            _LOG.warning("request %s cannot be read: %s", request.id, error)
            self._inbox.put(("refuse", (request.id, InvalidRequest(f"The request cannot be read: {error}"))))
        except Exception:
            _LOG.exception("request %s could not be prepared", request.id)
            self._inbox.put(("refuse", (request.id, EngineFailed("The request could not be prepared."))))
        else:
            self._inbox.put(("submit", (prepared, arrival)))
            self._hurry(request)
        self._end_preparing(request)

    def _run(self, ready: "SimpleQueue[Loaded | BaseException]") -> None:
        """The engine's thread."""
        try:
            loaded = load(self._spec, self._on_progress)
        except BaseException as error:  # carried to the thread that waits for it
            ready.put(error)
            return
        ready.put(loaded)
        try:
            self._serve(loaded)
        finally:
            loaded.close()

    def _serve(self, loaded: Loaded) -> None:
        runner = loaded.runner
        while self._read_inbox(loaded, wait_s=self._idle_s(runner)):
            if not self._gather(loaded, runner.scheduler.running):
                break
            self._tell(loaded)  # who was accepted or refused learns it before a long prompt is computed
            if runner.has_work:
                self._step_began = began = time.monotonic()
                try:
                    runner.step()
                except Exception:
                    _LOG.exception("a step of model '%s' failed", self._spec.id)
                    runner.fail_all("The model failed while it served this request.")
                self._n_steps += 1
                self._step_began = None
                self._rates.observe(began, time.monotonic(), runner.n_generated, runner.n_computed)
            self._tell(loaded)
            runner.settle()
        runner.save_all()
        runner.fail_all(_CLOSED)
        self._tell(loaded)
        with self._ids_lock:
            left, self._ids = sorted(self._ids), set()
        if left:
            self._on_step([(request_id, EngineFailed(_CLOSED)) for request_id in left])

    def _idle_s(self, runner: Runner) -> float | None:
        """For how long there is nothing to do unless something comes in; None: for ever."""
        held_s = self._held_until - time.monotonic()
        runner.scheduler.is_held = held_s > 0
        runner.scheduler.is_visited = time.monotonic() < self._visited_until
        if runner.events:
            return 0.0
        if not runner.has_work:
            return None
        return held_s if held_s > 0 and not runner.scheduler.is_awaited else 0.0

    def _read_inbox(self, loaded: Loaded, *, wait_s: float | None) -> bool:
        """Take everything that has come in; False if the engine is to close."""
        while True:
            try:
                message = self._inbox.get(block=wait_s != 0.0, timeout=wait_s)
            except Empty:
                return True
            wait_s = 0.0
            if not self._handle(loaded, message):
                return False

    def _gather(self, loaded: Loaded, running: list[Sequence]) -> bool:
        """Before an idle engine starts, wait a moment for those who came with the first; as `_read_inbox`.

        An engine at work for nobody who waits does so for somebody who comes.
        """
        until = time.monotonic() + _GATHER_S
        while (left_s := until - time.monotonic()) > 0:
            if not (self._hurried if running else self._n_preparing) or not may_stop(running):
                break
            try:
                message = self._inbox.get(timeout=left_s)
            except Empty:
                return True
            if not self._handle(loaded, message):
                return False
        return True

    def _handle(self, loaded: Loaded, message: tuple[str, object]) -> bool:
        kind, content = message
        if kind == "look":
            return True
        if kind == "cancel":
            assert isinstance(content, str)
            loaded.runner.cancel(content)
        elif kind != "close":
            assert isinstance(content, tuple)
            self._admit(loaded, kind, content)
        return kind != "close"

    def _admit(self, loaded: Loaded, kind: str, content: tuple[object, object]) -> None:
        if kind == "refuse":
            request_id, error = content
            assert isinstance(request_id, str)
            assert isinstance(error, LlmaticError)
        else:
            prepared, arrival = content
            assert isinstance(prepared, Prepared)
            assert isinstance(arrival, int)
            request_id = prepared.request.id
            if request_id not in self._ids:
                return  # cancelled before it was read
            try:
                seed = secrets.randbits(64)
                vocabulary = loaded.backend.model.vocabulary
                loaded.runner.submit(Generation(prepared, arrival, vocabulary, loaded.workspace, seed=seed))
                return
            except LlmaticError as refusal:
                error = refusal
        if isinstance(error, RateLimited):
            error.retry_after_s = max(1.0, self._rates.wait_s(loaded.runner.scheduler))
            self._n_refused += 1
        loaded.runner.events.append((request_id, error))

    def _tell(self, loaded: Loaded) -> None:
        events, loaded.runner.events = loaded.runner.events, []
        if not events:
            return
        ended = [i for i, event in events if isinstance(event, Finished | LlmaticError)]
        if ended:
            self._rates.n_ended += len(ended)
            with self._ids_lock:
                self._ids.difference_update(ended)
        self._on_step(events)
