"""What was asked and answered in a recorded request, in the one form of chats, whichever API it came by.

Owns the way from the bodies of chats, completions, messages and responses to messages, results and calls.
Takes what was recorded, in which texts may be redacted and fields are as the contract has them. Pure; any
thread.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

Wire = dict[str, Any]


def prompt_of(kind: str, request: Wire) -> Any:
    """The messages, or the prompt of a completion."""
    match kind:
        case "completion":
            return request.get("prompt")
        case "message":
            return _of_message(request)
        case "response":
            return _of_response(request)
    return request.get("messages")


def schema_of(kind: str, request: Wire) -> Any:
    """The schema that the answer was to fit; None: it was to be a text."""
    if kind == "message":
        wanted = (request.get("output_config") or {}).get("format") or request.get("output_format") or {}
        return wanted.get("schema")
    if kind == "response":
        return ((request.get("text") or {}).get("format") or {}).get("schema")
    return ((request.get("response_format") or {}).get("json_schema") or {}).get("schema")


def texts_of(kind: str, reply: Wire) -> list[str]:
    """What each choice says; a choice that only calls says nothing."""
    if kind == "message":
        return _joined(block["text"] for block in reply["content"] if block["type"] == "text")
    if kind == "response":
        return _joined(
            part.get("text") or part.get("refusal") or ""
            for item in reply["output"]
            if item["type"] == "message"
            for part in item["content"]
        )
    found = []
    for choice in reply.get("choices") or []:
        message = choice.get("message")
        text = choice.get("text", "") if message is None else message.get("content")
        if text is not None:
            found.append(text)
    return found


def calls_of(kind: str, reply: Wire) -> list[Wire]:
    """The calls of the first choice."""
    if kind == "message":
        blocks = (block for block in reply["content"] if block["type"] == "tool_use")
        return [_call(block["id"], block["name"], block["input"]) for block in blocks]
    if kind == "response":
        items = (item for item in reply["output"] if item["type"] == "function_call")
        return [_call(item["call_id"], item["name"], _parsed(item["arguments"])) for item in items]
    choices = reply.get("choices") or [{}]
    calls = (choices[0].get("message") or {}).get("tool_calls") or []
    return [
        _call(call["id"], call["function"]["name"], _parsed(call["function"]["arguments"]))
        for call in calls
        if "function" in call
    ]


def _of_message(request: Wire) -> list[Wire]:
    """Anthropic's messages: results of tools are messages of their own."""
    messages: list[Wire] = []
    if request.get("system"):
        messages.append({"role": "system", "content": _plain(_parts(request["system"]))})
    for message in request["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            if block["type"] == "tool_result":
                told = _plain(_parts(block.get("content") or ""))
                messages.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": told})
        rest = [block for block in blocks if block["type"] != "tool_result"]
        if rest or not blocks:
            messages.append(_turn(message["role"], rest))
    return messages


def _turn(role: str, blocks: list[Wire]) -> Wire:
    thoughts = [block["thinking"] for block in blocks if block["type"] == "thinking"]
    calls = [
        _tool_call(block["id"], block["name"], orjson.dumps(block["input"]).decode())
        for block in blocks
        if block["type"] == "tool_use"
    ]
    said = [block for block in blocks if block["type"] not in ("thinking", "redacted_thinking", "tool_use")]
    turn: Wire = {"role": role, "content": _plain(_parts(said)) if said or not calls else None}
    if thoughts:
        turn["reasoning_content"] = "".join(thoughts)
    return turn | ({"tool_calls": calls} if calls else {})


def _of_response(request: Wire) -> list[Wire]:
    """The items of responses: calls and thoughts belong to the assistant's message beside them."""
    messages: list[Wire] = []
    if request.get("instructions"):
        messages.append({"role": "system", "content": request["instructions"]})
    own: Wire | None = None  # the assistant's message that is still growing
    for item in request["input"]:
        kind = item["type"]
        if kind == "function_call_output":
            told = _plain(_parts(item["output"]))
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": told})
            own = None
        elif kind == "message" and item["role"] != "assistant":
            messages.append({"role": item["role"], "content": _plain(_parts(item["content"]))})
            own = None
        else:
            if own is None or (kind != "function_call" and (own["content"] or own.get("tool_calls"))):
                own = {"role": "assistant", "content": None}
                messages.append(own)
            _grow(own, item)
    return messages


def _grow(message: Wire, item: Wire) -> None:
    if item["type"] == "function_call":
        calls = message.setdefault("tool_calls", [])
        calls.append(_tool_call(item["call_id"], item["name"], item["arguments"]))
    elif item["type"] == "message":
        message["content"] = _plain(_parts(item["content"]))
    else:
        parts = item.get("content") or item.get("summary") or ()
        message["reasoning_content"] = "".join(part["text"] for part in parts)


def _parts(content: Any) -> list[Wire]:
    """The parts of a content under the names of chats; what those have no name for stays as it is."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_part(part) for part in content]


def _part(part: Wire) -> Wire:
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return {"type": "text", "text": part["text"]}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case "input_image":
            return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
        case "image":
            place: Mapping[str, Any] = part["source"]
            url = place.get("url") or f"data:{place.get('media_type')};base64,{place.get('data')}"
            return {"type": "image_url", "image_url": {"url": url}}
    return part


def _plain(parts: list[Wire]) -> str | list[Wire]:
    """One text is no list of parts."""
    return parts[0]["text"] if len(parts) == 1 and parts[0].get("type") == "text" else parts


def _tool_call(call_id: str, name: str, arguments: str) -> Wire:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _call(call_id: str, name: str, arguments: Any) -> Wire:
    return {"id": call_id, "tool_name": name, "tool_input": arguments}


def _joined(texts: Iterable[str]) -> list[str]:
    """One choice; none if there is nothing in it."""
    found = list(texts)
    return ["".join(found)] if found else []


def _parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
