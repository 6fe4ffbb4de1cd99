"""POST /chat/completions: what its fields mean.

What cannot be honoured was already refused by name: the contract lists it. Pure but for the clock; any
thread.
"""

from typing import Any

from llmatic.api import formats
from llmatic.api.chat_messages import continues, conversation, text_of
from llmatic.api.chat_render import ChatChunks, ChatReply
from llmatic.api.chat_tools import offer
from llmatic.api.generate import Call, StreamOptions, now, stream_options
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, GenerationRequest
from llmatic.services.parameters import (
    chat_limit,
    min_tokens,
    reasoning_budget,
    sampling_params,
    stop_texts,
)
from llmatic.services.terms import Caller, service_tier, with_terms

_BUDGET, _BUDGET_TOO = "thinking_budget_tokens", "thinking_token_budget"

Body = dict[str, Any]


def parse_chat(body: Body, spec: ModelSpec, reply_id: str, caller: Caller) -> Call:
    """The call that a checked body asks for. Raises InvalidRequest."""
    n = int(body.get("n", 1))
    n_top = _top_logprobs(body)
    stream = stream_options(body)
    offered = offer(body)
    prompt = ChatPrompt(
        conversation(body["messages"]),
        body.get("chat_template_kwargs", {}),
        tools=offered.use,
        reasoning_effort=body.get("reasoning_effort"),
        continues=continues(body),
    )
    request = GenerationRequest(
        id=reply_id,
        prompt=prompt,
        sampling=sampling_params(body, spec.sampling, n_logprobs=n_top),
        n_choices=n,
        max_tokens=chat_limit(body, spec.sampling),
        min_tokens=min_tokens(body, spec.sampling),
        stop=stop_texts(body, spec.sampling),
        ignore_eos=bool(body.get("ignore_eos")),
        prediction=_prediction(body),
        constraint=formats.constraint(body),
        reasoning_budget=reasoning_budget(body),
    )
    requests = with_terms((request,), body, caller)
    created, tier = now(), service_tier(body)

    def reply(fingerprint: str | None) -> ChatReply:
        return ChatReply(reply_id, created, spec.id, fingerprint, n_top, tier, offered.style)

    def chunks(fingerprint: str | None, options: StreamOptions) -> ChatChunks:
        return ChatChunks(
            reply(fingerprint),
            include_usage=options.include_usage,
            usage_on_all=options.usage_on_all,
            obfuscate=options.obfuscate,
        )

    def reworded(error: InvalidRequest) -> InvalidRequest:
        return _reworded(offered.style.reworded(error), body)

    return Call(requests, n, n, reply, chunks, stream, reworded)


def _reworded(error: InvalidRequest, body: Body) -> InvalidRequest:
    """The engine's refusal of a budget, by the name under which it was sent."""
    if error.param != _BUDGET or _BUDGET in body:
        return error
    return InvalidRequest(error.message.replace(_BUDGET, _BUDGET_TOO), param=_BUDGET_TOO, code=error.code)


def _top_logprobs(body: Body) -> int | None:
    """How many alternatives to show for each token; None: no log probabilities at all."""
    return int(body.get("top_logprobs", 0)) if body.get("logprobs") else None


def _prediction(body: Body) -> str:
    prediction = body.get("prediction")
    return "" if prediction is None else text_of(prediction["content"])
