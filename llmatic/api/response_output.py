"""Builds the output of a response from what the engine says, and tells its events.

Owns the order of OpenAI's events: which items and parts begin and end when, at which index, under which id.
An item is open while more of it may come; there is one at a time. Never numbers events or writes bytes. Pure
but for the ids' random numbers; any thread.
"""

from collections.abc import Iterator
from typing import Any

from llmatic.api.ids import call_id
from llmatic.api.logprobs import chat_logprobs
from llmatic.core.types import CallDelta, Delta, FinishReason
from llmatic.services.response_items import item_id, sealed

Event = dict[str, Any]


class ResponseOutput:
    """The items of one response in the making.

    `n_top` None: no log probabilities. `summarises`: thoughts are told as a summary instead of as they are.
    `seals`: thoughts also come as `encrypted_content`, for clients that keep nothing else of them.
    """

    def __init__(self, *, n_top: int | None = None, summarises: bool = False, seals: bool = False) -> None:
        self.items: list[dict[str, Any]] = []
        self.finish_reason: FinishReason | None = None
        self._n_top = n_top
        self._summarises = summarises
        self._seals = seals
        self._open: str | None = None  # the kind of the last item, while more of it may come
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._call_ids: set[str] = set()

    def add(self, delta: Delta) -> Iterator[Event]:
        """The events of more output, without their numbers."""
        if delta.reasoning:
            yield from self._reasoning(delta.reasoning)
        logprobs = self._tokens(delta)
        if delta.text or logprobs:
            yield from self._text(delta.text, logprobs)
        for call in delta.calls:
            yield from self._call(call)
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason

    def close(self, *, is_whole: bool = True) -> Iterator[Event]:
        """The events with which the last item ends; not `is_whole`: it was cut off."""
        if not self.items and is_whole:
            yield from self._text("", [])
        yield from self._end("completed" if is_whole else "incomplete")

    def _reasoning(self, text: str) -> Iterator[Event]:
        if self._open != "reasoning":
            yield from self._begin({"type": "reasoning", "summary": []})
            yield self._part_event("added", "")
        self._pieces.append(text)
        name = "reasoning_summary_text" if self._summarises else "reasoning_text"
        yield self._event(f"response.{name}.delta") | self._thought_index() | {"delta": text}

    def _text(self, text: str, logprobs: list[dict[str, Any]]) -> Iterator[Event]:
        if self._open != "message":
            item = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
            yield from self._begin(item)
            yield self._part_event("added", "")
        self._pieces.append(text)
        self._logprobs += logprobs
        if text or logprobs:
            more = {"content_index": 0, "delta": text, "logprobs": logprobs}
            yield self._event("response.output_text.delta") | more

    def _call(self, call: CallDelta) -> Iterator[Event]:
        if call.name:
            own_id = call.id if call.id and call.id not in self._call_ids else call_id()
            self._call_ids.add(own_id)
            item = {"type": "function_call", "status": "in_progress", "arguments": ""}
            yield from self._begin(item | {"call_id": own_id, "name": call.name})
        if call.arguments:
            self._pieces.append(call.arguments)
            yield self._event("response.function_call_arguments.delta") | {"delta": call.arguments}

    def _begin(self, item: dict[str, Any]) -> Iterator[Event]:
        yield from self._end("completed")
        self._open = item["type"]
        self.items.append({"id": item_id(item["type"]), **item})
        yield {
            "type": "response.output_item.added",
            "output_index": len(self.items) - 1,
            "item": dict(self.items[-1]),
        }

    def _end(self, status: str) -> Iterator[Event]:
        if self._open is None:
            return
        item, text = self.items[-1], "".join(self._pieces)
        if self._open == "message":
            yield self._event("response.output_text.done") | {
                "content_index": 0,
                "text": text,
                "logprobs": self._logprobs,
            }
            item["content"] = [self._part(text)]
            yield self._part_event("done", text)
            item["status"] = status
        elif self._open == "reasoning":
            name = "reasoning_summary_text" if self._summarises else "reasoning_text"
            yield self._event(f"response.{name}.done") | self._thought_index() | {"text": text}
            item["summary" if self._summarises else "content"] = [self._part(text)]
            yield self._part_event("done", text)
            if self._seals:
                item["encrypted_content"] = sealed(text)
        else:
            item["arguments"] = text
            yield self._event("response.function_call_arguments.done") | {
                "name": item["name"],
                "arguments": text,
            }
            item["status"] = status
        self._open, self._pieces, self._logprobs = None, [], []
        yield {"type": "response.output_item.done", "output_index": len(self.items) - 1, "item": dict(item)}

    def _tokens(self, delta: Delta) -> list[dict[str, Any]]:
        if self._n_top is None or not delta.logprobs:
            return []
        found: list[dict[str, Any]] = chat_logprobs(delta.logprobs, self._n_top)["content"]
        return found

    def _event(self, kind: str) -> Event:
        return {"type": kind, "item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}

    def _part_event(self, what: str, text: str) -> Event:
        if self._open == "reasoning" and self._summarises:
            event = self._event(f"response.reasoning_summary_part.{what}")
        else:
            event = self._event(f"response.content_part.{what}")
        return event | self._thought_index() | {"part": self._part(text)}

    def _thought_index(self) -> dict[str, int]:
        is_summary = self._open == "reasoning" and self._summarises
        return {"summary_index" if is_summary else "content_index": 0}

    def _part(self, text: str) -> dict[str, Any]:
        if self._open == "reasoning":
            return {"type": "summary_text" if self._summarises else "reasoning_text", "text": text}
        return {"type": "output_text", "annotations": [], "logprobs": self._logprobs, "text": text}


def replayed(items: list[dict[str, Any]]) -> Iterator[Event]:
    """The events of an output that is there already: every text in one piece."""
    for index, item in enumerate(items):
        begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
        if item["type"] == "function_call":
            begun["arguments"] = ""
        elif item["type"] == "message":
            begun["content"] = []
        else:
            begun["summary"] = []
            begun.pop("content", None)
            begun.pop("encrypted_content", None)
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "function_call":
            text = item["arguments"]
            yield {"type": "response.function_call_arguments.delta", **place, "delta": text}
            done = {"name": item["name"], "arguments": text}
            yield {"type": "response.function_call_arguments.done", **place, **done}
        for part in item.get("content") or ():
            yield from _replayed_part(part, {**place, "content_index": 0}, "content_part", part["type"])
        for part in item.get("summary") or ():
            where = {**place, "summary_index": 0}
            yield from _replayed_part(part, where, "reasoning_summary_part", "reasoning_summary_text")
        yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _replayed_part(part: dict[str, Any], place: Event, kind: str, text_kind: str) -> Iterator[Event]:
    logprobs = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
    nothing = {**part, "text": ""} | ({"logprobs": []} if logprobs else {})
    yield {"type": f"response.{kind}.added", **place, "part": nothing}
    yield {"type": f"response.{text_kind}.delta", **place, "delta": part["text"], **logprobs}
    yield {"type": f"response.{text_kind}.done", **place, "text": part["text"], **logprobs}
    yield {"type": f"response.{kind}.done", **place, "part": part}
