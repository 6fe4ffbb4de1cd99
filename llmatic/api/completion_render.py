"""Writes replies of /completions, whole and in chunks, key for key as OpenAI does.

What all chunks share is put together once per call. Pure; any thread.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from llmatic.api.chat_render import DONE, padding
from llmatic.api.logprobs import OffsetCounter, completion_logprobs
from llmatic.api.sse import DataChunks
from llmatic.core.types import Delta, Usage
from llmatic.services.choices import Choice


@dataclass(frozen=True, slots=True)
class CompletionReply:
    """What all parts of one reply share.

    `offsets[p]` is where the text of prompt p's choices begins, in characters. `prefixes[p]`, where not
    empty, is put before each choice's text: an echo that the engine does not write itself. `tier` None: the
    request named none, and OpenAI's reply has no such key.
    """

    id: str
    created: int
    model: str
    fingerprint: str | None
    with_logprobs: bool
    n_choices: int
    offsets: tuple[int, ...]
    prefixes: tuple[str, ...]
    tier: str | None = None

    def whole(self, choices: list[Choice], usage: Usage) -> bytes:
        """The body of a reply that is not streamed."""
        return orjson.dumps(
            {
                "id": self.id,
                "object": "text_completion",
                "created": self.created,
                "model": self.model,
                "choices": [self._choice(choice) for choice in choices],
                "usage": usage_object(usage),
                **_tier(self),
                "system_fingerprint": self.fingerprint,
            }
        )

    def _choice(self, choice: Choice) -> dict[str, Any]:
        prompt = choice.index // self.n_choices
        logprobs = None
        if self.with_logprobs:
            logprobs = completion_logprobs(choice.logprobs, OffsetCounter(self.offsets[prompt]))
        return {
            "text": self.prefixes[prompt] + choice.text,
            "index": choice.index,
            "logprobs": logprobs,
            "finish_reason": choice.finish_reason,
        }


class CompletionChunks(DataChunks):
    """The server-sent events of one streamed reply; options as in `ChatChunks`."""

    def __init__(
        self,
        reply: CompletionReply,
        *,
        include_usage: bool = False,
        usage_on_all: bool = False,
        obfuscate: bool = False,
    ) -> None:
        head = orjson.dumps({"id": reply.id, "object": "text_completion", "created": reply.created})
        tail = orjson.dumps({"model": reply.model, **_tier(reply), "system_fingerprint": reply.fingerprint})
        self._reply = reply
        self._head = b"data: " + head[:-1]
        self._text_head = self._head + b',"choices":[{"text":'
        self._model = b"," + tail[1:-1]
        self._include_usage = include_usage
        self.usage_on_all = usage_on_all
        self._obfuscate = obfuscate
        self._is_plain = not (usage_on_all or obfuscate)
        self._tail = self._model + (b',"usage":null}\n\n' if include_usage else b"}\n\n")
        self._offsets: dict[int, OffsetCounter] = {}

    def opening(self, n_choices: int, usage: Usage) -> bytes:
        """Nothing, unless an echo that the engine does not write comes first."""
        if not any(self._reply.prefixes):
            return b""
        frames = []
        for index in range(n_choices):
            prefix = self._reply.prefixes[index // self._reply.n_choices]
            frames.append(
                b'%b%b,"index":%d,"logprobs":null,"finish_reason":null}]%b'
                % (self._text_head, orjson.dumps(prefix), index, self._end(usage))
            )
        return b"".join(frames)

    def delta(self, index: int, delta: Delta, usage: Usage) -> bytes:
        """The chunk of one delta; the finish reason rides on the last text."""
        reason = delta.finish_reason
        if not delta.text and not delta.logprobs and reason is None:
            return b""
        logprobs = b"null"
        if self._reply.with_logprobs and delta.logprobs:
            logprobs = orjson.dumps(completion_logprobs(delta.logprobs, self._counter(index)))
        return b'%b%b,"index":%d,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._text_head,
            orjson.dumps(delta.text),
            index,
            logprobs,
            b"null" if reason is None else b'"%b"' % reason.encode("ascii"),
            self._tail if self._is_plain else self._end(usage),
        )

    def closing(self, usage: Usage) -> bytes:
        """The usage chunk, if asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        rendered = orjson.dumps(usage_object(usage))
        pad = padding() if self._obfuscate else b""
        return b'%b%b,"usage":%b,"choices":[]%b}\n\n%b' % (self._head, self._model, rendered, pad, DONE)

    def _counter(self, index: int) -> OffsetCounter:
        counter = self._offsets.get(index)
        if counter is None:
            counter = OffsetCounter(self._reply.offsets[index // self._reply.n_choices])
            self._offsets[index] = counter
        return counter

    def _end(self, usage: Usage) -> bytes:
        if self._is_plain:
            return self._tail
        parts = [self._model]
        if self.usage_on_all:
            parts.append(b',"usage":' + orjson.dumps(usage_object(usage)))
        elif self._include_usage:
            parts.append(b',"usage":null')
        if self._obfuscate:
            parts.append(padding())
        parts.append(b"}\n\n")
        return b"".join(parts)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Token counts, with the only one of the details that can be other than 0 here."""
    return {
        "prompt_tokens": usage.n_prompt_tokens,
        "completion_tokens": usage.n_completion_tokens,
        "total_tokens": usage.n_prompt_tokens + usage.n_completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.n_cached_tokens},
    }


def _tier(reply: CompletionReply) -> dict[str, str]:
    return {} if reply.tier is None else {"service_tier": reply.tier}
