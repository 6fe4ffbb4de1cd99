"""Writes chat replies, whole and in chunks, key for key as OpenAI does.

Everything that is the same in all chunks of a call is put together once, so that a streamed token costs
little more than the escaping of its text. Pure; any thread.
"""

import random
import string
from dataclasses import dataclass
from typing import Any

import orjson

from llmatic.api.chat_calls import call_deltas, whole_calls
from llmatic.api.chat_tools import PLAIN, CallStyle
from llmatic.api.logprobs import chat_logprobs
from llmatic.api.sse import DataChunks
from llmatic.core.types import Delta, Usage
from llmatic.services.choices import Choice

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What all parts of one reply share.

    `n_top` None: no log probabilities wanted; `tier` was served; `calls`: how calls are written.
    """

    id: str
    created: int
    model: str
    fingerprint: str | None
    n_top: int | None = None
    tier: str = "default"
    calls: CallStyle = PLAIN

    def whole(self, choices: list[Choice], usage: Usage) -> bytes:
        """The body of a reply that is not streamed."""
        return orjson.dumps(
            {
                "id": self.id,
                "object": "chat.completion",
                "created": self.created,
                "model": self.model,
                "choices": [self._choice(choice) for choice in choices],
                "usage": usage_object(usage),
                "service_tier": self.tier,
                "system_fingerprint": self.fingerprint,
            }
        )

    def _choice(self, choice: Choice) -> dict[str, Any]:
        calls = list(choice.calls.values())
        message = {
            "role": "assistant",
            "content": None if calls and not choice.text else choice.text,
            "refusal": None,
            "annotations": [],
            **whole_calls(calls, self.calls),
        }
        if reasoning := choice.reasoning:
            message |= {"reasoning_content": reasoning, "reasoning": reasoning}
        rendered: dict[str, Any] = {
            "index": choice.index,
            "message": message,
            "finish_reason": self.calls.finish_reason(choice.finish_reason),
        }
        if self.n_top is not None:
            rendered["logprobs"] = chat_logprobs(choice.logprobs, self.n_top)
        return rendered


class ChatChunks(DataChunks):
    """The server-sent events of one streamed reply.

    `usage_on_all`: every chunk carries the usage so far (`continuous_usage_stats`); otherwise it is null
    in all but the last where `include_usage` is set. `obfuscate`: every chunk carries a random padding,
    which hides the lengths of tokens from who watches the encrypted line.
    """

    def __init__(
        self,
        reply: ChatReply,
        *,
        include_usage: bool = False,
        usage_on_all: bool = False,
        obfuscate: bool = False,
    ) -> None:
        head = orjson.dumps(
            {
                "id": reply.id,
                "object": "chat.completion.chunk",
                "created": reply.created,
                "model": reply.model,
                "service_tier": reply.tier,
                "system_fingerprint": reply.fingerprint,
            }
        )
        self._head = b"data: " + head[:-1] + b',"choices":['
        self._n_top = reply.n_top
        self._calls = reply.calls
        self._null = b',"logprobs":null' if reply.n_top is not None else b""
        self._include_usage = include_usage
        self.usage_on_all = usage_on_all
        self._obfuscate = obfuscate
        self._is_plain = not (usage_on_all or obfuscate)
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._heads = [self._content_head(index) for index in range(8)]

    def opening(self, n_choices: int, usage: Usage) -> bytes:
        """The first chunk of every choice, in index order, with the role and no text."""
        content = b"null" if self._calls.is_certain else b'""'
        start = b'{"role":"assistant","content":%b,"refusal":null}' % content
        return b"".join(self._chunk(index, start, usage) for index in range(n_choices))

    def delta(self, index: int, delta: Delta, usage: Usage) -> bytes:
        """The chunks of one delta: its thoughts, text and calls, and one of its own for the finish reason."""
        text, reason = delta.text, delta.finish_reason
        logprobs = b""
        frame = self._thoughts(index, delta.reasoning, usage) if delta.reasoning else b""
        if text or delta.logprobs:
            if self._n_top is not None:
                logprobs = b',"logprobs":' + orjson.dumps(chat_logprobs(delta.logprobs, self._n_top))
            head = self._heads[index] if index < 8 else self._content_head(index)
            frame = b'%b%b%b}%b,"finish_reason":null}%b' % (
                frame,
                head,
                orjson.dumps(text),
                logprobs,
                self._tail if self._is_plain else self._end(usage),
            )
        if delta.calls:
            deltas = call_deltas(delta.calls, self._calls)
            frame += b"".join(self._chunk(index, piece, usage) for piece in deltas)
        if reason is None:
            return frame
        return frame + self._chunk(index, b"{}", usage, self._calls.finish_reason(reason))

    def closing(self, usage: Usage) -> bytes:
        """The usage chunk, if asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        return b"%b%b%b" % (self._head, self._end(usage, always=True), DONE)

    def _thoughts(self, index: int, thoughts: str, usage: Usage) -> bytes:
        text = orjson.dumps(thoughts)
        return self._chunk(index, b'{"reasoning_content":%b,"reasoning":%b}' % (text, text), usage)

    def _chunk(self, index: int, delta: bytes, usage: Usage, reason: str | None = None) -> bytes:
        """A chunk with this `delta` object."""
        return b'%b{"index":%d,"delta":%b%b,"finish_reason":%b}%b' % (
            self._head,
            index,
            delta,
            self._null,
            orjson.dumps(reason),
            self._end(usage),
        )

    def _content_head(self, index: int) -> bytes:
        return b'%b{"index":%d,"delta":{"content":' % (self._head, index)

    def _end(self, usage: Usage, *, always: bool = False) -> bytes:
        if self._is_plain and not always:
            return self._tail
        parts = [b"]"]
        if always or self.usage_on_all:
            parts.append(b',"usage":' + orjson.dumps(usage_object(usage)))
        elif self._include_usage:
            parts.append(b',"usage":null')
        if self._obfuscate:
            parts.append(padding())
        parts.append(b"}\n\n")
        return b"".join(parts)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Token counts with the details that chat replies carry."""
    prompt = {"cached_tokens": usage.n_cached_tokens, "audio_tokens": usage.n_audio_tokens}
    if usage.n_image_tokens:
        prompt["image_tokens"] = usage.n_image_tokens
    return {
        "prompt_tokens": usage.n_prompt_tokens,
        "completion_tokens": usage.n_completion_tokens,
        "total_tokens": usage.n_prompt_tokens + usage.n_completion_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.n_reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": usage.n_accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.n_rejected_prediction_tokens,
        },
    }


def padding() -> bytes:
    """A key `obfuscation` with 1 to 16 random letters, to be put before a chunk's last brace."""
    letters = "".join(random.choices(string.ascii_letters, k=random.randint(1, 16)))
    return b',"obfuscation":"%b"' % letters.encode("ascii")
