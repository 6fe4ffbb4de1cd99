"""The messages of a chat request, in the one form that engines know.

Owns the reduction of OpenAI's forms, old and new, to that form, and the rule that calls are answered. Takes
bodies that the contract has checked. Pure; any thread.

That form: roles `system`, `developer`, `user`, `assistant` and `tool`. Content is a text, or a list of parts
where there are pictures or sounds; it is None only for an assistant's message that calls and has no text. An
assistant's message may have `tool_calls` (`id`, `type`, `function` with `name` and `arguments`, a text) and
`reasoning_content`. A tool's message has `tool_call_id` and perhaps `name`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llmatic.core.errors import InvalidRequest

Body = Mapping[str, Any]
Message = Mapping[str, Any]

_TEXTS = {"text", "refusal"}


def conversation(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages in their one form, as many and in the same order. Raises InvalidRequest."""
    _check_answers(messages)
    ids: dict[str, str] = {}  # of the older form's calls, by function
    return tuple(_message(message, index, ids) for index, message in enumerate(messages))


def continues(body: Body) -> bool:
    """Whether the answer goes on with the last message. Raises InvalidRequest if it cannot."""
    last = body["messages"][-1]
    is_open = (
        last["role"] == "assistant"
        and not (last.get("tool_calls") or last.get("function_call"))
        and bool(text_of(last.get("content")))
    )
    wanted, begins = body.get("continue_final_message"), body.get("add_generation_prompt")
    if wanted is not None and wanted is begins:
        raise InvalidRequest(
            "Invalid value for 'add_generation_prompt': it must be the opposite of 'continue_final_message'.",
            param="add_generation_prompt",
        )
    if wanted is None and begins is not None:
        wanted = not begins
    if wanted and not is_open:
        raise InvalidRequest(
            "Only a last message from the assistant that holds text and no calls can be continued.",
            param="continue_final_message" if begins is None else "add_generation_prompt",
        )
    return is_open if wanted is None else wanted


def text_of(content: str | Sequence[Mapping[str, Any]] | None) -> str:
    """The texts of a content, joined without anything between them."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get(part["type"], "") for part in content if part["type"] in _TEXTS)


def _message(message: Message, index: int, ids: dict[str, str]) -> Message:
    role = message["role"]
    if role == "assistant":
        return _assistant_message(message, index, ids)
    if role == "function":
        name = message["name"]
        call_id = ids.get(name, f"call_{index}")
        return {"role": "tool", "tool_call_id": call_id, "name": name, "content": text_of(message["content"])}
    content = message["content"]
    if isinstance(content, str):
        return message
    if all(part["type"] in _TEXTS for part in content):
        return {**message, "content": text_of(content)}
    return message


def _assistant_message(message: Message, index: int, ids: dict[str, str]) -> Message:
    plain: dict[str, Any] = {"role": "assistant"}
    if "name" in message:
        plain["name"] = message["name"]
    text = text_of(message.get("content")) or message.get("refusal") or ""
    calls = [_call(call["id"], call["function"]) for call in message.get("tool_calls", ())]
    if "function_call" in message:
        function = message["function_call"]
        ids[function["name"]] = f"call_{index}"
        calls.append(_call(ids[function["name"]], function))
    plain["content"] = None if calls and not text else text
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if reasoning:
        plain["reasoning_content"] = reasoning
    if calls:
        plain["tool_calls"] = calls
    return plain


def _call(call_id: str, function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": function["name"], "arguments": function["arguments"]},
    }


def _check_answers(messages: Sequence[Message]) -> None:
    """Every tool's message answers a call of the message before it, and every call is answered."""
    calls: set[str] = set()
    waiting: dict[str, None] = {}  # in order
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            _check_answer(message["tool_call_id"], calls, index)
            waiting.pop(message["tool_call_id"], None)
            continue
        if waiting:
            raise _unanswered(waiting, index)
        waiting = {call["id"]: None for call in message.get("tool_calls", ())}
        calls = set(waiting)
    if waiting:
        raise _unanswered(waiting, len(messages) - 1)


def _check_answer(call_id: str, calls: set[str], index: int) -> None:
    if not calls:
        raise InvalidRequest(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
            "'tool_calls'.",
            param=f"messages.[{index}].role",
        )
    if call_id not in calls:
        raise InvalidRequest(
            f"Invalid parameter: 'tool_call_id' of '{call_id[:100]}' not found in 'tool_calls' of previous "
            "message.",
            param=f"messages.[{index}].tool_call_id",
        )


def _unanswered(waiting: Mapping[str, None], index: int) -> InvalidRequest:
    ids = ", ".join(call_id[:100] for call_id in list(waiting)[:8])
    return InvalidRequest(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        f"'tool_call_id'. The following tool_call_ids did not have response messages: {ids}",
        param=f"messages.[{index}].role",
    )
