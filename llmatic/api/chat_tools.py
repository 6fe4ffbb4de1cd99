"""The functions that a chat request offers: `tools`, `tool_choice`, and their older forms.

Owns what these fields mean and how calls are then answered. Takes bodies that the contract has checked. Pure;
any thread.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import FinishReason, ToolUse

_TOOL_FIELD = re.compile(r"tools\[(\d+)\]\.function\.(.+)")

Body = Mapping[str, Any]
Function = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallStyle:
    """How calls look in a reply.

    `is_function`: as `function_call`, the older form. `is_named`: the request named the function, and OpenAI
    then ends with "stop". `is_certain`: every answer calls.
    """

    is_function: bool = False
    is_named: bool = False
    is_certain: bool = False

    def finish_reason(self, reason: FinishReason | None) -> str | None:
        """The engine's reason in the words of this style."""
        if reason != "tool_calls":
            return reason
        if self.is_named:
            return "stop"
        return "function_call" if self.is_function else reason

    def reworded(self, error: InvalidRequest) -> InvalidRequest:
        """The engine's refusal of a function, naming the field that the client sent."""
        found = _TOOL_FIELD.fullmatch(error.param or "") if self.is_function else None
        if found is None:
            return error
        return InvalidRequest(error.message, param=f"functions[{found[1]}].{found[2]}", code=error.code)


PLAIN = CallStyle()


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be called, None: nothing; and how calls are answered."""

    use: ToolUse | None = None
    style: CallStyle = PLAIN


def offer(body: Body) -> Offer:
    """The tools or functions of a body. Raises InvalidRequest in OpenAI's words where it has some."""
    if "tools" in body:
        return _offered_tools(body)
    if "functions" in body:
        return _offered_functions(body)
    return Offer()


def _offered_tools(body: Body) -> Offer:
    functions = [tool["function"] for tool in body["tools"]]
    _check(functions, "tools[{}].function")
    choice = body.get("tool_choice", "auto")
    if choice == "none":
        return Offer()
    mode, allowed, is_named = (choice, (), False) if isinstance(choice, str) else _named(choice)
    _check_choice(functions, allowed, field="tool_choice", where="tools")
    use = ToolUse(
        tuple(map(_definition, functions)),
        "required" if mode == "required" else "auto",
        tuple(dict.fromkeys(allowed)),
        is_parallel=not is_named and bool(body.get("parallel_tool_calls", True)),
    )
    return Offer(use, CallStyle(is_named=is_named, is_certain=mode == "required"))


def _named(choice: Mapping[str, Any]) -> tuple[str, tuple[str, ...], bool]:
    """Mode and functions of a choice that names some; whether it is the one that must be called."""
    if choice["type"] == "function":
        return "required", (choice["function"]["name"],), True
    allowed = choice["allowed_tools"]
    return allowed["mode"], tuple(tool["function"]["name"] for tool in allowed["tools"]), False


def _offered_functions(body: Body) -> Offer:
    functions: list[Function] = body["functions"]
    _check(functions, "functions[{}]")
    choice = body.get("function_call", "auto")
    if choice == "none":
        return Offer()
    is_named = not isinstance(choice, str)
    allowed = (choice["name"],) if is_named else ()
    _check_choice(functions, allowed, field="function_call", where="functions")
    use = ToolUse(
        tuple(map(_definition, functions)), "required" if is_named else "auto", allowed, is_parallel=False
    )
    return Offer(use, CallStyle(is_function=True, is_named=is_named, is_certain=is_named))


def _definition(function: Function) -> Mapping[str, Any]:
    """OpenAI's tool object, without what is null."""
    return {
        "type": "function",
        "function": {name: value for name, value in function.items() if value is not None},
    }


def _check(functions: Sequence[Function], path: str) -> None:
    names: set[str] = set()
    for index, function in enumerate(functions):
        where, name = path.format(index), function["name"]
        if name in names:
            raise InvalidRequest(
                f"Invalid '{where}.name': the name '{name}' is there twice. Names must be unique.",
                param=f"{where}.name",
                code="invalid_value",
            )
        names.add(name)
        kind = (function.get("parameters") or {}).get("type", "object")
        if kind != "object":
            shown = kind if isinstance(kind, str) else "None"
            raise InvalidRequest(
                f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', "
                f"got 'type: \"{shown[:64]}\"'.",
                param=f"{where}.parameters",
                code="invalid_function_parameters",
            )


def _check_choice(functions: Sequence[Function], allowed: Sequence[str], *, field: str, where: str) -> None:
    known = {function["name"] for function in functions}
    for name in allowed:
        if name not in known:
            raise InvalidRequest(
                f"Invalid value for '{field}': no function named '{name[:64]}' was specified in the "
                f"'{where}' parameter.",
                param=field,
            )
