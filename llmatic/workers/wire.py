"""Core values as plain lists and mappings, the way they travel between server and worker.

Owns the wire shape of requests, events, specs and errors. Never does I/O and never frames anything
(see `protocol`). Pure functions; any thread. Events are the hot path and are written by hand as short
tuples; everything else goes field by field, so a new field of a core type needs no change here.

An event is `(number, what, …)` with the request's number on this connection:

    what ≥ 0   Delta of choice `what`: text [, n_tokens, finish_reason, logprobs [, reasoning, calls, stop]]
               (cut after the text when it is one token of nothing but text, the common case)
    STARTED    n_prompt_tokens
    ENCODED    rows, data
    FINISHED   mean_logprobs, then the counts of Usage in the order of its fields
    FAILED     the error's `to_wire` mapping
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, get_type_hints

import msgspec

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded, EncodeRequest
from llmatic.core.errors import LlmaticError, from_wire
from llmatic.core.ports import Request
from llmatic.core.types import (
    CallDelta,
    ChatPrompt,
    Delta,
    EngineInfo,
    Event,
    Finished,
    GenerationRequest,
    InfillPrompt,
    Prompt,
    Started,
    TextPrompt,
    TokenLogprob,
    TokenPrompt,
    TopLogprob,
    Usage,
)

STARTED: Final = -1
ENCODED: Final = -2
FINISHED: Final = -3
FAILED: Final = -4

WireEvent = tuple[Any, ...]

_COUNTS: Final = tuple(Usage.__dataclass_fields__)

_PROMPTS: Final[Mapping[str, type[Prompt]]] = {
    "text": TextPrompt,
    "tokens": TokenPrompt,
    "infill": InfillPrompt,
    "chat": ChatPrompt,
}
_PROMPT_TAGS: Final = {kind: tag for tag, kind in _PROMPTS.items()}
_REQUEST_FIELDS: Final = {
    name: hint for name, hint in get_type_hints(GenerationRequest).items() if name != "prompt"
}


def _plain(value: object) -> object:
    """What msgspec does not know by itself: other mappings (read-only views, say) and paths."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent to a worker")


def to_plain(value: object) -> Any:
    """Dataclasses, tuples and mappings as dicts and lists; raises TypeError for anything stranger."""
    return msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=_plain)


def request_to_wire(request: Request) -> dict[str, Any]:
    """The request as a mapping; the prompt of a generation becomes `[tag, fields]`."""
    wire: dict[str, Any] = to_plain(request)
    if isinstance(request, GenerationRequest):
        wire["prompt"] = [_PROMPT_TAGS[type(request.prompt)], wire["prompt"]]
    return wire


def request_from_wire(wire: Mapping[str, Any]) -> Request:
    """The request that `request_to_wire` described; raises ValueError if it does not describe one."""
    if "prompt" not in wire:
        return msgspec.convert(wire, EncodeRequest)
    tag, fields = wire["prompt"]
    prompt = msgspec.convert(fields, _PROMPTS[tag])
    rest = {name: msgspec.convert(wire[name], hint) for name, hint in _REQUEST_FIELDS.items() if name in wire}
    return GenerationRequest(prompt=prompt, **rest)


def spec_from_wire(wire: Mapping[str, Any]) -> ModelSpec:
    """A ModelSpec from `to_plain(spec)`."""
    return msgspec.convert(wire, ModelSpec)


def info_from_wire(wire: Mapping[str, Any]) -> EngineInfo:
    """An EngineInfo from `to_plain(info)`."""
    return msgspec.convert(wire, EngineInfo)


def event_to_wire(number: int, event: Event | Encoded | LlmaticError) -> WireEvent:
    """One event of request `number` as a short tuple."""
    if isinstance(event, Delta):
        is_text = not (event.reasoning or event.calls or event.stop)
        if event.n_tokens == 1 and event.finish_reason is None and is_text and not event.logprobs:
            return (number, event.index, event.text)
        logprobs = [_logprob_to_wire(item) for item in event.logprobs] if event.logprobs else None
        wire = (number, event.index, event.text, event.n_tokens, event.finish_reason, logprobs)
        if is_text:
            return wire
        return (*wire, event.reasoning, [_call_to_wire(call) for call in event.calls], event.stop)
    if isinstance(event, Started):
        return (number, STARTED, event.n_prompt_tokens)
    if isinstance(event, Encoded):
        return (number, ENCODED, event.rows, event.data)
    if isinstance(event, Finished):
        return (number, FINISHED, event.mean_logprobs, *(getattr(event.usage, name) for name in _COUNTS))
    return (number, FAILED, event.to_wire())


def event_from_wire(wire: Sequence[Any]) -> Event | Encoded | LlmaticError:
    """The event of `event_to_wire`, without its request number."""
    what = wire[1]
    if what >= 0:
        if len(wire) == 3:
            return Delta(what, wire[2], 1)
        logprobs = tuple(_logprob_from_wire(item) for item in wire[5]) if wire[5] else ()
        if len(wire) == 6:
            return Delta(what, wire[2], wire[3], logprobs, wire[4])
        calls = tuple(CallDelta(*call) for call in wire[7])
        return Delta(what, wire[2], wire[3], logprobs, wire[4], wire[6], calls, wire[8])
    if what == STARTED:
        return Started(wire[2])
    if what == ENCODED:
        return Encoded(tuple(wire[2]), wire[3])
    if what == FINISHED:
        return Finished(Usage(*wire[3:]), tuple(wire[2]))
    return from_wire(wire[2])


def is_last(wire: Sequence[Any]) -> bool:
    """Whether no event of this request follows."""
    return bool(wire[1] <= FINISHED)


def _logprob_to_wire(item: TokenLogprob) -> tuple[Any, ...]:
    top = [(t.token_id, t.data, t.logprob) for t in item.top]
    return (item.token_id, item.data, item.logprob, top)


def _call_to_wire(call: CallDelta) -> tuple[int, str, str, str]:
    return (call.index, call.name, call.id, call.arguments)


def _logprob_from_wire(wire: Sequence[Any]) -> TokenLogprob:
    return TokenLogprob(wire[0], wire[1], wire[2], tuple(TopLogprob(*top) for top in wire[3]))
