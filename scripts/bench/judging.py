"""Whether the reply to a chat or completion body has the right form. Pure: body and reply in, complaints out.

A stream is folded into what the whole reply would be and judged by the same rules. What a sound body asks for
must be kept; of the replies to others only the form is looked at.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from scripts.bench.random_bodies import CHAT, Case
from scripts.bench.sse import Reply

REASONS = {"stop", "length", "tool_calls", "function_call"}


def complaints(case: Case, reply: Reply) -> Iterator[str]:
    """What is wrong with a reply of status 200; nothing if the client itself hung up."""
    if reply.cut:
        return
    body = _body(case.data)
    try:
        choices = _folded(reply) if reply.events or reply.done else json.loads(reply.body)["choices"]
        found = [_Answer(choice, case.path) for choice in choices]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        yield f"no reply of the right form: {error!r}"
        return
    if bool(body.get("stream")) is not bool(reply.done):
        yield "a stream was wanted or not, and the other came"
    if len(found) != (body.get("n") or 1) * (1 if case.path == CHAT else _n_prompts(body)):
        yield f"{len(found)} choices"
    for answer in found:
        yield from _about(answer, case, body)


class _Answer:
    """One choice; its calls as (name, arguments as text)."""

    def __init__(self, choice: Mapping[str, Any], path: str) -> None:
        self.reason = choice["finish_reason"]
        message = choice["message"] if path == CHAT else {"content": choice["text"]}
        self.content = message.get("content")
        self.is_chat = path == CHAT
        functions = [call["function"] for call in message.get("tool_calls") or ()]
        if message.get("function_call"):
            functions.append(message["function_call"])
        self.calls = [(function["name"], function["arguments"]) for function in functions]
        self.ids = [call["id"] for call in message.get("tool_calls") or ()]


def _about(answer: _Answer, case: Case, body: Mapping[str, Any]) -> Iterator[str]:
    if answer.reason not in REASONS:
        yield f"finish_reason {answer.reason!r}"
    if answer.content is not None and not isinstance(answer.content, str):
        yield f"content {answer.content!r}"
    if len(set(answer.ids)) != len(answer.ids) or not all(answer.ids):
        yield f"ids of calls {answer.ids}"
    if answer.reason == "length":
        return
    for name, text in answer.calls:
        try:
            arguments = json.loads(text)
        except ValueError:
            yield f"arguments of {name} are no JSON: {text!r}"
            continue
        if not isinstance(arguments, dict):
            yield f"arguments of {name} are no object: {text!r}"
        elif case.kind == "sound" and not _fits(_parameters(body).get(name) or {}, arguments):
            yield f"arguments of {name} do not fit: {text!r}"
    if case.kind == "sound":
        yield from _about_choice(answer, body)
    if not answer.calls:
        yield from _about_format(answer, case, body)


def _about_choice(answer: _Answer, body: Mapping[str, Any]) -> Iterator[str]:
    names = [name for name, _ in answer.calls]
    choice = body.get("tool_choice", body.get("function_call", "auto"))
    offered = set(_parameters(body))
    is_certain = choice == "required"
    if isinstance(choice, dict):
        if "allowed_tools" in choice:
            offered = {tool["function"]["name"] for tool in choice["allowed_tools"]["tools"]}
            is_certain = choice["allowed_tools"]["mode"] == "required"
        else:
            offered, is_certain = {choice.get("function", choice)["name"]}, True
    if choice == "none":
        offered = set()
    if not set(names) <= offered:
        yield f"calls of {names}, of which only {sorted(offered)} may be called"
    if is_certain and not names:
        yield "no call, though one was required"
    if len(names) > 1 and (body.get("parallel_tool_calls") is False or "functions" in body):
        yield f"{len(names)} calls, though one was allowed"


def _about_format(answer: _Answer, case: Case, body: Mapping[str, Any]) -> Iterator[str]:
    if case.kind == "sound" and "regex" in body and not re.fullmatch(body["regex"], answer.content or ""):
        yield f"the answer does not match: {answer.content!r}"
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") not in ("json_object", "json_schema"):
        return
    try:
        value = json.loads(answer.content or "")
    except ValueError:
        yield f"the answer is no JSON: {answer.content!r}"
        return
    if wanted["type"] == "json_object" and "schema" not in wanted and not isinstance(value, dict):
        yield f"the answer is no object: {answer.content!r}"
    elif case.kind != "sound" or wanted["type"] == "json_object":
        return
    elif not _fits(wanted["json_schema"]["schema"], value):
        yield f"the answer does not fit: {answer.content!r}"


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    return jsonschema_rs.validator_for(dict(schema), validate_formats=True).is_valid(value)


def _parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    functions = [tool["function"] for tool in body.get("tools") or ()] or body.get("functions") or ()
    return {function["name"]: function.get("parameters") for function in functions}


def _body(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _n_prompts(body: Mapping[str, Any]) -> int:
    prompt = body.get("prompt")
    is_many = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return len(prompt) if is_many else 1


def _folded(reply: Reply) -> list[dict[str, Any]]:
    """The choices of a stream as those of a whole reply. Raises for pieces that do not fit together."""
    choices: dict[int, dict[str, Any]] = {}
    for _, event in reply.parsed:
        for piece in event["choices"]:
            choice = choices.setdefault(piece["index"], {"finish_reason": None, "text": "", "message": {}})
            if choice["finish_reason"] is not None:
                raise ValueError("a piece after the end of its choice")
            choice["finish_reason"] = piece["finish_reason"]
            choice["text"] += piece.get("text") or ""
            _fold_message(choice["message"], piece.get("delta") or {})
    return [choices[index] for index in sorted(choices)]


def _fold_message(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    if delta.get("content") is not None:
        message["content"] = (message.get("content") or "") + delta["content"]
    if function := delta.get("function_call"):
        held = message.setdefault("function_call", {"name": "", "arguments": ""})
        held["name"] += function.get("name") or ""
        held["arguments"] += function.get("arguments") or ""
    for call in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        if call["index"] == len(calls):
            calls.append({"id": call["id"], "function": {"name": call["function"]["name"], "arguments": ""}})
        elif call["index"] != len(calls) - 1:
            raise ValueError(f"a piece of call {call['index']} after {len(calls)} calls")
        calls[-1]["function"]["arguments"] += call["function"].get("arguments") or ""
