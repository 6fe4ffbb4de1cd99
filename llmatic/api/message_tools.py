"""The tools that an Anthropic request offers: `tools` and `tool_choice`.

Owns their translation to the functions of a chat (`chat_tools`), whose rules hold here too, and of the names
of fields in refusals back. Takes bodies that the contract has checked. Pure; any thread.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from llmatic.api.chat_tools import offer
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ToolUse

Body = Mapping[str, Any]

_MODES = {"auto": "auto", "any": "required", "none": "none"}
_FIELD = re.compile(r"tools\[(\d+)\]\.function\.(name|description|parameters|strict)(.*)", re.DOTALL)


def offered(body: Body) -> ToolUse | None:
    """What may be called, None: nothing. Raises InvalidRequest naming the field that the client sent."""
    if not body.get("tools"):
        return None
    choice = body.get("tool_choice") or {"type": "auto"}
    chat = {
        "tools": [_function(tool) for tool in body["tools"]],
        "tool_choice": _choice(choice),
        "parallel_tool_calls": not choice.get("disable_parallel_tool_use"),
    }
    try:
        return offer(chat).use
    except InvalidRequest as error:
        raise renamed(error) from None


def renamed(error: InvalidRequest) -> InvalidRequest:
    """A refusal of a function's field, naming the tool's."""
    found = _FIELD.fullmatch(error.param or "")
    if found is None:
        return error
    field = "input_schema" if found[2] == "parameters" else found[2]
    param = f"tools.{found[1]}.{field}{found[3]}"
    message = error.message.replace(error.param or "", param)
    return InvalidRequest(message, param=param, code=error.code)


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    description = tool.get("description") or ""
    if examples := tool.get("input_examples"):
        shown = "\n".join(orjson.dumps(example).decode() for example in examples)
        description = f"{description}\n\nExamples of its input:\n{shown}".lstrip()
    if description:
        function["description"] = description
    if tool.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: Mapping[str, Any]) -> str | dict[str, Any]:
    if choice["type"] == "tool":
        return {"type": "function", "function": {"name": choice["name"]}}
    return _MODES[choice["type"]]
