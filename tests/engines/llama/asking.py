"""Asking a real engine, and what came back."""

import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from llmatic.core.types import Delta, Event, Finished, GenerationRequest, SamplingParams, Started, TextPrompt
from llmatic.engines.llama.engine import LlamaEngine
from tests.engines.llama.small_model import spec_of

GREEDY = SamplingParams(temperature=0)


class Answer:
    """What a client has got in the end."""

    def __init__(self, events: list[Event], n_choices: int) -> None:
        assert isinstance(events[0], Started)
        assert isinstance(events[-1], Finished)
        deltas = [e for e in events[1:-1] if isinstance(e, Delta)]
        assert len(deltas) == len(events) - 2
        self.deltas = deltas
        self.finished = events[-1]
        self.usage = self.finished.usage
        self.texts = ["".join(d.text for d in deltas if d.index == n) for n in range(n_choices)]
        self.reasons = []
        for n in range(n_choices):
            own = [d for d in deltas if d.index == n]
            assert all(d.finish_reason is None for d in own[:-1])
            self.reasons.append(own[-1].finish_reason)
        assert sum(d.n_tokens for d in deltas) == self.usage.n_completion_tokens


async def ask(engine: LlamaEngine, prompt: str = "hello there", **fields: Any) -> Answer:
    fields = {"sampling": GREEDY, "max_tokens": 8, **fields}
    request = GenerationRequest(id=f"r{random.random()}", prompt=TextPrompt(prompt), **fields)
    return await ask_for(engine, request)


async def ask_for(engine: LlamaEngine, request: GenerationRequest) -> Answer:
    async with aclosing(engine.generate(request)) as events:
        return Answer([event async for event in events], request.n_choices)


@asynccontextmanager
async def opened(path: Path, **changes: object) -> AsyncIterator[LlamaEngine]:
    engine = LlamaEngine(spec_of(path, **changes))
    try:
        yield engine
    finally:
        await engine.close()
