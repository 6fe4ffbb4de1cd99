"""Operations without a socket: a body in, the body of the whole reply out, as over HTTP.

Owns the table of what a batch's lines may ask for; implements `services.batches.ports.Operations`. The
contract checks the body, the same code serves it; only who waits differs. Event loop's thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
import structlog

from llmatic.api.abilities import require_writer
from llmatic.api.chat import parse_chat
from llmatic.api.chat_media import with_media
from llmatic.api.completions import parse_completion
from llmatic.api.context import ApiContext
from llmatic.api.embeddings import serve_embeddings
from llmatic.api.endpoint import Serve, tenant_of
from llmatic.api.errors import error_body, server_fault
from llmatic.api.generate import Parse, whole_reply
from llmatic.api.ids import object_id, request_id
from llmatic.api.json_body import body_too_large, check_depth
from llmatic.api.moderations import serve_moderation
from llmatic.api.replies import Answer, model_answer
from llmatic.api.responses import serve_response
from llmatic.api.taping import open_generation
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest, LlmaticError
from llmatic.core.principal import Principal
from llmatic.core.types import Priority
from llmatic.services.batches.ports import Place
from llmatic.services.moderation import DEFAULT_MODEL, moderator
from llmatic.services.terms import Caller

Body = dict[str, Any]

# So that a slot of the engine that becomes free finds the next line waiting.
WAITING_PER_RUNNING: Final = 1
READ_LINE_BYTES: Final = 8 * 1024

_log = structlog.get_logger("llmatic.operations")


async def serve_generated(
    id_prefix: str, parse: Parse, context: ApiContext, body: Body, caller: Caller
) -> Answer:
    """The whole reply of a generating operation. Raises what the operation raises."""
    spec = context.registry.resolve(body["model"])
    await require_writer(context, spec)
    call = parse(body, spec, object_id(id_prefix), caller)
    with call.rewording():
        requests = await with_media(call.requests, context.media, context.pool.info(spec.id))
    generation = open_generation(context, id_prefix, body, call, spec, caller, requests)
    try:
        with call.rewording():
            async with generation:
                info = context.pool.info(spec.id)
                reply = await whole_reply(generation, call, info.fingerprint if info is not None else None)
    finally:
        caller.meter.count_generation(spec.id, generation)
    return model_answer(reply, spec.id)


@dataclass(frozen=True, slots=True)
class _Operation:
    """By which name the contract knows it, how it is served, and whether its model only reads."""

    id: str
    serve: Serve
    only_reads: bool = False


OPERATIONS: Final[Mapping[str, _Operation]] = {
    "/v1/chat/completions": _Operation(
        "createChatCompletion", partial(serve_generated, "chatcmpl", parse_chat)
    ),
    "/v1/completions": _Operation("createCompletion", partial(serve_generated, "cmpl", parse_completion)),
    "/v1/embeddings": _Operation("createEmbedding", serve_embeddings, only_reads=True),
    "/v1/responses": _Operation("createResponse", serve_response),
    "/v1/moderations": _Operation("createModeration", serve_moderation),
}


_REFUSED: Final = {
    "stream": "Streaming is not supported in the Batch API.",
    "background": "Background mode is not supported in the Batch API.",
}


class InProcess:
    """Serves the lines of batches: at the lowest priority, and of the caller's limits only the day's tokens
    count.
    """

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def place(self, endpoint: str, body: Body, principal: Principal) -> Place:
        """As `Operations.place`."""
        spec = self._spec(endpoint, body, principal)
        worker = spec if spec.base is None else self._context.registry.resolve(spec.base)
        if OPERATIONS[endpoint].only_reads:
            # Short texts are computed by the hundred; live requests still find the queue half empty, and of
            # its tokens, of which a few bytes make one, most.
            return Place(spec.id, max(worker.parallel, worker.max_queue // 2), READ_LINE_BYTES)
        n_waiting = min(worker.parallel * WAITING_PER_RUNNING, max(1, worker.max_queue // 2))
        return Place(spec.id, worker.parallel + n_waiting)

    async def run(self, endpoint: str, body: Body, principal: Principal, *, size_bytes: int = 0) -> bytes:
        """As `Operations.run`."""
        operation = OPERATIONS[endpoint]
        context = self._context.seen_by(principal)
        limit = context.settings.max_body_bytes
        if size_bytes > limit and len(orjson.dumps(body)) > limit:
            raise body_too_large(limit)
        for name, words in _REFUSED.items():
            if body.get(name):
                raise InvalidRequest(words, param=name)
        check_depth(body, context.settings.max_json_depth)
        checked = context.contract.check(operation.id, body)
        meter = context.metering.background(principal, is_batch=True)
        meter.check_quota()
        caller = Caller(principal.id, tenant_of(context, principal), principal, meter, Priority.BATCH)
        try:
            answer = await operation.serve(context, checked, caller)
        except LlmaticError:
            raise
        except Exception:
            _log.exception("line_failed", endpoint=endpoint)
            raise server_fault() from None
        return answer.body

    def refusal(self, error: LlmaticError) -> bytes:
        """As `Operations.refusal`."""
        return error_body(error)

    def request_id(self) -> str:
        """As `Operations.request_id`."""
        return request_id()

    def _spec(self, endpoint: str, body: Body, principal: Principal) -> ModelSpec:
        registry = self._context.seen_by(principal).registry
        judges = OPERATIONS[endpoint].id == "createModeration"
        name = body.get("model", DEFAULT_MODEL if judges else None)
        if not isinstance(name, str):
            raise InvalidRequest("you must provide a model parameter", param="model")
        return moderator(registry, name) if judges else registry.resolve(name)
