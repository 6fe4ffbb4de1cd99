"""POST /responses: what its fields mean.

Owns the translation to the fields of a chat, whose parsing is the one of /chat/completions, and back: what
the engine refuses is named as the client wrote it. What cannot be honoured was already refused by name: the
contract lists it. Pure; any thread.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmatic.api import formats
from llmatic.api.chat_tools import offer
from llmatic.config import ModelSpec
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.core.types import ChatPrompt, GenerationRequest
from llmatic.services.parameters import (
    chat_limit,
    min_tokens,
    reasoning_budget,
    sampling_params,
    stop_texts,
)
from llmatic.services.response_items import Item
from llmatic.services.response_prompt import messages_of
from llmatic.services.terms import Caller, with_terms

Body = Mapping[str, Any]

LOGPROBS: Final = "message.output_text.logprobs"
SEALED: Final = "reasoning.encrypted_content"
TOO_LONG: Final = (
    "Your input exceeds the context window of this model. Please adjust your input and try again."
)
TOO_MUCH: Final = (
    "Your input and 'max_output_tokens' together exceed the context window of this model. Please adjust them "
    "and try again."
)

_TOOL_FIELD = re.compile(r"tools\[(\d+)\]\.function\b")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a response is to be told. `n_top` None: without log probabilities."""

    n_top: int | None
    summarises: bool
    seals: bool
    obfuscates: bool


def items_of(body: Body, field: str = "input") -> list[Item]:
    """The items of a field, as the client sent them, each with its type."""
    given = body.get(field) or ()
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [item if item.get("type") else {**item, "type": _implied_type(item)} for item in given]


def check_combination(body: Body) -> None:
    """Fields that exclude each other. Raises InvalidRequest."""
    if "previous_response_id" in body and "conversation" in body:
        raise InvalidRequest(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )
    if body.get("background") and body.get("store") is False:
        raise InvalidRequest(
            "Invalid value for 'background': a background response needs 'store' to be true.",
            param="background",
            code="invalid_value",
        )


def wanted(body: Body) -> Wanted:
    """How the response is to be told."""
    include = body.get("include") or ()
    reasoning = body.get("reasoning") or {}
    n_top = int(body.get("top_logprobs") or 0)
    return Wanted(
        n_top=n_top if n_top or LOGPROBS in include else None,
        summarises=bool(reasoning.get("summary") or reasoning.get("generate_summary")),
        seals=SEALED in include,
        obfuscates=bool((body.get("stream_options") or {}).get("include_obfuscation")),
    )


def generation_request(
    body: Body, items: Sequence[Item], spec: ModelSpec, request_id: str, caller: Caller
) -> GenerationRequest:
    """The request that the engine gets for these items. Raises InvalidRequest."""
    messages = messages_of(items, body.get("instructions"))
    if not messages:
        raise InvalidRequest(
            "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
        )
    reasoning = body.get("reasoning") or {}
    chat = _as_chat(body)
    try:
        use = offer(chat).use
    except InvalidRequest as error:
        raise reworded(error, body) from None
    request = GenerationRequest(
        id=request_id,
        prompt=ChatPrompt(
            messages,
            body.get("chat_template_kwargs", {}),
            tools=use,
            reasoning_effort=reasoning.get("effort"),
        ),
        sampling=sampling_params(body, spec.sampling, n_logprobs=wanted(body).n_top),
        max_tokens=chat_limit(chat, spec.sampling),
        min_tokens=min_tokens({}, spec.sampling),
        stop=stop_texts({}, spec.sampling),
        constraint=formats.constraint(chat, param="text.format"),
        reasoning_budget=reasoning_budget(body),
    )
    return with_terms((request,), body, caller)[0]


def reworded(error: InvalidRequest, body: Body) -> InvalidRequest:
    """A refusal in the words of this operation, naming the field that the client sent."""
    if isinstance(error, ContextLengthExceeded):
        return ContextLengthExceeded(TOO_MUCH if "max_output_tokens" in body else TOO_LONG, param="input")
    message, param = error.message, error.param or ""
    if param.startswith("messages"):
        return InvalidRequest(message, param="input", code=error.code)
    if param.startswith("reasoning_effort"):
        message = message.replace("'reasoning_effort'", "'reasoning.effort'")
        return InvalidRequest(message, param="reasoning.effort", code=error.code)
    if _TOOL_FIELD.match(param):
        message, param = _TOOL_FIELD.sub(r"tools[\1]", message), _TOOL_FIELD.sub(r"tools[\1]", param)
        return InvalidRequest(message, param=param, code=error.code)
    return error


def _as_chat(body: Body) -> dict[str, Any]:
    """The fields that a chat has too, under its names."""
    chat: dict[str, Any] = {}
    if "max_output_tokens" in body:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    choice = body.get("tool_choice")
    if body.get("tools"):
        chat["tools"] = [{"type": "function", "function": _function(tool)} for tool in body["tools"]]
        if choice is not None:
            chat["tool_choice"] = choice if isinstance(choice, str) else _choice(choice)
        if "parallel_tool_calls" in body:
            chat["parallel_tool_calls"] = body["parallel_tool_calls"]
    elif choice not in (None, "auto", "none"):
        raise InvalidRequest(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice",
        )
    form = (body.get("text") or {}).get("format") or {"type": "text"}
    if form["type"] == "json_schema":
        named = {name: value for name, value in form.items() if name != "type"}
        chat["response_format"] = {"type": "json_schema", "json_schema": named}
    else:
        chat["response_format"] = form
    return chat


def _function(tool: Body) -> dict[str, Any]:
    return {name: tool[name] for name in ("name", "description", "parameters", "strict") if name in tool}


def _choice(choice: Body) -> dict[str, Any]:
    if choice["type"] == "function":
        return {"type": "function", "function": {"name": choice["name"]}}
    tools = [{"type": "function", "function": {"name": tool["name"]}} for tool in choice["tools"]]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice["mode"], "tools": tools}}


def _implied_type(item: Item) -> str:
    return "message" if "role" in item else "item_reference"
