"""Writes chat replies, whole and in chunks, key for key as OpenAI does.

Everything that is the same in all chunks of a call is put together once, so that a streamed token costs
little more than the escaping of its text. Pure; any thread.
"""

import random
import string
from dataclasses import dataclass
from typing import Any

import orjson

from llmatic.api.logprobs import chat_logprobs
from llmatic.core.types import Delta, Usage
from llmatic.services.choices import Choice

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What all parts of one reply share. `n_top` None: no log probabilities wanted; `tier` was served."""

    id: str
    created: int
    model: str
    fingerprint: str | None
    n_top: int | None = None
    tier: str = "default"

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
        rendered: dict[str, Any] = {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []},
            "finish_reason": choice.finish_reason,
        }
        if self.n_top is not None:
            rendered["logprobs"] = chat_logprobs(choice.logprobs, self.n_top)
        return rendered


class ChatChunks:
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
        self._include_usage = include_usage
        self.usage_on_all = usage_on_all
        self._obfuscate = obfuscate
        self._is_plain = not (usage_on_all or obfuscate)
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._heads = [self._content_head(index) for index in range(8)]

    def opening(self, n_choices: int, usage: Usage) -> bytes:
        """The first chunk of every choice, in index order, with the role and no text."""
        null = b',"logprobs":null' if self._n_top is not None else b""
        return b"".join(
            b"%b%b%b"
            % (
                self._head,
                b'{"index":%d,"delta":{"role":"assistant","content":"","refusal":null}%b,"finish_reason":null}'
                % (index, null),
                self._end(usage),
            )
            for index in range(n_choices)
        )

    def delta(self, index: int, delta: Delta, usage: Usage) -> bytes:
        """The chunks of one delta: its text, if any, and a chunk of its own for the finish reason."""
        text, reason = delta.text, delta.finish_reason
        logprobs = b""
        frame = b""
        if text or delta.logprobs:
            if self._n_top is not None:
                logprobs = b',"logprobs":' + orjson.dumps(chat_logprobs(delta.logprobs, self._n_top))
            head = self._heads[index] if index < 8 else self._content_head(index)
            frame = b'%b%b}%b,"finish_reason":null}%b' % (
                head,
                orjson.dumps(text),
                logprobs,
                self._tail if self._is_plain else self._end(usage),
            )
        if reason is None:
            return frame
        null = b',"logprobs":null' if self._n_top is not None else b""
        return b'%b%b{"index":%d,"delta":{}%b,"finish_reason":"%b"}%b' % (
            frame,
            self._head,
            index,
            null,
            reason.encode("ascii"),
            self._end(usage),
        )

    def closing(self, usage: Usage) -> bytes:
        """The usage chunk, if asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        return b"%b%b%b" % (self._head, self._end(usage, always=True), DONE)

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
    return {
        "prompt_tokens": usage.n_prompt_tokens,
        "completion_tokens": usage.n_completion_tokens,
        "total_tokens": usage.n_prompt_tokens + usage.n_completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.n_cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": usage.n_accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.n_rejected_prediction_tokens,
        },
    }


def padding() -> bytes:
    """A key `obfuscation` with 1 to 16 random letters, to be put before a chunk's last brace."""
    letters = "".join(random.choices(string.ascii_letters, k=random.randint(1, 16)))
    return b',"obfuscation":"%b"' % letters.encode("ascii")
