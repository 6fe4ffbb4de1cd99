"""One model: started when wanted, restarted when its worker dies, unloaded when nobody asks for long.

Owns the state of the model and the only reference to its worker. Never reads a socket. Runs in the server's
loop: one task, `_live`, makes every transition from loading on; requests wait for a change of the state and
look again.

    stopped ──request──▶ loading ──ready──▶ ready ──idle──▶ unloading ──▶ stopped
                          ▲   └──refused, timeout──▶ failed    │ crash, hang
                          └── back-off passed ◀───────┴── restarting
"""

import asyncio
import enum
import time
from collections.abc import AsyncGenerator
from typing import Any

import structlog

from llmatic.config import ModelSpec, WorkerSettings
from llmatic.core.errors import EngineFailed, LlmaticError, Unavailable
from llmatic.core.ports import Request
from llmatic.core.types import EngineInfo, Finished, Priority
from llmatic.workers.courtesy import Courtesy
from llmatic.workers.memory import resident_bytes
from llmatic.workers.spawner import Spawner
from llmatic.workers.worker import Clock, Worker

log = structlog.get_logger("llmatic.workers")


class State(enum.StrEnum):
    """Where a model stands."""

    STOPPED = "stopped"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    RESTARTING = "restarting"
    FAILED = "failed"


class Supervisor:
    """The life of one model. `open` makes sure that it begins, `serve` begins it on demand."""

    def __init__(
        self,
        spec: ModelSpec,
        settings: WorkerSettings,
        spawner: Spawner,
        clock: Clock,
        courtesy: Courtesy | None = None,
    ) -> None:
        self.spec = spec
        self.info: EngineInfo | None = None
        self.state = State.STOPPED
        self.n_restarts = 0
        self._settings = settings
        self._spawner = spawner
        self._clock = clock
        # What computes on a GPU takes little from the others.
        self._courtesy = None if spec.gpu_layers else courtesy
        self._n_background = 0
        self._is_held = False
        self._log = log.bind(model=spec.id)
        self._worker: Worker | None = None
        self._life: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._n_leases = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._idle_since = clock()
        self._loaded_at: float | None = None
        self._ready_since = 0.0
        self._n_failures = 0
        self._retry_at = 0.0
        self._reason = ""

    def open(self) -> None:
        """Begin to load if nothing of the kind is going on."""
        if not self._closed and (self._life is None or self._life.done()):
            self._life = asyncio.get_running_loop().create_task(self._live(), name=f"model {self.spec.id}")

    async def loaded(self) -> EngineInfo:
        """As `EnginePool.loaded`."""
        self._n_leases += 1
        self._idle.clear()
        try:
            await self._ready_worker()
        finally:
            self._end_lease()
        assert self.info is not None, "a ready worker has said what it is"
        return self.info

    async def serve(self, request: Request) -> AsyncGenerator[Any, None]:
        """As `EnginePool.generate` or `encode`, whichever the request is for.

        A request that its worker died on before accepting it is sent again.
        """
        is_background = request.priority >= Priority.BATCH
        self._n_leases += 1
        self._n_background += is_background
        self._idle.clear()
        is_waited_for = False
        try:
            for last_try in (False, True):
                worker = await self._ready_worker()
                box = worker.submit(request)
                if is_background:
                    self.yield_to_others()
                elif self._courtesy is not None and not is_waited_for:
                    is_waited_for = True
                    self._courtesy.begin(self.spec.id)
                try:
                    while True:
                        event = await box.next()
                        yield event
                        if type(event) is Finished:
                            return
                except EngineFailed:
                    if last_try or not box.lost or box.n_taken:
                        raise
                finally:
                    worker.release(box)
        finally:
            if is_waited_for and self._courtesy is not None:
                self._courtesy.end(self.spec.id)
            self._n_background -= is_background
            self._end_lease()

    def yield_to_others(self) -> None:
        """Let the worker hold what nobody waits for as long as it ought to."""
        if self._courtesy is None or self._worker is None or not (self._n_background or self._is_held):
            return
        hold_s = self._courtesy.hold_s(self.spec.id)
        if hold_s or self._is_held:
            self._is_held = hold_s > 0
            self._worker.hold(hold_s)

    def _end_lease(self) -> None:
        self._n_leases -= 1
        self._idle_since = self._clock()
        if not self._n_leases:
            self._idle.set()

    def check(self, now: float) -> None:
        """Due every second or so: the watchdog and the keep-alive."""
        if self.state is not State.READY or self._worker is None:
            return
        self._worker.check(now)
        keep_alive_s = self.spec.keep_alive_s
        if keep_alive_s is not None and not self._n_leases and now - self._idle_since >= keep_alive_s:
            self._log.info("unloading idle model", idle_s=round(now - self._idle_since))
            self._set(State.UNLOADING)
            self._worker.ask_to_stop(self._settings.stop_timeout_s)

    async def close(self) -> None:
        """Fail what runs, stop the worker, refuse what comes. Idempotent."""
        self._closed = True
        life, self._life = self._life, None
        if life is not None:
            life.cancel()
            await asyncio.wait({life})
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.fail_all(self._shutting_down)
            await worker.stop(self._settings.stop_timeout_s if worker.loaded.done() else 0.0)
        self._set(State.STOPPED)

    def describe(self) -> dict[str, Any]:
        """What /readyz and the index page show."""
        worker = self._worker
        fraction, phase = worker.progress if worker is not None else (None, "")
        return {
            "state": str(self.state),
            "reason": self._reason or None,
            "pid": worker.pid if worker is not None else None,
            "restarts": self.n_restarts,
            "running": worker.n_requests if worker is not None else 0,
            "queue": max(0, self._n_leases - (worker.n_requests if worker is not None else 0)),
            "loaded_at": self._loaded_at,
            "load_progress": fraction if self.state is State.LOADING else None,
            "load_phase": phase if self.state is State.LOADING else None,
            "rss_bytes": resident_bytes(worker.pid) if worker is not None else None,
            "stats": dict(worker.stats) if worker is not None else {},
        }

    @property
    def is_loaded(self) -> bool:
        """Ready, or unloaded since on purpose."""
        return self.info is not None and self.state in (State.READY, State.UNLOADING, State.STOPPED)

    @property
    def is_idle(self) -> bool:
        """No request runs or waits."""
        return not self._n_leases

    async def until_idle(self) -> None:
        """Wait until no request runs or waits."""
        await self._idle.wait()

    # waiting

    async def _ready_worker(self) -> Worker:
        limit_s = self._settings.load_timeout_s + self._settings.restart_backoff_max_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._wait_ready()
        except TimeoutError:
            raise Unavailable(
                f"The model '{self.spec.id}' is still being loaded. Please try again.", retry_after_s=5.0
            ) from None

    async def _wait_ready(self) -> Worker:
        while True:
            if self._closed:
                raise self._shutting_down()
            if self.state is State.READY and self._worker is not None:
                return self._worker
            if self.state is State.FAILED and self._clock() < self._retry_at:
                raise Unavailable(self._reason, retry_after_s=max(1.0, self._retry_at - self._clock()))
            self.open()
            await self._changed.wait()

    def _set(self, state: State) -> None:
        self.state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _shutting_down(self) -> LlmaticError:
        return Unavailable("The server is shutting down. Please try again later.", retry_after_s=5.0)

    # the life

    async def _live(self) -> None:
        while True:
            self._set(State.LOADING)
            try:
                worker = await self._load()
            except LlmaticError as error:
                self._on_load_failure(error)
                if not self.spec.preload:
                    return
            else:
                await asyncio.wait({worker.ended})
                if self.state is State.UNLOADING:
                    self._on_unloaded()
                    return
                self._on_crash(worker)
            await asyncio.sleep(max(0.0, self._retry_at - self._clock()))

    async def _load(self) -> Worker:
        began = self._clock()
        self._log.info("loading model", engine=self.spec.engine, source=self.spec.source)
        try:
            worker = await Worker.launch(self.spec, self._spawner, self._settings.step_timeout_s, self._clock)
        except OSError as error:
            raise Unavailable(f"its process cannot be started: {error}") from error
        self._worker = worker
        if not await self._until_loaded(worker):
            worker.kill(f"it was not loaded and made no progress for {self._settings.load_timeout_s:g} s")
            await asyncio.wait({worker.ended})
        if worker.loaded.cancelled():
            self._log.error("worker died while loading", reason=worker.why(), output=worker.last_words)
            raise Unavailable(f"its process ended ({worker.why()})")
        failure = worker.loaded.exception()
        if failure is not None:
            await worker.stop(self._settings.stop_timeout_s)
            raise failure
        self._on_ready(worker, self._clock() - began)
        return worker

    async def _until_loaded(self, worker: Worker) -> bool:
        """Wait for the end of loading, good or bad; False if it stands still for too long."""
        ends: set[asyncio.Future[Any]] = {worker.loaded, worker.ended}
        now = asyncio.get_running_loop().time
        while (left_s := worker.progress_at + self._settings.load_timeout_s - now()) > 0:
            done, _ = await asyncio.wait(ends, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return True
        return False

    def _on_ready(self, worker: Worker, took_s: float) -> None:
        self.info = worker.loaded.result()
        self._ready_since = self._idle_since = self._clock()
        self._loaded_at = time.time()
        self._reason = ""
        rss = resident_bytes(worker.pid)
        self._log.info(
            "model ready",
            seconds=round(took_s, 2),
            memory_mb=None if rss is None else rss // 1_000_000,
            context=self.info.n_context,
            parallel=self.info.n_parallel,
            pid=worker.pid,
        )
        self._set(State.READY)

    def _on_unloaded(self) -> None:
        self._worker = None
        self._loaded_at = None
        self._log.info("model unloaded")
        self._set(State.STOPPED)

    def _on_load_failure(self, error: LlmaticError) -> None:
        self._worker = None
        self._n_failures += 1
        self._reason = f"The model '{self.spec.id}' could not be loaded: {error.message}"
        delay_s = self._back_off_s()
        self._retry_at = self._clock() + delay_s
        self._log.error("model failed to load", reason=error.message, retry_in_s=round(delay_s, 1))
        self._set(State.FAILED)

    def _on_crash(self, worker: Worker) -> None:
        """A worker that was of use before it died is started again at once, another after the back-off."""
        up_s = self._clock() - self._ready_since
        healthy = worker.n_finished > 0 or up_s > self._settings.restart_backoff_max_s
        self._worker = None
        self._loaded_at = None
        self.n_restarts += 1
        self._n_failures = 0 if healthy else self._n_failures + 1
        delay_s = 0.0 if healthy else self._back_off_s()
        self._retry_at = self._clock() + delay_s
        why = worker.why()
        self._reason = (
            f"The engine of model '{self.spec.id}' stopped unexpectedly ({why}); it is being restarted. "
            "Please try again."
        )
        n_failed = worker.fail_all(lambda: EngineFailed(self._reason, retry_after_s=max(1.0, delay_s)))
        self._log.error(
            "worker died",
            reason=why,
            requests_failed=n_failed,
            restart_in_s=round(delay_s, 1),
            output=worker.last_words,
        )
        self._set(State.RESTARTING)

    def _back_off_s(self) -> float:
        base_s, most_s = self._settings.restart_backoff_s, self._settings.restart_backoff_max_s
        return float(min(most_s, base_s * 2 ** min(30, self._n_failures - 1)))
