"""A client's messages and tools, as one chat template wants them.

Owns the translation: deprecated names to today's, arguments to objects where a template needs them, ids and
names of calls, the place of thoughts, one call per message where a template shows no more. Never renders, and
never writes text of its own: see `written.py` for templates that have no place for tools. Pure; any thread.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from typing import Any

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt
from llmatic.engines.chat.traits import Traits

Message = Mapping[str, Any]
_TRANSLATED = ("tool_calls", "function_call", "refusal", "reasoning_content", "reasoning")
_RESULTS = ("tool", "function")
_SHORT_ID = re.compile("[A-Za-z0-9]{9}")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages without deprecated names, and the tools that the model is told of.

    Of an assistant's message `tool_calls` are there only if there are calls, all of them of functions.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()


def arrange(prompt: ChatPrompt, traits: Traits) -> Conversation:
    """The conversation of `prompt`. Raises InvalidRequest naming the field that cannot be translated."""
    tools = [_tool(definition) for definition in prompt.tools.definitions] if prompt.tools else ()
    if all(map(_is_plain, prompt.messages)):
        return Conversation(prompt.messages, tools)
    last = len(prompt.messages) - 1
    if prompt.continues and _calls(prompt.messages[last]):
        raise InvalidRequest(
            "A message with tool calls cannot be continued.", param=f"messages[{last}].tool_calls"
        )
    reader = _Reader(traits)
    messages = [
        message if _is_plain(message) else reader.read(message, index)
        for index, message in enumerate(prompt.messages)
    ]
    if traits.one_call_each or traits.calls_alone:
        messages = _split(messages, traits)
    return Conversation(messages, tools)


def _is_plain(message: Message) -> bool:
    """Whether there is nothing to do: role and text and no more."""
    is_text = len(message) == 2 and isinstance(message.get("content"), str)
    return is_text and message.get("role") not in _RESULTS


class _Reader:
    """Translates the messages of one conversation, in order: results name the calls before them."""

    def __init__(self, traits: Traits) -> None:
        self._traits = traits
        self._calls: dict[str, tuple[str, str]] = {}  # client's id → (the template's id, the function's name)
        self._ids_by_name: dict[str, str] = {}

    def read(self, message: Message, index: int) -> dict[str, Any]:
        role = message.get("role")
        if role == "assistant":
            return self._assistant(message, index)
        if role in _RESULTS:
            return self._result(message)
        content = message.get("content")
        return {**message, "content": _readable(content)}

    def _assistant(self, message: Message, index: int) -> dict[str, Any]:
        traits = self._traits
        read = {key: value for key, value in message.items() if key not in _TRANSLATED}
        content = _readable(message.get("content") or message.get("refusal") or "")
        calls = [
            self._call(call, position, f"messages[{index}].{field}")
            for position, (call, field) in enumerate(_calls(message))
        ]
        thought = message.get("reasoning_content") or message.get("reasoning")
        if not isinstance(thought, str) or not traits.reasoning:
            thought = ""
        if thought and calls and content and traits.reasoning_or_content:
            thought, content = f"{thought}\n\n{_text(content)}", ""
        if calls:
            read["tool_calls"] = calls
        read["content"] = None if calls and not content and traits.null_content else content
        return with_reasoning(read, traits.reasoning, thought) if thought else read

    def _call(self, call: Any, position: int, field: str) -> dict[str, Any]:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f"Missing required parameter: '{field}'.", param=field)
        name = function["name"]
        own_id = str(call.get("id") or f"call_{len(self._calls)}")
        id = self._id(own_id, name, position)
        self._calls[own_id] = (id, name)
        self._ids_by_name[name] = own_id
        arguments = function.get("arguments")
        if self._traits.arguments == "objects":
            arguments = _parse(arguments, f"{field}.arguments")
        elif not isinstance(arguments, str):
            arguments = json.dumps(arguments or {}, ensure_ascii=False)
        elif not arguments.strip():
            arguments = "{}"
        return {
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }

    def _id(self, own_id: str, name: str, position: int) -> str:
        form = self._traits.ids
        if form == "position":
            return f"functions.{name}:{position}"
        if form == "short" and not _SHORT_ID.fullmatch(own_id):
            return blake2s(own_id.encode("utf-8", "replace")).hexdigest()[:9]
        return own_id

    def _result(self, message: Message) -> dict[str, Any]:
        read = dict(message)
        read["role"] = "tool"
        read["content"] = _readable(message.get("content") or "")
        own_id = message.get("tool_call_id")
        if own_id is None and message["role"] == "function":
            own_id = self._ids_by_name.get(str(message.get("name")))
        if own_id is not None:
            unknown = (self._id(str(own_id), str(message.get("name", "")), 0), "")
            read["tool_call_id"], name = self._calls.get(str(own_id), unknown)
            if name and not message.get("name"):
                read["name"] = name
        return read


def with_reasoning(message: Message, key: str, thought: str) -> dict[str, Any]:
    """`message` with the thought where a template whose `Traits.reasoning` is `key` reads it."""
    if key != "content":
        return {**message, key: thought}
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
    return {**message, "content": [{"type": "thinking", "thinking": thought}, *parts]}


def _tool(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition with all that templates look for, and without what only the API knows."""
    given = definition["function"]
    parameters = given.get("parameters")
    function = {
        "name": given["name"],
        "description": given.get("description") or "",
        "parameters": {
            "type": "object",
            "properties": {},
            **(parameters if isinstance(parameters, Mapping) else {}),
        },
    }
    return {"type": "function", "function": function}


def _calls(message: Message) -> list[tuple[Any, str]]:
    """The calls of an assistant's message and where in it their functions stand."""
    calls = message.get("tool_calls")
    if isinstance(calls, list | tuple):
        return [(call, f"tool_calls[{k}].function") for k, call in enumerate(calls)]
    legacy = message.get("function_call")
    return [({"function": legacy}, "function_call")] if legacy else []


def _parse(arguments: Any, field: str) -> Mapping[str, Any]:
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise InvalidRequest(f"Invalid value for '{field}': not valid JSON.", param=field) from None
    arguments = arguments or {}
    if not isinstance(arguments, Mapping):
        raise InvalidRequest(f"Invalid value for '{field}': not a JSON object.", param=field)
    return arguments


def _readable(content: Any) -> Any:
    """Content whose parts templates know: refusals are text to them."""
    if not isinstance(content, list | tuple):
        return "" if content is None else content
    return [
        {"type": "text", "text": part.get("refusal") or ""} if part.get("type") == "refusal" else part
        for part in content
    ]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))


def _split(messages: Sequence[Message], traits: Traits) -> list[Message]:
    """Each call in a message of its own, followed by its results; words before calls too, if need be."""
    split: list[Message] = []
    k = 0
    while k < len(messages):
        message = messages[k]
        k += 1
        calls = message.get("tool_calls") or ()
        if traits.calls_alone and calls and message["content"]:
            split.append({key: value for key, value in message.items() if key != "tool_calls"})
            message = {**_wordless(traits), "tool_calls": calls}
        if len(calls) < 2 or not traits.one_call_each:
            split.append(message)
            continue
        results = []
        while k < len(messages) and messages[k].get("role") == "tool":
            results.append(messages[k])
            k += 1
        for call in calls:
            split.append({**message, "tool_calls": [call]})
            split += [result for result in results if result.get("tool_call_id") == call["id"]]
            message = _wordless(traits)
        known = {call["id"] for call in calls}
        split += [result for result in results if result.get("tool_call_id") not in known]
    return split


def _wordless(traits: Traits) -> dict[str, Any]:
    return {"role": "assistant", "content": None if traits.null_content else ""}
