"""What the fake engine thinks and calls: what its options say.

Owns the scripted thoughts and calls of a chat answer, and the refusal of what the fake engine cannot hold
itself to. Pure; any thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import CallDelta, ChatPrompt, Delta, GenerationRequest, ToolUse

_PIECE = 8  # characters of arguments that come at a time


@dataclass(frozen=True, slots=True)
class Said:
    """What every answer says. `text` None: the words of the prompt.

    `calls` are mappings of `name`, `arguments` (an object, or a text as it is) and perhaps `id`; one is made
    where the request offers its function.
    """

    text: str | None = None
    reasoning: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()


def check(request: GenerationRequest, said: Said) -> None:
    """Raises InvalidRequest for what the script does not keep to."""
    if request.constraint is not None:
        raise InvalidRequest(
            f"The engine 'fake' cannot hold its answers to a form ({request.constraint.kind}).",
            param=request.constraint.param,
        )
    prompt = request.prompt
    if not isinstance(prompt, ChatPrompt):
        return
    if prompt.media:
        raise InvalidRequest("The engine 'fake' neither sees nor hears.", param="messages")
    if prompt.tools is not None and prompt.tools.mode == "required" and not _wanted(prompt.tools, said):
        raise InvalidRequest("The engine 'fake' can only make the calls of its options.", param="tool_choice")


def thoughts(request: GenerationRequest, said: Said) -> list[str]:
    """The words of thinking, as many as the request's budget allows."""
    if not isinstance(request.prompt, ChatPrompt):
        return []
    words = said.reasoning.split()
    pieces = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
    return pieces[: request.reasoning_budget]


def calls(request: GenerationRequest, index: int, said: Said) -> list[Delta]:
    """The calls of choice `index`, in pieces of one token each."""
    tools = request.prompt.tools if isinstance(request.prompt, ChatPrompt) else None
    deltas: list[Delta] = []
    for number, call in enumerate(_wanted(tools, said) if tools else ()):
        begin = CallDelta(number, call["name"], call.get("id", ""))
        arguments = call.get("arguments", {})
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        pieces = [CallDelta(number, arguments=text[at : at + _PIECE]) for at in range(0, len(text), _PIECE)]
        deltas += [Delta(index, "", 1, calls=(piece,)) for piece in (begin, *pieces)]
    return deltas


def _wanted(tools: ToolUse, said: Said) -> Sequence[Mapping[str, Any]]:
    names = tools.allowed or [definition["function"]["name"] for definition in tools.definitions]
    made = [call for call in said.calls if call["name"] in names]
    return made if tools.is_parallel else made[:1]
