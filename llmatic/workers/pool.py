"""Every model of this server, each behind a supervisor and in a process of its own.

Owns the supervisors, the spawner thread and one task that looks after all of them once in a while. A model
with a base has no process: its requests go to the base's, with its adapters. Never knows how an engine
works. Runs in the server's loop; `start` comes first, from that loop, and before the loop's thread is made
nice (the spawner inherits its priority).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from llmatic.config import ModelSpec, WorkerSettings
from llmatic.core.encoding import EncodeEvent, EncodeRequest
from llmatic.core.errors import ConfigError, ModelNotFound, Unavailable
from llmatic.core.types import EngineInfo, Event, GenerationRequest
from llmatic.engines import resolve_engine
from llmatic.workers.adapter_files import AdapterFiles
from llmatic.workers.courtesy import MOST_S, Courtesy
from llmatic.workers.spawner import Spawner
from llmatic.workers.supervisor import Supervisor
from llmatic.workers.worker import Clock

CHECK_INTERVAL_S = 1.0


class ProcessPool:
    """An `EnginePool` of worker processes."""

    def __init__(
        self, specs: Mapping[str, ModelSpec], settings: WorkerSettings, *, clock: Clock = time.monotonic
    ) -> None:
        self._specs = dict(specs)
        self._settings = settings
        self._clock = clock
        self._spawner: Spawner | None = None
        self._supervisors: dict[str, Supervisor] = {}
        most_s = min(MOST_S, settings.step_timeout_s / 2)  # a worker that is held must not seem to hang
        self._courtesy = Courtesy(clock, self._yield_to_others, most_s=most_s)
        self._adapters = {spec.id: AdapterFiles(spec) for spec in specs.values() if spec.adapters}
        self._housekeeping: asyncio.Task[None] | None = None
        self._draining = False

    async def start(self) -> None:
        """Begin to load the models marked `preload`; does not wait for them. Raises ConfigError."""
        workers = [_complete(spec, self._specs) for spec in self._specs.values()]
        self._spawner = Spawner()
        for spec in workers:
            if spec.base is not None:
                continue
            supervisor = Supervisor(spec, self._settings, self._spawner, self._clock, self._courtesy)
            self._supervisors[spec.id] = supervisor
            if spec.preload:
                supervisor.open()
        self._housekeeping = asyncio.get_running_loop().create_task(self._look_after())

    def generate(self, model_id: str, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """As `EnginePool.generate`; concurrent first requests share one load. Raises ModelNotFound."""
        supervisor, files = self._open(model_id), self._adapters.get(model_id)
        if files is None:
            return supervisor.serve(request)
        if files.found is not None:
            return supervisor.serve(replace(request, adapters=files.found))
        return self._generate_adapted(supervisor, files, request)

    def encode(self, model_id: str, request: EncodeRequest) -> AsyncGenerator[EncodeEvent, None]:
        """As `EnginePool.encode`; concurrent first requests share one load. Raises ModelNotFound."""
        return self._open(model_id).serve(request)

    async def loaded(self, model_id: str) -> EngineInfo:
        """As `EnginePool.loaded`. Raises ModelNotFound."""
        await self._open(model_id).loaded()
        info = self.info(model_id)
        assert info is not None, "it is loaded"
        return info

    def _open(self, model_id: str) -> Supervisor:
        if self._draining:
            raise Unavailable("The server is shutting down. Please try again later.", retry_after_s=5.0)
        assert self._spawner is not None, "start comes first"
        return self._supervisor(model_id)

    async def _generate_adapted(
        self, supervisor: Supervisor, files: AdapterFiles, request: GenerationRequest
    ) -> AsyncGenerator[Event, None]:
        request = replace(request, adapters=await files.find())
        async with aclosing(supervisor.serve(request)) as events:
            async for event in events:
                yield event

    def info(self, model_id: str) -> EngineInfo | None:
        """What the loaded engine said of itself, and which adapters are added; kept when it is unloaded."""
        info = self._supervisor(model_id).info
        adapters = self._specs[model_id].adapters
        if info is None or not adapters:
            return info
        names = " + ".join(PurePath(item.path).name for item in adapters)
        return replace(
            info,
            description=f"{info.description} + {names}".removeprefix(" + "),
            fingerprint=self._adapters[model_id].fingerprint(info.fingerprint),
        )

    def is_ready(self) -> bool:
        """True when every model marked `preload` has decoded a token and is not being restarted."""
        wanted = [supervisor for supervisor in self._supervisors.values() if supervisor.spec.preload]
        return bool(self._supervisors or not self._specs) and all(item.is_loaded for item in wanted)

    def state(self, model_id: str) -> dict[str, Any]:
        """State, pid, restarts, requests running, load progress, memory, the engine's gauges.

        Of a model with a base it is the base's, whose requests are counted in.
        """
        return self._supervisor(model_id).describe()

    def states(self) -> dict[str, dict[str, Any]]:
        """`state` of every model."""
        return {model_id: self.state(model_id) for model_id in self._specs}

    def check(self) -> None:
        """Watchdogs, keep-alives, who is held, now; the pool does it every CHECK_INTERVAL_S by itself."""
        now = self._clock()
        self._courtesy.check()
        for supervisor in self._supervisors.values():
            supervisor.check(now)

    async def drain(self, timeout_s: float) -> bool:
        """Take no new requests and wait for those under way; False if some were left after `timeout_s`."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(item.until_idle() for item in self._supervisors.values()))
        return all(item.is_idle for item in self._supervisors.values())

    async def close(self) -> None:
        """Fail what runs, end every worker process, wait until they are gone. Idempotent."""
        self._draining = True
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait({self._housekeeping})
            self._housekeeping = None
        await asyncio.gather(*(supervisor.close() for supervisor in self._supervisors.values()))
        if self._spawner is not None:
            spawner, self._spawner = self._spawner, None
            spawner.close()

    def _yield_to_others(self) -> None:
        for supervisor in self._supervisors.values():
            supervisor.yield_to_others()

    def _supervisor(self, model_id: str) -> Supervisor:
        spec = self._specs.get(model_id)
        found = None if spec is None else self._supervisors.get(spec.base or spec.id)
        if found is None:
            raise ModelNotFound(f"The model '{model_id}' does not exist", param="model")
        return found

    async def _look_after(self) -> None:
        interval_s = min(CHECK_INTERVAL_S, self._settings.step_timeout_s / 8)
        while True:
            await asyncio.sleep(interval_s)
            self.check()


def _complete(spec: ModelSpec, specs: Mapping[str, ModelSpec]) -> ModelSpec:
    """What a worker is told: it knows no other model. Raises ConfigError."""
    resolve_engine(spec.engine)
    for other in (spec.base, spec.draft):
        if other is not None and (other not in specs or specs[other].base is not None):
            raise ConfigError(f"Model '{spec.id}': '{other}' is no model with a source of its own.")
    return spec if spec.draft is None else replace(spec, draft_source=specs[spec.draft].source)
