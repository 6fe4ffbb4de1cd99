"""Items of a response's context as the messages of a chat, and what may be left out of them.

Owns the translation: thoughts, texts and calls that follow each other are one message of the assistant, and
the results of calls come right behind it. Takes items in the form in which they are kept. Pure; any thread.
"""

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, overload

from llmatic.core.errors import InvalidRequest
from llmatic.services.response_items import Item, has_pictures, text_of, thoughts

Message = Mapping[str, Any]

_SYSTEM = ("system", "developer")
_FRAME = 20  # characters that stand around an item


def messages_of(items: Sequence[Item], instructions: str | None) -> tuple[Message, ...]:
    """The messages. Raises InvalidRequest for calls without results and results without calls."""
    writer = _Writer({call: items[result] for call, result in _pairs(items).items()})
    for index, item in enumerate(items):
        writer.add(index, item)
    messages = writer.finished()
    return tuple(_instructed(messages, instructions) if instructions else messages)


class Shortenings(Sequence[tuple[Item, ...]]):
    """The items with more and more of the oldest left out, the most complete first; made when asked for.

    All of them are not among these. Kept are those of the system and the developer and the last of the user.
    What is left begins with a message of the user, and no call is told without its result. Empty: nothing can
    be left out.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        free = _free(_pairs(items), len(items))
        users = [index for index, item in enumerate(items) if _role(item) == "user"]
        last = users[-1] if users else -1
        pinned = {index for index, item in enumerate(items) if _role(item) in _SYSTEM}
        cuts = [index for index in users[1:] if free[index]]
        cuts += [index for index in range(last + 2, len(items)) if free[index] and _begins_step(items, index)]
        self._items = items
        self._early = sorted(pinned | ({last} if users else set()))
        self._cuts = [cut for cut in cuts if bisect_left(self._early, cut) < cut]

    def __len__(self) -> int:
        return len(self._cuts)

    @overload
    def __getitem__(self, at: int) -> tuple[Item, ...]: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[tuple[Item, ...]]: ...

    def __getitem__(self, at: int | slice) -> tuple[Item, ...] | Sequence[tuple[Item, ...]]:
        if isinstance(at, slice):
            return [self._cut(cut) for cut in self._cuts[at]]
        return self._cut(self._cuts[at])

    def sizes(self) -> list[int]:
        """About how many characters each has, without pictures."""
        sums = [0, *accumulate(map(_size, self._items))]
        early = [0, *accumulate(_size(self._items[index]) for index in self._early)]
        return [sums[-1] - sums[cut] + early[bisect_left(self._early, cut)] for cut in self._cuts]

    def _cut(self, cut: int) -> tuple[Item, ...]:
        early = self._early[: bisect_left(self._early, cut)]
        return (*(self._items[index] for index in early), *self._items[cut:])


@dataclass(slots=True)
class _Writer:
    """Messages in the making. `results`: index of a call → the item with its result."""

    results: Mapping[int, Item]
    messages: list[Message] = field(default_factory=list)
    assistant: dict[str, Any] | None = None
    waiting: list[Message] = field(default_factory=list)

    def add(self, index: int, item: Item) -> None:
        kind = item["type"]
        if kind == "reasoning":
            if self.assistant is not None and (self.assistant["content"] or "tool_calls" in self.assistant):
                self._close()
            thought = self._open().get("reasoning_content", "")
            if text := thoughts(item):
                self._open()["reasoning_content"] = f"{thought}\n\n{text}" if thought else text
        elif kind == "function_call":
            self._call(index, item)
        elif kind == "message" and item["role"] == "assistant":
            if self.assistant is not None and (self.assistant["content"] or "tool_calls" in self.assistant):
                self._close()
            self._open()["content"] = text_of(item["content"])
        elif kind == "message":
            self._close()
            self.messages.append({"role": item["role"], "content": _content(item["content"])})

    def finished(self) -> list[Message]:
        self._close()
        return self.messages

    def _call(self, index: int, item: Item) -> None:
        result = self.results.get(index)
        if result is None:
            if item.get("status") == "incomplete":
                return  # it was cut off and never made
            raise InvalidRequest(
                f"No tool output found for function call {item['call_id'][:100]}.", param="input"
            )
        function = {"name": item["name"], "arguments": item["arguments"]}
        call_id = f"call_{index}" if not item["call_id"] else item["call_id"]
        calls = self._open().setdefault("tool_calls", [])
        if any(call["id"] == call_id for call in calls):
            call_id = f"{call_id}_{index}"
        calls.append({"id": call_id, "type": "function", "function": function})
        text = text_of(result["output"])
        self.waiting.append({"role": "tool", "tool_call_id": call_id, "content": text})

    def _open(self) -> dict[str, Any]:
        if self.assistant is None:
            self.assistant = {"role": "assistant", "content": ""}
        return self.assistant

    def _close(self) -> None:
        message, self.assistant = self.assistant, None
        if message is None:
            return
        if "tool_calls" in message and not message["content"]:
            message["content"] = None
        if message["content"] or "tool_calls" in message or "reasoning_content" in message:
            self.messages.append(message)
        self.messages += self.waiting
        self.waiting = []


def _pairs(items: Sequence[Item]) -> dict[int, int]:
    """Index of every call with a result → index of that. Raises InvalidRequest for a result of no call."""
    open_calls: dict[str, deque[int]] = defaultdict(deque)
    found: dict[int, int] = {}
    for index, item in enumerate(items):
        if item["type"] == "function_call":
            open_calls[item["call_id"]].append(index)
        elif item["type"] == "function_call_output":
            calls = open_calls[item["call_id"]]
            if not calls:
                raise InvalidRequest(
                    f"No tool call found for function call output with call_id {item['call_id'][:100]}.",
                    param="input",
                )
            found[calls.popleft()] = index
    return found


def _free(pairs: Mapping[int, int], n_items: int) -> list[bool]:
    """Whether a cut before an item leaves calls and their results together, for every item."""
    changes = [0] * (n_items + 1)
    for call, result in pairs.items():
        changes[call + 1] += 1
        changes[result + 1] -= 1
    return [n_open == 0 for n_open in accumulate(changes[:n_items])]


def _begins_step(items: Sequence[Item], index: int) -> bool:
    """The model goes on here after it was told the results of calls."""
    before, here = (items[at]["type"] == "function_call_output" for at in (index - 1, index))
    return before and not here


def _content(content: str | Sequence[Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    if not has_pictures(content):
        return text_of(content)
    assert not isinstance(content, str), "a text holds no pictures"
    parts: list[dict[str, Any]] = []
    for part in content:
        if part["type"] == "input_image":
            image = {"url": part["image_url"], "detail": part["detail"]}
            parts.append({"type": "image_url", "image_url": image})
        else:
            parts.append({"type": "text", "text": text_of([part])})
    return parts


def _instructed(messages: list[Message], instructions: str) -> list[Message]:
    """Instructions come first, in one message with those that the input begins with."""
    if messages and messages[0]["role"] in _SYSTEM:
        first = messages[0]
        return [{**first, "content": f"{instructions}\n\n{first['content']}"}, *messages[1:]]
    return [{"role": "system", "content": instructions}, *messages]


def _size(item: Item) -> int:
    """About how many characters a template writes for it."""
    texts = (item.get("content") or (), item.get("output") or (), item.get("arguments") or "")
    return _FRAME + sum(len(text_of(text)) for text in texts)


def _role(item: Item) -> str | None:
    role: str | None = item.get("role") if item["type"] == "message" else None
    return role
