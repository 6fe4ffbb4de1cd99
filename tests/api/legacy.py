"""A server with a model that writes and one that searches, and what a writer may be told to say."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any

import httpx2

from llmatic.config import ModelSpec
from llmatic.core.errors import ContextLengthExceeded
from llmatic.core.types import Delta, EncoderInfo, Finished, GenerationRequest, Started, TextPrompt, Usage
from tests.api.conftest import WAIT_S, Serve, Served
from tests.contract_check import assert_response_matches
from tests.fakes import ENCODER, SPEC, Gate, Script, Step, logprob

FINDER = ModelSpec(id="finder", source="none", engine="fake", aliases=("text-embedding-ada-002",))
PLACES = {
    "createAnswer": "/v1/answers",
    "createClassification": "/v1/classifications",
    "createEdit": "/v1/edits",
    "createEngineEdit": "/v1/engines/org%2Ffake-1/edits",
}


def start(serve: Serve, *more: ModelSpec) -> Served:
    """A server with both models, and more."""
    return serve({spec.id: spec for spec in (SPEC, FINDER, *more)})


def as_new(served: Served, encoder: EncoderInfo = ENCODER) -> Served:
    """The server, its pool as new; FINDER encodes."""
    served.pool.reset()
    served.pool.encoders[FINDER.id] = encoder
    return served


def ask(served: Served, operation: str, body: dict[str, object], path: str | None = None) -> httpx2.Response:
    """The reply, which fits the contract."""
    reply = served.http.post(path or PLACES[operation], json=body)
    assert_response_matches(operation, reply.status_code, reply.content, headers=dict(reply.headers.items()))
    return reply


def answered(served: Served, operation: str, body: dict[str, Any]) -> dict[str, Any]:
    """The reply, which is no refusal."""
    reply = ask(served, operation, body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def refused(served: Served, operation: str, body: dict[str, Any]) -> tuple[int, str, str | None, str | None]:
    """What the refusal says; fields that are `...` are left out of the request."""
    return error(ask(served, operation, {name: value for name, value in body.items() if value is not ...}))


def written(served: Served) -> GenerationRequest:
    """What the model that writes was last asked for."""
    return served.pool.requests[-1]


def hang_up(served: Served, operation: str, body: dict[str, object], gate: Gate) -> None:
    """Ask and close the connection once the gate is reached."""

    async def meanwhile() -> None:
        async with httpx2.AsyncClient(base_url=served.url, timeout=WAIT_S) as client:
            asked = asyncio.create_task(client.post(PLACES[operation], json=body))
            assert await asyncio.to_thread(gate.reached.wait, WAIT_S)
            asked.cancel()
            await asyncio.wait([asked])

    asyncio.run(meanwhile())


def error(reply: httpx2.Response) -> tuple[int, str, str | None, str | None]:
    """Status, message, param and code of a refusal."""
    found = reply.json()["error"]
    return reply.status_code, found["message"], found["param"], found["code"]


def says(*texts: str, n_context: int = 4096) -> Script:
    """A writer whose choices are these texts, in turn; its tokens are words.

    Like a real engine it refuses what does not fit and ends a choice before a stop text.
    """

    def script(request: GenerationRequest) -> Iterable[Step]:
        assert isinstance(request.prompt, TextPrompt)
        n_prompt = len(request.prompt.text.split())
        if n_prompt + (request.max_tokens or 1) > n_context:
            yield ContextLengthExceeded(f"This model's maximum context length is {n_context} tokens.")
            return
        yield Started(n_prompt)
        n_top = request.sampling.n_logprobs
        for index in range(request.n_choices):
            text = texts[index % len(texts)]
            ends = [found.start() for stop in request.stop for found in re.finditer(re.escape(stop), text)]
            text = text[: min(ends, default=len(text))]
            tokens = () if n_top is None else (logprob(text, n_top=n_top),)
            yield Delta(index, text, 2, tokens, "stop")
        yield Finished(Usage(n_prompt, 2 * request.n_choices, 1))

    return script


def counted(served: Served, model: str) -> dict[str, float]:
    """The token counters of a model."""
    lines = served.http.get("/metrics").text.splitlines()
    found = [re.fullmatch(r'llmatic_tokens_total\{kind="(\w+)",model="(.+)"\} (\S+)', line) for line in lines]
    return {match[1]: float(match[3]) for match in found if match and match[2] == model}
