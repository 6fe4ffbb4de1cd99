"""POST /chat/completions: what its fields mean.

What cannot be honoured was already refused by name: the contract lists it. Pure but for the clock; any
thread.
"""

from collections.abc import Mapping
from typing import Any

from llmatic.api.chat_render import ChatChunks, ChatReply
from llmatic.api.generate import Call, StreamOptions, now, stream_options
from llmatic.config import ModelSpec
from llmatic.core.types import ChatPrompt, GenerationRequest
from llmatic.services.parameters import chat_limit, min_tokens, sampling_params, stop_texts
from llmatic.services.terms import Caller, service_tier, with_terms

Body = dict[str, Any]


def parse_chat(body: Body, spec: ModelSpec, reply_id: str, caller: Caller) -> Call:
    """The call that a checked body asks for."""
    n = int(body.get("n", 1))
    n_top = _top_logprobs(body)
    stream = stream_options(body)
    request = GenerationRequest(
        id=reply_id,
        prompt=ChatPrompt(tuple(map(_message, body["messages"])), body.get("chat_template_kwargs", {})),
        sampling=sampling_params(body, spec.sampling, n_logprobs=n_top),
        n_choices=n,
        max_tokens=chat_limit(body, spec.sampling),
        min_tokens=min_tokens(body, spec.sampling),
        stop=stop_texts(body, spec.sampling),
        ignore_eos=bool(body.get("ignore_eos")),
        prediction=_prediction(body),
    )
    requests = with_terms((request,), body, spec, caller)
    created, tier = now(), service_tier(body)

    def reply(fingerprint: str | None) -> ChatReply:
        return ChatReply(reply_id, created, spec.id, fingerprint, n_top, tier)

    def chunks(fingerprint: str | None, options: StreamOptions) -> ChatChunks:
        return ChatChunks(
            reply(fingerprint),
            include_usage=options.include_usage,
            usage_on_all=options.usage_on_all,
            obfuscate=options.obfuscate,
        )

    return Call(requests, n, n, reply, chunks, stream)


def _top_logprobs(body: Body) -> int | None:
    """How many alternatives to show for each token; None: no log probabilities at all."""
    return int(body.get("top_logprobs", 0)) if body.get("logprobs") else None


def _prediction(body: Body) -> str:
    prediction = body.get("prediction")
    if prediction is None:
        return ""
    content = prediction["content"]
    return content if isinstance(content, str) else _text_of(content)


def _message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message with its content as plain text and its role as chat templates know it."""
    content = message.get("content")
    role = message["role"]
    if isinstance(content, str) and role != "developer":
        return message
    return {
        **message,
        "role": "system" if role == "developer" else role,
        "content": content if isinstance(content, str) else _text_of(content),
    }


def _text_of(parts: list[Mapping[str, Any]] | None) -> str:
    if parts is None:
        return ""
    return "".join(part["text"] for part in parts)
