"""Writes the calls of chat answers, whole and in pieces, as OpenAI does.

Owns the ids of calls that the model gave none. Pure but for the system's random numbers; any thread.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from llmatic.api.chat_tools import CallStyle
from llmatic.api.ids import call_id
from llmatic.core.types import CallDelta
from llmatic.services.choices import ChoiceCall


def whole_calls(calls: Sequence[ChoiceCall], style: CallStyle) -> dict[str, Any]:
    """The keys of a message that calls; none if it does not."""
    if not calls:
        return {}
    if style.is_function:
        return {"function_call": {"name": calls[0].name, "arguments": calls[0].arguments}}
    return {
        "tool_calls": [
            {
                "id": call.id or call_id(),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in calls
        ]
    }


def call_deltas(calls: Sequence[CallDelta], style: CallStyle) -> Iterator[bytes]:
    """The `delta` objects of more of some calls: first the name, with no arguments, then the arguments."""
    for call in calls:
        if call.name:
            yield _function_begins(call) if style.is_function else _call_begins(call)
        if call.arguments:
            text = orjson.dumps(call.arguments)
            if style.is_function:
                yield b'{"function_call":{"arguments":%b}}' % text
            else:
                yield b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (call.index, text)


def _call_begins(call: CallDelta) -> bytes:
    function = b'{"name":%b,"arguments":""}' % orjson.dumps(call.name)
    return b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":%b}]}' % (
        call.index,
        orjson.dumps(call.id or call_id()),
        function,
    )


def _function_begins(call: CallDelta) -> bytes:
    return b'{"function_call":{"name":%b,"arguments":""}}' % orjson.dumps(call.name)
