"""Tools, calls and results written into plain messages, for templates that have no place for them.

Owns the wording with which a model is told of tools, and the text of calls in an assistant's message. Its
markup may become control tokens: it is written after what clients typed has been hidden. Never renders.
Pure; any thread.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmatic.engines.chat.conversation import Conversation, Message
from llmatic.engines.chat.traits import Traits

TOOLS = """\
# Tools

You can call these functions, one JSON object per line:

{functions}

To call functions, end your answer with one block of this form for each call:

{example}
"""
EXAMPLE = """\
<tool_call>
{"name": "function_name", "arguments": {"parameter": "value"}}
</tool_call>"""


def write_out(conversation: Conversation, traits: Traits) -> Conversation:
    """The conversation with nothing in it that the template would not show."""
    messages, tools = conversation.messages, conversation.tools
    if traits.calls != "template" and not all(map(_is_spoken, messages)):
        messages = _written(messages, traits)
    if tools and not traits.presents_tools:
        functions = "\n".join(_json(tool["function"]) for tool in tools)
        text = TOOLS.replace("{example}", traits.call_example or EXAMPLE).replace("{functions}", functions)
        messages, tools = _told(messages, text.rstrip(), traits), ()
    return Conversation(messages, tools)


def _is_spoken(message: Message) -> bool:
    return message.get("role") != "tool" and "tool_calls" not in message


def _written(messages: Sequence[Message], traits: Traits) -> list[Message]:
    write = _WRITERS[traits.calls]
    written: list[Message] = []
    results: list[str] = []
    for message in messages:
        if message.get("role") == "tool" and not traits.results:
            results.append(_result(message))
            continue
        if "tool_calls" in message:
            calls = write([call["function"] for call in message["tool_calls"]])
            message = {key: value for key, value in message.items() if key != "tool_calls"}
            message["content"] = _joined(message.get("content"), calls, "\n")
        if results:
            text = "\n".join(results)
            results.clear()
            if message.get("role") == "user":
                # Many templates refuse two messages of a user in a row.
                message = {**message, "content": _joined(text, message.get("content"), "\n\n")}
            else:
                written.append({"role": "user", "content": text})
        written.append(message)
    return [*written, {"role": "user", "content": "\n".join(results)}] if results else written


def _told(messages: Sequence[Message], text: str, traits: Traits) -> list[Message]:
    """The messages with `text` in the system message or, without a place for one, before the user's words."""
    first = messages[0]
    if first.get("role") in ("system", "developer"):
        return [{**first, "content": _joined(first.get("content"), text, "\n\n")}, *messages[1:]]
    if traits.system:
        return [{"role": "system", "content": text}, *messages]
    index = next((k for k, message in enumerate(messages) if message.get("role") == "user"), None)
    if index is None:
        return [{"role": "user", "content": text}, *messages]
    asked = messages[index]
    told = {**asked, "content": _joined(text, asked.get("content"), "\n\n")}
    return [*messages[:index], told, *messages[index + 1 :]]


def _joined(first: Any, second: Any, separator: str) -> Any:
    """Two contents as one: text, or parts if either has parts."""
    if not first or not second:
        return first or second or ""
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}{separator}{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: Any) -> Sequence[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _result(message: Message) -> str:
    content = message["content"]
    if not isinstance(content, str):
        content = "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    name = {"name": message["name"]} if message.get("name") else {}
    return f"<tool_response>\n{_json({**name, 'content': content})}\n</tool_response>"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_generic(calls: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"<tool_call>\n{_write_call(call)}\n</tool_call>" for call in calls)


def _write_granite(calls: Sequence[Mapping[str, Any]]) -> str:
    return f"<|tool_call|>[{', '.join(map(_write_call, calls))}]"


def _write_call(call: Mapping[str, Any]) -> str:
    return f'{{"name": {_json(call["name"])}, "arguments": {call["arguments"]}}}'


def _write_python(calls: Sequence[Mapping[str, Any]]) -> str:
    written = (
        f"{call['name']}({', '.join(f'{key}={_python(value)}' for key, value in call['arguments'].items())})"
        for call in calls
    )
    return f"<|tool_call_start|>[{', '.join(written)}]<|tool_call_end|>"


def _python(value: Any) -> str:
    """A JSON value as Python writes it, strings in double quotes."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_json(key)}: {_python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_python, value)) + "]"
    return _json(value)


_WRITERS: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], str]] = {
    "generic": _write_generic,
    "granite": _write_granite,
    "python": _write_python,
}
