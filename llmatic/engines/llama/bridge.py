"""From the engine's thread to asyncio.

Owns the open generators of an engine that is used in-process. All events of a step reach an event loop in one
`call_soon_threadsafe`. Opened and closed in the loops' threads, delivered to from the engine's.
"""

import asyncio
from collections.abc import Iterable

from llmatic.core.errors import LlmaticError
from llmatic.core.ports import EngineEvent

Inbox = asyncio.Queue[EngineEvent | LlmaticError]


class Bridge:
    """Where each request's events go."""

    def __init__(self) -> None:
        self._inboxes: dict[str, tuple[asyncio.AbstractEventLoop, Inbox]] = {}

    def open(self, request_id: str) -> Inbox:
        """A new inbox for the running loop."""
        inbox: Inbox = asyncio.Queue()
        self._inboxes[request_id] = (asyncio.get_running_loop(), inbox)
        return inbox

    def close(self, request_id: str) -> None:
        """Nothing more is wanted. Idempotent."""
        self._inboxes.pop(request_id, None)

    def deliver(self, events: Iterable[tuple[str, EngineEvent | LlmaticError]]) -> None:
        """Hand one step's events over. A loop that is gone takes its requests with it."""
        batches: dict[asyncio.AbstractEventLoop, list[tuple[Inbox, EngineEvent | LlmaticError]]] = {}
        for request_id, event in events:
            if (entry := self._inboxes.get(request_id)) is not None:
                batches.setdefault(entry[0], []).append((entry[1], event))
        for loop, batch in batches.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_put, batch)


def _put(batch: list[tuple[Inbox, EngineEvent | LlmaticError]]) -> None:
    for inbox, event in batch:
        inbox.put_nowait(event)
