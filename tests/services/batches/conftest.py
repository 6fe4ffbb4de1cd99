"""Batches over a database of each kind, with operations that say what they are told to say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmatic.api.errors import error_body
from llmatic.config import BatchSettings
from llmatic.core.errors import LlmaticError, ModelNotFound
from llmatic.core.principal import Principal
from llmatic.services.batches.ports import Body, Place
from llmatic.services.batches.service import Batches
from llmatic.store.batches import ENDED, BatchRecord
from llmatic.store.blobs import Blobs
from llmatic.store.database import Database
from llmatic.store.files import FileRecord, add_file, get_file
from llmatic.store.local_blobs import LocalBlobs
from tests.store.conftest import database, url

__all__ = ["database", "url"]

WAIT_S = 20.0
ANN = Principal("key-ann", "ann", frozenset(["inference"]), frozenset(["m"]))
Answer = Callable[[Body], Awaitable[bytes]]


async def echo(body: Body) -> bytes:
    await asyncio.sleep(0)  # others get their turn
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    return orjson.dumps({"said": body.get("say"), "usage": usage})


class Held:
    """Answers that wait until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.reached = asyncio.Event()

    async def answer(self, body: Body) -> bytes:
        self.reached.set()
        await self.go.wait()
        return await echo(body)


@dataclass
class FakeOperations:
    """`Operations` that answer with `answer`, and remember what they were asked, and by whom."""

    answer: Answer = echo
    n_at_once: int = 4
    asked: list[Any] = field(default_factory=list)
    principals: set[Principal] = field(default_factory=set)
    n_running: int = 0
    most_running: int = 0

    def place(self, endpoint: str, body: Body, principal: Principal) -> Place:
        if body.get("model") not in ("m", "n"):
            raise ModelNotFound(f"no {body.get('model')}")
        return Place(body["model"], self.n_at_once)

    async def run(self, endpoint: str, body: Body, principal: Principal, *, size_bytes: int = 0) -> bytes:
        assert size_bytes, "lines are told with their size"
        self.asked.append(body.get("say"))
        self.principals.add(principal)
        self.n_running += 1
        self.most_running = max(self.most_running, self.n_running)
        try:
            return await self.answer(body)
        finally:
            self.n_running -= 1

    def refusal(self, error: LlmaticError) -> bytes:
        return error_body(error)

    def request_id(self) -> str:
        return "req_1"


@dataclass
class World:
    """A database, a folder of blobs, a clock, and servers that work on the batches in them."""

    database: Database
    blobs: Blobs
    folder: Path
    now: float = 1e9
    servers: list[Batches] = field(default_factory=list)

    def server(self, operations: FakeOperations | None = None, **rules: Any) -> Batches:
        """Another server, at work."""
        made = self.idle_server(**rules)
        made.start(operations or FakeOperations())
        return made

    def idle_server(self, **rules: Any) -> Batches:
        """Another server that does not work yet."""
        made = Batches(
            self.database,
            self.blobs,
            BatchSettings(**rules),
            clock=lambda: self.now,
            busy_tick_s=0.005,
            idle_tick_s=0.005,
        )
        self.servers.append(made)
        return made

    async def upload(self, data: bytes, owner: str = "ann", purpose: str = "batch") -> str:
        file_id = f"file-{len(list(self.folder.rglob('file-*')))}{owner}"
        writer = self.blobs.create(file_id)
        writer.write(data)
        writer.commit()
        record = FileRecord(file_id, owner, "in.jsonl", purpose, len(data), int(self.now))
        await self.database.write(add_file(record))
        return file_id

    async def read(self, file_id: str | None, owner: str = "ann") -> list[dict[str, Any]]:
        """The lines of a file; none if there is none."""
        if file_id is None:
            return []
        record = await self.database.read(get_file(owner, file_id))
        assert record is not None
        assert record.purpose == "batch_output"
        data = b"".join(self.blobs.read(file_id))
        assert len(data) == record.size_bytes
        assert data.endswith(b"\n")
        return [orjson.loads(line) for line in data.splitlines()]

    async def ended(self, batches: Batches, batch_id: str, owner: str = "ann") -> BatchRecord:
        """The batch once there is nothing left to do for it."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await batches.get(owner, batch_id)
                if found.status in ENDED and found.lease_until is None:
                    return found

    def parts(self) -> list[str]:
        """Blobs that hold parts of results."""
        return [path.name for path in self.folder.rglob("batch_*") if path.is_file()]


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    made = World(database, LocalBlobs(tmp_path / "blobs"), tmp_path / "blobs")
    yield made
    for server in made.servers:
        await server.close()


def line(custom_id: str, say: Any = None, /, **fields: Any) -> bytes:
    """One line of an input."""
    body = {"model": "m", "say": custom_id if say is None else say}
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/x", "body": body} | fields
    return orjson.dumps({name: value for name, value in whole.items() if value is not ...}) + b"\n"


async def create(batches: Batches, file_id: str, principal: Principal = ANN, **fields: Any) -> BatchRecord:
    """A batch for /v1/x."""
    return await batches.create(principal, input_file_id=file_id, endpoint="/v1/x", **fields)
