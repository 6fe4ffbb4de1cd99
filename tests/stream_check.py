"""Holds the events of a streamed response to the contract and to each other."""

from typing import Any

import orjson

from tests.contract_check import component


def response_events(text: str, *, is_replayed: bool = False) -> list[dict[str, Any]]:
    """The events of a whole stream, checked: forms, numbers, places, and that the deltas add up.

    `is_replayed`: only the last one has kept its number.
    """
    found = []
    for frame in text.split("\n\n"):
        if frame and not frame.startswith(":"):
            name, data = frame.split("\n")
            event = orjson.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            component("ResponseStreamEvent").validate(event)
            found.append(event)
    numbers = [event["sequence_number"] for event in found]
    assert numbers[:-1] == list(range(len(found) - 1))
    assert numbers[-1] >= len(found) - 1 if is_replayed else numbers[-1] == len(found) - 1
    assert found[0]["type"] == "response.created"
    _check_items(found)
    return found


def _check_items(events: list[dict[str, Any]]) -> None:
    final = events[-1]["response"]
    assert events[-1]["type"].removeprefix("response.") in ("completed", "incomplete", "failed")
    output: dict[int, dict[str, Any]] = {}
    texts: dict[tuple[int, str], str] = {}
    for event in events:
        kind, index = event["type"].removeprefix("response."), event.get("output_index", -1)
        if kind == "output_item.added":
            assert index == len(output)
            output[index] = event["item"]
        elif index >= 0 and "item_id" in event:
            assert event["item_id"] == output[index]["id"]
        if kind.endswith(".delta"):
            name = kind.removesuffix(".delta")
            texts[index, name] = texts.get((index, name), "") + event["delta"]
        elif kind.endswith(".done") and ("text" in event or "arguments" in event):
            name = kind.removesuffix(".done")
            assert texts.get((index, name), "") == event.get("text", event.get("arguments"))
        elif kind == "output_item.done":
            output[index] = event["item"]
    assert [output[index] for index in sorted(output)] == final["output"]
