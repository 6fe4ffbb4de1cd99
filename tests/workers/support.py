"""Specs, requests and readers for tests on real worker processes."""

import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.types import Delta, Event, GenerationRequest, TextPrompt
from llmatic.workers.pool import ProcessPool


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def fake(model_id: str = "m", **more: Any) -> ModelSpec:
    fields = {key: more.pop(key) for key in list(more) if key in ModelSpec.__slots__}
    return ModelSpec(model_id, "", engine=fields.pop("engine", "fake"), options=more, **fields)


def ask(text: str = "one two three", **more: Any) -> GenerationRequest:
    return GenerationRequest("r", TextPrompt(text), **more)


ENDLESS = ask(ignore_eos=True, max_tokens=4000)


async def events_of(pool: ProcessPool, request: GenerationRequest, model_id: str = "m") -> list[Event]:
    async with aclosing(pool.generate(model_id, request)) as events:
        return [event async for event in events]


async def text_of(pool: ProcessPool, request: GenerationRequest, model_id: str = "m") -> str:
    events = await events_of(pool, request, model_id)
    return "".join(event.text for event in events if isinstance(event, Delta))


def children() -> set[int]:
    """Live or unreaped processes that this one started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):  # ended a moment ago
            continue
        if int(parent) == os.getpid():
            found.add(int(path.parent.name))
    return found


def descriptors() -> set[str]:
    """What every open descriptor of this process is; numbers would depend on the order of closing."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the one that listed the directory
            continue
    return found
