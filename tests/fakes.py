"""A pool without processes: it says what it is told to say and records what it is asked."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.encoding import EncodeEvent, EncodeRequest
from llmatic.core.types import (
    Delta,
    EncoderInfo,
    EngineInfo,
    Event,
    Finished,
    GenerationRequest,
    Started,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from llmatic.engines import fake_vectors

INFO = EngineInfo(
    n_context=4096,
    n_context_train=4096,
    n_vocab=1000,
    n_parallel=8,
    has_chat_template=True,
    has_infill=True,
    fingerprint="fp_test",
    description="a fake",
)
ENCODER = EncoderInfo("embed", 16, has_dimensions=True)
SPEC = ModelSpec(id="org/fake-1", source="none", engine="fake", aliases=("gpt-4o-mini",))
WORDS = ("Hello", " wörld", "!")
N_PROMPT_TOKENS = 7


class Gate:
    """Holds a script up until somebody, in whatever thread, opens it; tells that it was reached."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._future: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Called by the script."""
        self._loop = asyncio.get_running_loop()
        self._future = self._loop.create_future()
        self.reached.set()
        if not self._opened.is_set():
            await self._future

    def open(self) -> None:
        """Let the script go on, now or when it comes."""
        self._opened.set()
        if self._loop is not None and self._future is not None:
            self._loop.call_soon_threadsafe(_release, self._future)


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


Step = Event | Exception | Gate
Script = Callable[[GenerationRequest], Iterable[Step]]
RowScript = Callable[[EncodeRequest], Iterable[EncodeEvent | Exception | Gate]]


def logprob(text: str | bytes, value: float | None = -0.5, n_top: int = 0) -> TokenLogprob:
    """A token and `n_top` alternatives, itself the likeliest."""
    data = text if isinstance(text, bytes) else text.encode()
    top = [TopLogprob(1, data, value or 0.0), *(TopLogprob(2 + k, b"x%d" % k, -2.0 - k) for k in range(9))]
    return TokenLogprob(1, data, value, tuple(top[:n_top]))


def echo(request: GenerationRequest) -> Iterable[Step]:
    """Hello wörld! in three tokens for every choice, then an end token."""
    yield Started(N_PROMPT_TOKENS)
    n_top = request.sampling.n_logprobs
    for index in range(request.n_choices):
        for word in WORDS:
            tokens = () if n_top is None else (logprob(word, n_top=n_top),)
            yield Delta(index, word, 1, tokens)
        yield Delta(index, "", 1, (), "stop")
    means = tuple(-1.0 - index for index in range(request.n_choices))
    n_tokens = (len(WORDS) + 1) * request.n_choices
    yield Finished(Usage(N_PROMPT_TOKENS, n_tokens, 2), means if n_top is not None else ())


class FakePool:
    """An `EnginePool` that plays `script` for every request."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As new."""
        self.script: Script = echo
        self.encoders: dict[str, EncoderInfo] = {}
        self.rows: RowScript = lambda request: fake_vectors.script(
            request, INFO.n_context, self.encoders.get(self.model_ids[-1], ENCODER)
        )
        self.encode_requests: list[EncodeRequest] = []
        self.requests: list[GenerationRequest] = []
        self.model_ids: list[str] = []
        self.ready = True
        self.closed = threading.Event()
        self.cancelled = threading.Event()
        self.n_open = 0

    async def generate(self, model_id: str, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        async with aclosing(self._play(model_id, lambda: self.script(request))) as steps:
            async for step in steps:
                yield step

    async def encode(self, model_id: str, request: EncodeRequest) -> AsyncGenerator[EncodeEvent, None]:
        self.encode_requests.append(request)
        async with aclosing(self._play(model_id, lambda: self.rows(request))) as steps:
            async for step in steps:
                yield step

    async def _play(self, model_id: str, script: Callable[[], Iterable[Any]]) -> AsyncGenerator[Any, None]:
        self.model_ids.append(model_id)
        is_finished = False
        self.n_open += 1
        try:
            for step in script():
                if isinstance(step, Gate):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    is_finished = isinstance(step, Finished)
                    yield step
        finally:
            self.n_open -= 1
            if not is_finished:
                self.cancelled.set()

    def info(self, model_id: str) -> EngineInfo | None:
        encoder = self.encoders.get(model_id)
        return INFO if encoder is None else replace(INFO, encoder=encoder, writes=False)

    async def loaded(self, model_id: str) -> EngineInfo:
        info = self.info(model_id)
        assert info is not None
        return info

    async def start(self) -> None:
        """Nothing to load."""

    def is_ready(self) -> bool:
        return self.ready

    def state(self, model_id: str) -> dict[str, object]:
        return {"state": "ready" if self.ready else "loading", "stats": {"requests_running": self.n_open}}

    async def close(self) -> None:
        self.closed.set()
