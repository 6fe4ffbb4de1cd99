"""What tests of runs share."""

import threading
from collections.abc import Iterator
from typing import Any

import orjson

from llmatic.core.types import Delta, Finished, GenerationRequest, Started, Usage
from tests.api.conftest import Served
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC, Step

HI = [{"role": "user", "content": "Hi"}]
CONFIG = {"model": SPEC.id}


def saying(text: str, reason: Any = "stop") -> Any:
    def script(_: GenerationRequest) -> Iterator[Step]:
        yield Started(3)
        yield Delta(0, text, 2)
        yield Delta(0, "", 1, (), reason)
        yield Finished(Usage(3, 3))

    return script


def playing(*steps: Step) -> Any:
    return lambda _: iter(steps)


def make(api: Served, **fields: Any) -> dict[str, Any]:
    reply = api.http.post("/api/v1/runs", json={"messages": HI, "config": CONFIG, **fields})
    assert reply.status_code == 200, reply.text
    assert_response_matches("createRun", 200, reply.content)
    made: dict[str, Any] = reply.json()
    return made


def refusal(reply: Any, status: int = 400) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert_response_matches("createRun", status, reply.content)
    body: dict[str, Any] = reply.json()
    assert body["status"] == status
    return body


def frames(text: str) -> tuple[list[str], dict[str, Any]]:
    """The pieces of a stream, and the run at its end."""
    *messages, last = [frame for frame in text.split("\n\n") if frame and not frame.startswith(":")]
    assert last.startswith("event: close\ndata: ")
    return [orjson.loads(frame.removeprefix("data: ")) for frame in messages], orjson.loads(
        last.split("data: ", 1)[1]
    )


def eventually(look: Any) -> Any:
    """What is written in the background, once it is there."""
    waited = threading.Event()
    for _ in range(500):
        if found := look():
            return found
        waited.wait(0.01)
    raise AssertionError("it never came")
