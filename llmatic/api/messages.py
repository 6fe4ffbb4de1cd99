"""POST /messages and /messages/count_tokens, Anthropic's API: what their fields mean.

Owns the way from Anthropic's names to those of chats; what cannot be honoured was already refused by name:
the contract lists it. Parsing is pure; counting runs on the event loop.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from llmatic.api import formats
from llmatic.api.abilities import require_writer
from llmatic.api.chat_media import with_media
from llmatic.api.context import ApiContext
from llmatic.api.generate import Call, StreamOptions, stream_options
from llmatic.api.ids import object_id
from llmatic.api.message_render import MessageChunks, MessageReply
from llmatic.api.message_tools import offered, renamed
from llmatic.api.message_turns import read_turns
from llmatic.api.replies import Answer
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, Constraint, GenerationRequest
from llmatic.services.counting import count_prompt_tokens
from llmatic.services.parameters import min_tokens, sampling_params, stop_texts
from llmatic.services.terms import Caller, with_terms

Body = dict[str, Any]

ID_PREFIX = "msg_"

_ANY_NUMBER = 2**31 - 1  # of tokens, where none are to be written

_FIELDS = {
    "reasoning_effort": "output_config.effort",
    "thinking_budget_tokens": "thinking.budget_tokens",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
}


def parse_message(body: Body, spec: ModelSpec, reply_id: str, caller: Caller) -> Call:
    """The call that a checked body asks for. Raises InvalidRequest."""
    turns = read_turns(body)
    effort, budget = _thinking(body)
    stops = stop_texts({"stop": body.get("stop_sequences")}, spec.sampling)
    request = GenerationRequest(
        id=reply_id,
        prompt=ChatPrompt(
            tuple(turns.messages),
            tools=offered(body),
            reasoning_effort=effort,
            effort_is_wish=True,
            continues=turns.continues,
        ),
        sampling=sampling_params(body, spec.sampling, n_logprobs=None),
        max_tokens=body["max_tokens"],
        min_tokens=min_tokens(body, spec.sampling),
        stop=stops,
        constraint=_constraint(body),
        reasoning_budget=budget,
        shortens=True,
    )
    is_fast = body.get("speed") == "fast"
    terms: Body = {"service_tier": "fast" if is_fast else "auto"} | _caching(body)
    requests = with_terms((request,), terms, caller)
    reply = MessageReply(
        reply_id,
        spec.id,
        max_tokens=body["max_tokens"],
        stops=frozenset(body.get("stop_sequences", ())),
        omits_thinking=body.get("thinking", {}).get("display") == "omitted",
        speed=body.get("speed"),
    )

    def chunks(_fingerprint: str | None, _options: StreamOptions) -> MessageChunks:
        return MessageChunks(reply)

    def reworded(error: InvalidRequest) -> InvalidRequest:
        return _reworded(renamed(turns.reworded(error)))

    return Call(requests, 1, 1, lambda _fingerprint: reply, chunks, stream_options(body), reworded)


async def count_message_tokens(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """How long the prompt of a message would be. Raises InvalidRequest, and what the engine raises."""
    spec = context.registry.resolve(body["model"])
    await require_writer(context, spec)
    call = parse_message(body | {"max_tokens": _ANY_NUMBER}, spec, object_id(ID_PREFIX), caller)
    with call.rewording():
        (request,) = await with_media(call.requests, context.media, context.pool.info(spec.id))
        n_tokens = await count_prompt_tokens(lambda asked: context.pool.generate(spec.id, asked), request)
    return Answer(orjson.dumps({"input_tokens": n_tokens}))


def _thinking(body: Body) -> tuple[str | None, int | None]:
    """The effort, and after how many tokens thinking ends. Raises InvalidRequest."""
    effort = (body.get("output_config") or {}).get("effort")
    thinking = body.get("thinking", {})
    if thinking.get("type") == "disabled":
        return effort, 0
    if thinking.get("type") != "enabled":
        return effort, None
    budget = int(thinking["budget_tokens"])
    if body["max_tokens"] <= budget:
        raise InvalidRequest(
            "`max_tokens` must be greater than `thinking.budget_tokens`.", param="thinking.budget_tokens"
        )
    # The level that only switches thinking on, for templates that leave it off unless asked.
    return effort or "medium", budget


def _constraint(body: Body) -> Constraint | None:
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if wanted is None:
        return None
    as_chat = {"response_format": {"type": "json_object", "schema": wanted["schema"]}}
    found = formats.constraint(as_chat)
    assert found is not None, "a schema is a constraint"
    return replace(found, param="output_config.format")


def _caching(body: Body) -> dict[str, Any]:
    """A mark says that the prompt comes again, which is what a key says in OpenAI's API."""
    for mark in _marks(body):
        return {"prompt_cache_options": {"ttl": mark.get("ttl") or "5m"}}
    return {}


def _marks(body: Body) -> Iterator[Mapping[str, Any]]:
    """Every `cache_control`, wherever it stands."""
    holders: list[Any] = [body, *body.get("tools", ())]
    contents = [body.get("system"), *(message["content"] for message in body["messages"])]
    for content in contents:
        if isinstance(content, list):
            holders += content
            holders += [
                part
                for block in content
                if isinstance(block.get("content"), list)
                for part in block["content"]
            ]
    return (holder["cache_control"] for holder in holders if holder.get("cache_control"))


def _reworded(error: InvalidRequest) -> InvalidRequest:
    """A refusal of the engine, naming the field that the client sent."""
    param = error.param or ""
    head = next((name for name in _FIELDS if param == name or param.startswith(f"{name}.")), None)
    if head is None:
        return error
    message = re.sub(rf"\b{head}\b", _FIELDS[head], error.message)
    return InvalidRequest(message, param=_FIELDS[head] + param.removeprefix(head), code=error.code)
