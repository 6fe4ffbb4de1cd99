"""How the tests of /responses ask, and what the engine says to them."""

from collections.abc import Iterable
from typing import Any

from llmatic.core.types import CallDelta, ChatPrompt, Delta, Finished, GenerationRequest, Started, Usage
from tests.api.conftest import Served
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC, Step
from tests.stream_check import response_events

UNKNOWN = "resp_" + "0" * 48
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def respond(api: Served, **fields: Any) -> Any:
    return api.http.post("/v1/responses", json={"model": SPEC.id, "input": "Hi", **fields})


def made(api: Served, **fields: Any) -> dict[str, Any]:
    reply = respond(api, **fields)
    assert reply.status_code == 200, reply.text
    assert_response_matches("createResponse", 200, reply.content)
    body: dict[str, Any] = reply.json()
    return body


def streamed(api: Served, **fields: Any) -> list[dict[str, Any]]:
    reply = respond(api, stream=True, **fields)
    assert reply.status_code == 200, reply.text
    return response_events(reply.text)


def messages(api: Served, at: int = -1) -> list[dict[str, Any]]:
    prompt = api.pool.requests[at].prompt
    assert isinstance(prompt, ChatPrompt)
    return [dict(message) for message in prompt.messages]


def thinking(request: GenerationRequest) -> Iterable[Step]:
    yield Started(3)
    yield Delta(0, "", 1, reasoning="Let me ")
    yield Delta(0, "", 1, reasoning="think.")
    yield Delta(0, "Well", 1)
    yield Delta(0, ", then.", 1)
    yield Delta(0, "", 1, calls=(CallDelta(0, "get_weather", ""),))
    yield Delta(0, "", 1, calls=(CallDelta(0, arguments='{"city":'),))
    yield Delta(0, "", 1, calls=(CallDelta(0, arguments='"Paris"}'),))
    yield Delta(0, "", 1, calls=(CallDelta(1, "get_weather", "own", arguments="{}"),))
    yield Delta(0, "", 1, (), "tool_calls")
    yield Finished(Usage(3, 9, n_reasoning_tokens=2))


def cut_off(request: GenerationRequest) -> Iterable[Step]:
    yield Started(3)
    yield Delta(0, "Hel", 1, (), "length")
    yield Finished(Usage(3, 1))
