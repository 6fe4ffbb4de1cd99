"""The interfaces between packages. Whoever implements one is found by the composition root alone."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from llmatic.core.encoding import Encoded, EncodeEvent, EncodeRequest
from llmatic.core.errors import LlmaticError
from llmatic.core.types import EngineInfo, Event, GenerationRequest

Request = GenerationRequest | EncodeRequest
EngineEvent = Event | Encoded
StepEvents = Sequence[tuple[str, EngineEvent | LlmaticError]]


class GenerationEngine(Protocol):
    """A loaded model that writes text. The same interface in a worker process and in-process in tests."""

    @property
    def info(self) -> EngineInfo:
        """What was loaded."""
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Started, then Deltas of all choices mixed, then Finished.

        Closing the generator cancels the request and frees its memory before the next step.
        Raises InvalidRequest or QueueFull before Started; EngineFailed at any time.
        """
        ...

    async def close(self) -> None:
        """Fail what still runs, free the model. Idempotent."""
        ...


class EncodingEngine(Protocol):
    """A loaded model that turns texts into numbers; `info.encoder` is set. As GenerationEngine otherwise."""

    @property
    def info(self) -> EngineInfo:
        """What was loaded."""
        ...

    def encode(self, request: EncodeRequest) -> AsyncGenerator[EncodeEvent, None]:
        """Started, then Encoded until every row has come, then Finished; closing it cancels the request.

        Raises InvalidRequest or QueueFull before the first Encoded; EngineFailed at any time.
        """
        ...

    async def close(self) -> None:
        """Fail what still runs, free the model. Idempotent."""
        ...


@runtime_checkable
class StepEngine(Protocol):
    """An engine whose thread runs in steps, seen from a worker: all events of one step come in one call.

    Events are pairs (request id, event). A request ends with `Finished` or with a LlmaticError, once; after
    `cancel` nothing more may come for it (events already on their way may still arrive once). Every submitted
    request that is neither finished nor cancelled when the engine closes ends with EngineFailed.
    """

    @property
    def info(self) -> EngineInfo:
        """What was loaded."""
        ...

    def start(self, on_step: Callable[[StepEvents], None]) -> None:
        """Deliver events to `on_step`, called from the engine's threads: it must not block or raise.

        Call it once, before the first `submit`, and do not use `generate` afterwards.
        """
        ...

    def submit(self, request: Request) -> None:
        """Queue a request of a kind that `info` says is served.

        From any thread; never blocks; refusals arrive as events.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """Forget a request and free its memory before the next step. From any thread; ignores unknown ids."""
        ...

    def stats(self) -> Mapping[str, float]:
        """Gauges and counters by name (requests_running, cells_used, …). From any thread."""
        ...

    def heartbeat(self) -> tuple[int, float | None]:
        """Steps done, and the `time.monotonic()` at which it began (None: idle). From any thread."""
        ...

    async def close(self) -> None:
        """As GenerationEngine.close."""
        ...


@runtime_checkable
class Holdable(Protocol):
    """A StepEngine that can let others go first."""

    def hold(self, seconds: float) -> None:
        """For so long compute nothing of the priority BATCH, which nobody waits for; 0 ends that.

        From any thread; never blocks.
        """
        ...


class EnginePool(Protocol):
    """Loaded and loadable models by registry id (never an alias)."""

    async def start(self) -> None:
        """Begin to load the models marked `preload`; does not wait for them. Raises ConfigError."""
        ...

    def generate(self, model_id: str, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """As GenerationEngine.generate; loads the model first if need be. Raises Unavailable if it cannot."""
        ...

    def encode(self, model_id: str, request: EncodeRequest) -> AsyncGenerator[EncodeEvent, None]:
        """As EncodingEngine.encode; loads the model first if need be. Raises Unavailable if it cannot."""
        ...

    def info(self, model_id: str) -> EngineInfo | None:
        """What the loaded engine says; None while the model has never been loaded."""
        ...

    async def loaded(self, model_id: str) -> EngineInfo:
        """What the engine says, once the model is loaded. Raises Unavailable if it cannot be."""
        ...

    def is_ready(self) -> bool:
        """True when every model marked `preload` has decoded a token."""
        ...

    def state(self, model_id: str) -> Mapping[str, Any]:
        """What people may want to see: `state` in a word, `stats` of the engine, process id, memory, …"""
        ...

    async def close(self) -> None:
        """Stop every worker."""
        ...
