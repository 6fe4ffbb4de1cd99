"""The one way of both generating endpoints: read → check → parse → generate → reply.

Owns what /completions and /chat/completions have in common; what a request means and how its reply looks
is theirs. Streamed or not, the same events are consumed. Event loop's thread.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from llmatic.api.abilities import require_writer
from llmatic.api.chat_media import with_media
from llmatic.api.context import ApiContext
from llmatic.api.endpoint import caller_of, checked_body, principal_of
from llmatic.api.errors import Headers
from llmatic.api.ids import object_id
from llmatic.api.replies import model_headers, send_bytes
from llmatic.api.sse import Chunks, EventStream, watch
from llmatic.api.taping import open_generation
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import GenerationRequest, Usage
from llmatic.services.choices import Choice, Folding
from llmatic.services.generation import Generation
from llmatic.services.terms import Caller


class Reply(Protocol):
    """Renders a whole reply."""

    def whole(self, choices: list[Choice], usage: Usage) -> bytes:
        """The body."""
        ...


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a streamed reply is wanted."""

    include_usage: bool = False
    usage_on_all: bool = False
    obfuscate: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed request: what to generate and how to answer.

    `n_generated` choices are made of each prompt and the best `n_returned` of them answered. `reply` makes
    the renderer from the engine's fingerprint, which is known once the model is loaded. `reworded` makes a
    refusal of the engine name the field that the client sent.
    """

    requests: tuple[GenerationRequest, ...]
    n_generated: int
    n_returned: int
    reply: Callable[[str | None], Reply]
    chunks: Callable[[str | None, StreamOptions], Chunks]
    stream: StreamOptions | None
    reworded: Callable[[InvalidRequest], InvalidRequest] | None = None

    @contextmanager
    def rewording(self) -> Iterator[None]:
        """Within it, what is refused is refused by the names that the client sent."""
        try:
            yield
        except InvalidRequest as error:
            raise error if self.reworded is None else self.reworded(error) from None


# body, model, reply id, caller → call
Parse = Callable[[dict[str, Any], ModelSpec, str, Caller], Call]


class GenerateEndpoint:
    """ASGI endpoint of one generating operation.

    `owns_user`: the caller's identity replaces the request's `user` (the /oaiv1 family).
    """

    def __init__(
        self, context: ApiContext, operation_id: str, id_prefix: str, parse: Parse, *, owns_user: bool = False
    ) -> None:
        self._context = context
        self._operation_id = operation_id
        self._id_prefix = id_prefix
        self._parse = parse
        self._owns_user = owns_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises LlmaticError for all that goes wrong before the first byte."""
        started_s = asyncio.get_running_loop().time()
        context = self._context.seen_by(principal_of(scope))
        body = await checked_body(context, self._operation_id, scope, receive, owns_user=self._owns_user)
        caller = caller_of(context, scope)
        with caller.meter.admitted(body):
            await self._serve(context, body, caller, receive, send, started_s)

    async def _serve(
        self,
        context: ApiContext,
        body: dict[str, Any],
        caller: Caller,
        receive: Receive,
        send: Send,
        started_s: float,
    ) -> None:
        spec = context.registry.resolve(body["model"])
        await require_writer(context, spec)
        call = self._parse(body, spec, object_id(self._id_prefix), caller)
        with call.rewording():
            requests = await with_media(call.requests, context.media, context.pool.info(spec.id))
        generation = open_generation(context, self._id_prefix, body, call, spec, caller, requests)
        watcher = asyncio.get_running_loop().create_task(watch(receive, generation))
        try:
            with context.calls.admit(generation), call.rewording():
                async with generation:
                    await self._answer(send, generation, call, spec, started_s)
        finally:
            watcher.cancel()
            caller.meter.count_generation(spec.id, generation)

    async def _answer(
        self, send: Send, generation: Generation, call: Call, spec: ModelSpec, started_s: float
    ) -> None:
        context = self._context
        info = context.pool.info(spec.id)
        fingerprint = info.fingerprint if info is not None else None
        headers = model_headers(spec.id)
        if call.stream is None:
            await self._send_whole(send, generation, call, fingerprint, headers)
            return
        chunks = call.chunks(fingerprint, call.stream)
        stream = EventStream(generation, chunks, n_prompts=len(call.requests), n_choices=call.n_returned)
        await stream.send(
            send,
            headers=headers,
            keep_alive_s=context.settings.sse_keep_alive_s,
            metrics=context.metrics.model(spec.id),
            started_s=started_s,
        )

    async def _send_whole(
        self, send: Send, generation: Generation, call: Call, fingerprint: str | None, headers: Headers
    ) -> None:
        await send_bytes(send, await whole_reply(generation, call, fingerprint), headers=headers)


async def whole_reply(generation: Generation, call: Call, fingerprint: str | None) -> bytes:
    """The body of a reply that is not streamed. Raises what the generation raises."""
    folding = Folding(len(call.requests), call.n_generated, call.n_returned)
    while (events := await generation.batch()) is not None:
        folding.add(events)
    return call.reply(fingerprint).whole(folding.choices(), folding.usage())


def stream_options(body: dict[str, Any]) -> StreamOptions | None:
    """The `stream` fields of a checked body; None: not streamed."""
    if not body.get("stream"):
        return None
    options = body.get("stream_options", {})
    on_all = bool(options.get("continuous_usage_stats") or body.get("continuous_usage_stats"))
    return StreamOptions(
        include_usage=bool(options.get("include_usage")) or on_all,
        usage_on_all=on_all,
        obfuscate=bool(options.get("include_obfuscation")),
    )


def now() -> int:
    """Seconds since 1970, as `created` counts them."""
    return int(time.time())
