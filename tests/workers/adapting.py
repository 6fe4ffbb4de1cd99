"""Engines that write down which adapters they are given, and one that does not end."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.types import Delta, EngineInfo, Event, Finished, GenerationRequest, Started, Usage


class Adapting:
    """Answers every request with its adapters, or with where its draft comes from if there is one."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self.info = EngineInfo(100, 100, 10, 1, False, False, "fp", "adapting")

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        text = self._spec.draft_source or shown((item.path, item.scale) for item in request.adapters)
        for event in (Started(1), Delta(0, text, 1, (), "stop"), Finished(Usage(1, 1))):
            yield event

    async def close(self) -> None:
        """Nothing to free."""


class Stubborn(Adapting):
    """Cannot be closed."""

    async def close(self) -> None:
        """Never returns."""
        await asyncio.Event().wait()


def shown(adapters: Iterable[tuple[Any, float]]) -> str:
    """How the engine writes adapters."""
    return ", ".join(f"{path} × {scale:g}" for path, scale in adapters)
