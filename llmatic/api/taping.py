"""Which requests are recorded, and under what.

Owns the meaning of `store` and of what the configuration says about it: requests for which a model writes a
text are recorded, others are not. Event loop's thread.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.run_render import source
from llmatic.config import ModelSpec
from llmatic.core.types import GenerationRequest, Priority
from llmatic.services.choices import Folding
from llmatic.services.composing import Outcome
from llmatic.services.generation import Generation
from llmatic.services.tapes import Ask, Render, Tape, TapedGeneration
from llmatic.services.terms import Caller

if TYPE_CHECKING:
    from llmatic.api.generate import Call
    from llmatic.api.response_job import ResponseJob

_KINDS: Final[Mapping[str, str]] = {"chatcmpl": "chat", "cmpl": "completion", "msg_": "message"}


def open_generation(
    context: ApiContext,
    id_prefix: str,
    body: dict[str, Any],
    call: "Call",
    spec: ModelSpec,
    caller: Caller,
    requests: tuple[GenerationRequest, ...],
) -> Generation:
    """The generation of a call, which records itself if the request or the configuration says so."""
    open_stream = partial(context.pool.generate, spec.id)
    kind = _KINDS[id_prefix]
    is_promised = kind == "chat" and bool(body.get("store"))
    if not (is_promised or context.recorder.wants(caller.principal, spec.id)):
        return Generation(open_stream, requests)
    reply_id = requests[0].id if len(requests) == 1 else requests[0].id.removesuffix("-0")
    ask = Ask(
        reply_id,
        kind,
        body,
        spec.id,
        caller.principal,
        is_promised=is_promised,
        details={"source": source_of(caller)},
    )
    folding = Folding(len(call.requests), call.n_generated, call.n_returned)
    render = render_of(context, call, spec)
    return TapedGeneration(open_stream, requests, Tape(context.recorder, ask), folding, render)


def response_tape(job: "ResponseJob") -> Tape | None:
    """The recording of a response, if the configuration has it recorded; with all that the model is told."""
    recorder, caller = job.context.recorder, job.caller
    if not recorder.wants(caller.principal, job.spec.id):
        return None
    body = {**job.body, "input": [*job.items]}
    details = {"source": source_of(caller)}
    return Tape(recorder, Ask(job.id, "response", body, job.spec.id, caller.principal, details=details))


def response_outcome(body: Mapping[str, Any], finish_reason: str | None) -> Outcome:
    """What is recorded of a response that has ended; `body` is OpenAI's object."""
    usage = body["usage"] or {}
    return Outcome(
        orjson.dumps(body), finish_reason, usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    )


def render_of(context: ApiContext, call: "Call", spec: ModelSpec) -> Render:
    """Writes what the call answers."""

    def render(folding: Folding) -> Outcome:
        info = context.pool.info(spec.id)
        choices, usage = folding.choices(), folding.usage()
        body = call.reply(None if info is None else info.fingerprint).whole(choices, usage)
        return Outcome(body, choices[0].finish_reason, usage.n_prompt_tokens, usage.n_completion_tokens)

    return render


def source_of(caller: Caller) -> dict[str, Any]:
    """Who asked, and whether by a line of a batch."""
    label = "Batch" if caller.priority is Priority.BATCH else "API request"
    return source(caller.principal.kind, caller.principal.id, "", label)
