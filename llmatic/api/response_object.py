"""The response object, key for key as OpenAI writes it, and its events as bytes.

Owns what the object says of the request, how a response ends, and the numbers of a stream's events. Pure; any
thread.
"""

import random
import string
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from llmatic.core.errors import InvalidRequest, LlmaticError, RateLimited
from llmatic.core.types import FinishReason, GenerationRequest, Usage
from llmatic.services.terms import service_tier

Body = Mapping[str, Any]
Event = dict[str, Any]

_ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "user",
)
_FAILED: Mapping[type[LlmaticError], str] = {
    InvalidRequest: "invalid_prompt",
    RateLimited: "rate_limit_exceeded",
}


def begun(body: Body, request: GenerationRequest, *, response_id: str, created: int, model: str) -> Event:
    """The object as it is before there is any output."""
    sampling = request.sampling
    text, reasoning = body.get("text") or {}, body.get("reasoning") or {}
    conversation = body.get("conversation")
    if isinstance(conversation, str):
        conversation = {"id": conversation}
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": bool(body.get("background")),
        "completed_at": None,
        "conversation": conversation,
        "error": None,
        "incomplete_details": None,
        **{name: body.get(name) for name in _ECHOED},
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": bool(body.get("parallel_tool_calls", True)),
        "reasoning": {
            "effort": reasoning.get("effort"),
            "summary": reasoning.get("summary") or reasoning.get("generate_summary"),
        },
        "service_tier": service_tier(body),
        "store": bool(body.get("store", True)),
        "temperature": sampling.temperature,
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity") or "medium",
        },
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_tool(tool) for tool in body.get("tools") or ()],
        "top_logprobs": int(body.get("top_logprobs") or 0),
        "top_p": sampling.top_p,
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
    }


def ended(
    head: Event, output: list[dict[str, Any]], reason: FinishReason | None, usage: Usage, now: int
) -> Event:
    """The object of a response that the engine finished."""
    is_cut = reason == "length"
    return head | {
        "status": "incomplete" if is_cut else "completed",
        "completed_at": None if is_cut else now,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": output,
        "usage": usage_object(usage),
    }


def failed(head: Event, output: list[dict[str, Any]], error: LlmaticError) -> Event:
    """The object of a response that went wrong."""
    code = next((code for kind, code in _FAILED.items() if isinstance(error, kind)), "server_error")
    return head | {"status": "failed", "output": output, "error": {"code": code, "message": error.message}}


def usage_object(usage: Usage) -> dict[str, Any]:
    """Token counts as responses carry them."""
    return {
        "input_tokens": usage.n_prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.n_cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.n_completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.n_reasoning_tokens},
        "total_tokens": usage.n_prompt_tokens + usage.n_completion_tokens,
    }


def terminal(body: Event) -> Event:
    """The event with which the stream of a response ends."""
    status = body["status"] if body["status"] in ("completed", "incomplete") else "failed"
    return {"type": f"response.{status}", "response": body}


class Frames:
    """Numbers events and writes them. `obfuscate`: deltas carry a random padding that hides their lengths."""

    def __init__(self, *, obfuscate: bool = False, first: int = 0) -> None:
        self.n_written = first
        self._obfuscate = obfuscate

    def write(self, events: Iterable[Event]) -> list[bytes]:
        """One frame for each event."""
        frames = []
        for event in events:
            event["sequence_number"] = self.n_written
            self.n_written += 1
            kind = event["type"]
            if self._obfuscate and kind.endswith(".delta"):
                event["obfuscation"] = "".join(random.choices(string.ascii_letters, k=random.randint(1, 16)))
            frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event)))
        return frames


def _tool(tool: Body) -> dict[str, Any]:
    return {
        "type": "function",
        "description": tool.get("description"),
        "name": tool["name"],
        "parameters": tool.get("parameters"),
        "strict": bool(tool.get("strict")),
    }
