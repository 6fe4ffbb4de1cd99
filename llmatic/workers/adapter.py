"""A plain GenerationEngine or EncodingEngine in the shape of a StepEngine: the host knows one shape only.

Owns an event loop on a thread of its own, in which every `generate` or `encode` of the engine runs, and the
tasks that consume them. Never looks into events. Events that arrive within one turn of the loop leave in one
call.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import EngineFailed, LlmaticError
from llmatic.core.ports import EncodingEngine, EngineEvent, GenerationEngine, Request, StepEvents
from llmatic.core.types import EngineInfo, Finished


class StepAdapter:
    """Runs `engine` on a loop of its own; a StepEngine."""

    def __init__(self, engine: GenerationEngine | EncodingEngine) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._batch: list[tuple[str, EngineEvent | LlmaticError]] = []
        self._on_step: Callable[[StepEvents], None] | None = None
        self._n_steps = 0
        self._probe_began: float | None = None
        self._thread = threading.Thread(target=self._run, name="llmatic-engine-loop", daemon=True)

    @property
    def info(self) -> EngineInfo:
        """The engine's own."""
        return self._engine.info

    def start(self, on_step: Callable[[StepEvents], None]) -> None:
        """Start the loop's thread."""
        self._on_step = on_step
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Start consuming the engine's answer."""
        self._loop.call_soon_threadsafe(self._begin, request)

    def cancel(self, request_id: str) -> None:
        """Close that generator."""
        self._loop.call_soon_threadsafe(self._end, request_id)

    def stats(self) -> Mapping[str, float]:
        """The engine's own if it has any."""
        own = getattr(self._engine, "stats", None)
        return own() if callable(own) else {"requests_running": len(self._tasks)}

    def heartbeat(self) -> tuple[int, float | None]:
        """Batches sent, and since when the loop has not answered: a stuck loop is one long step."""
        began = self._probe_began
        if began is None:
            self._probe_began = time.monotonic()
            self._loop.call_soon_threadsafe(self._answer_probe)
        return self._n_steps, began

    async def close(self) -> None:
        """Cancel what runs, close the engine, end the loop. Idempotent."""
        if self._thread.is_alive():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), self._loop))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    # in the loop

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def _begin(self, request: Request) -> None:
        work: Coroutine[Any, Any, None] = self._consume(request)
        self._tasks[request.id] = self._loop.create_task(work)

    def _end(self, request_id: str) -> None:
        task = self._tasks.pop(request_id, None)
        if task is not None:
            task.cancel()

    async def _close(self) -> None:
        tasks = list(self._tasks.values())
        for request_id in list(self._tasks):
            self._emit(request_id, EngineFailed("The engine was closed."))
            self._end(request_id)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.close()

    def _answer_probe(self) -> None:
        self._probe_began = None

    async def _consume(self, request: Request) -> None:
        try:
            async with aclosing(self._open(request)) as events:
                async for event in events:
                    self._emit(request.id, event)
                    if isinstance(event, Finished):
                        return
            failure: LlmaticError = EngineFailed("The engine ended without finishing its answer.")
        except LlmaticError as error:
            failure = error
        except Exception as error:  # a plugin's own mistake: to the client and the log
            self._loop.call_exception_handler({"message": "the engine raised", "exception": error})
            failure = EngineFailed(f"The engine failed: {type(error).__name__}: {error}")
        finally:
            self._tasks.pop(request.id, None)
        self._emit(request.id, failure)

    def _open(self, request: Request) -> AsyncGenerator[Any, None]:
        engine: Any = self._engine
        events: AsyncGenerator[Any, None] = (
            engine.encode(request) if isinstance(request, EncodeRequest) else engine.generate(request)
        )
        return events

    def _emit(self, request_id: str, event: EngineEvent | LlmaticError) -> None:
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append((request_id, event))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._n_steps += 1
        assert self._on_step is not None
        self._on_step(batch)
