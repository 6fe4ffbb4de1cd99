"""Reading what comes over the wire."""

import json
from typing import Any


def events(text: str) -> list[Any]:
    """The data of every server-sent event; the end mark as the string it is."""
    found: list[Any] = []
    for frame in text.split("\n\n"):
        if frame.startswith("data: "):
            data = frame.removeprefix("data: ")
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def messages_events(text: str) -> list[Any]:
    """The data of every event of a stream of Anthropic's, each of which has a name that it repeats."""
    found: list[Any] = []
    for frame in text.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def shape(value: Any) -> Any:
    """Keys without values: what two replies of one kind have in common."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return None
