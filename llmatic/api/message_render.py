"""Writes messages, whole and as events, key for key as Anthropic does.

Owns the order of content blocks: they stand in the order in which their parts came, streamed or not. Pure but
for the system's random numbers; any thread.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from llmatic.api.ids import tool_use_id
from llmatic.api.message_errors import AnthropicFamily
from llmatic.core.errors import LlmaticError
from llmatic.core.types import CallDelta, Delta, FinishReason, Usage
from llmatic.services.choices import Choice, ChoiceCall

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class MessageReply:
    """What all parts of one message share.

    `max_tokens` and `stops` are the client's own; what else ends an answer is an end of turn to it.
    `omits_thinking`: thoughts are told of, not shown. `speed` None: none was asked for.
    """

    id: str
    model: str
    max_tokens: int
    stops: frozenset[str] = frozenset()
    omits_thinking: bool = False
    speed: str | None = None

    def whole(self, choices: list[Choice], usage: Usage) -> bytes:
        """The body of a reply that is not streamed."""
        (choice,) = choices
        ending = self.ending(choice.finish_reason, choice.stop, usage.n_completion_tokens)
        return orjson.dumps(self.message([*self._blocks(choice)], ending, usage))

    def message(self, content: list[Any], ending: dict[str, Any], usage: Usage) -> dict[str, Any]:
        """The message object."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            **ending,
            "usage": self.usage(usage),
        }

    def ending(self, reason: FinishReason | None, stop: str, n_tokens: int) -> dict[str, Any]:
        """Why it has ended, after so many tokens; all null while it has not."""
        is_own_stop = reason == "stop" and stop in self.stops
        return {
            "stop_reason": "stop_sequence" if is_own_stop else self._stop_reason(reason, n_tokens),
            "stop_sequence": stop if is_own_stop else None,
            "stop_details": None,
        }

    def usage(self, usage: Usage) -> dict[str, Any]:
        """Token counts; those of the input are told apart by whether they had to be computed."""
        counts = usage_counts(usage) | {"service_tier": "standard"}
        return counts if self.speed is None else counts | {"speed": self.speed}

    def _stop_reason(self, reason: FinishReason | None, n_tokens: int) -> str | None:
        match reason:
            case None:
                return None
            case "tool_calls":
                return "tool_use"
            case "length":
                return "max_tokens" if n_tokens >= self.max_tokens else "model_context_window_exceeded"
            case _:
                return "end_turn"

    def _blocks(self, choice: Choice) -> Iterator[dict[str, Any]]:
        order = choice.order
        for k, (part, begin) in enumerate(order):
            if part == "call":
                yield _tool_use(choice.calls[begin])
                continue
            end = next((at for kind, at in order[k + 1 :] if kind == part), None)
            if part == "text":
                yield {"type": "text", "text": "".join(choice.texts[begin:end])}
            else:
                thoughts = "".join(choice.thoughts[begin:end])
                yield {
                    "type": "thinking",
                    "thinking": "" if self.omits_thinking else thoughts,
                    "signature": signature(hashlib.sha256(thoughts.encode()).digest()),
                }


class MessageChunks:
    """The server-sent events of one streamed message."""

    usage_on_all: bool = False
    keep_alive: bytes = PING

    def __init__(self, reply: MessageReply) -> None:
        self._reply = reply
        self._index = -1  # of the last block that was begun
        self._open = ""  # its type while it is open
        self._head = b""  # what comes before the text of its deltas
        self._digest = hashlib.sha256()
        self._n_tokens = 0
        self._reason: FinishReason | None = None
        self._stop = ""

    def opening(self, _n_choices: int, usage: Usage) -> bytes:
        """The message without content."""
        ending = self._reply.ending(None, "", 0)
        message = self._reply.message([], ending, usage)
        return _event(b"message_start", orjson.dumps({"type": "message_start", "message": message}))

    def delta(self, _index: int, delta: Delta, _usage: Usage) -> bytes:
        """More of the message; each kind of content begins a block of its own."""
        self._n_tokens += delta.n_tokens
        if delta.finish_reason is not None:
            self._reason, self._stop = delta.finish_reason, delta.stop
        if not (delta.reasoning or delta.calls):
            return self._text(delta.text) if delta.text else b""
        frames = []
        if delta.reasoning:
            frames.append(self._thoughts(delta.reasoning))
        if delta.text:
            frames.append(self._text(delta.text))
        frames += [self._call(call) for call in delta.calls]
        return b"".join(frames)

    def closing(self, usage: Usage) -> bytes:
        """The end of the last block and of the message, with what it cost."""
        end = {
            "type": "message_delta",
            "delta": self._reply.ending(self._reason, self._stop, self._n_tokens),
            "usage": usage_counts(usage),
        }
        stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        return self._close() + _event(b"message_delta", orjson.dumps(end)) + stop

    def failure(self, error: LlmaticError) -> bytes:
        """An event of its own kind; no `message_stop` follows."""
        return _event(b"error", orjson.dumps(AnthropicFamily().error_object(error)))

    def _text(self, text: str) -> bytes:
        begin = self._begin("text", {"type": "text", "text": ""}) if self._open != "text" else b""
        return b"%b%b%b}}\n\n" % (begin, self._head, orjson.dumps(text))

    def _thoughts(self, thoughts: str) -> bytes:
        begin = b""
        if self._open != "thinking":
            begin = self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self._digest = hashlib.sha256()
        self._digest.update(thoughts.encode())
        if self._reply.omits_thinking:
            return begin
        return b"%b%b%b}}\n\n" % (begin, self._head, orjson.dumps(thoughts))

    def _call(self, call: CallDelta) -> bytes:
        frame = b""
        if call.name:
            block = {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": {}}
            frame = self._begin("tool_use", block)
        if call.arguments:
            frame += b"%b%b}}\n\n" % (self._head, orjson.dumps(call.arguments))
        return frame

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        close = self._close()
        self._index += 1
        self._open = kind
        delta, field = {
            "text": (b"text_delta", b"text"),
            "thinking": (b"thinking_delta", b"thinking"),
            "tool_use": (b"input_json_delta", b"partial_json"),
        }[kind]
        self._head = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b","%b":' % (self._index, delta, field)
        )
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return close + _event(b"content_block_start", orjson.dumps(start))

    def _close(self) -> bytes:
        """The end of the open block, if there is one; thoughts are signed there."""
        if not self._open:
            return b""
        signed = b""
        if self._open == "thinking":
            delta = {"type": "signature_delta", "signature": signature(self._digest.digest())}
            event = {"type": "content_block_delta", "index": self._index, "delta": delta}
            signed = _event(b"content_block_delta", orjson.dumps(event))
        self._open = ""
        stop = b'{"type":"content_block_stop","index":%d}' % self._index
        return signed + _event(b"content_block_stop", stop)


def usage_counts(usage: Usage) -> dict[str, Any]:
    """What a message has cost in all."""
    return {
        "input_tokens": usage.n_prompt_tokens - usage.n_cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.n_cached_tokens,
        "output_tokens": usage.n_completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.n_reasoning_tokens},
    }


def signature(digest: bytes) -> str:
    """What stands for the proof that thoughts are the model's own; nobody checks it here."""
    return base64.b64encode(digest).decode("ascii")


def _tool_use(call: ChoiceCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": _input(call.arguments)}


def _input(arguments: str) -> dict[str, Any]:
    """The arguments; nothing of those that were cut off before their end."""
    try:
        read = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return read if isinstance(read, dict) else {}


def _id(own: str) -> str:
    """The model's own id where Anthropic's clients can take it."""
    return own if _ID.fullmatch(own) else tool_use_id()


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, data)
