"""What a request costs before and around the model: parsing, checking, the ASGI call with a null engine.

Runs in one process and one thread without a socket. The parts are timed by themselves (CPU time of the best
of several rounds), then the whole call, from the ASGI scope to the last byte of the reply, with a pool that
answers at once.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import orjson
import structlog
import uvloop

from llmatic.api.json_body import parse_json
from llmatic.api.validation import Contract
from llmatic.app import contract_path, create_app
from llmatic.config import ModelSpec, Settings
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import Delta, EngineInfo, Event, Finished, GenerationRequest, Started, Usage
from scripts.bench.report import Bar, Report

MODEL = "null"
MAX_DEPTH = 64
BARS_US = {"chat, 1 message": 100.0, "chat, 100 messages": 300.0}


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--rounds", type=int, default=7, help="rounds of which the quickest counts")


def run(arguments: argparse.Namespace) -> Report:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    contract = Contract.load(contract_path())
    rows: list[tuple[Any, ...]] = []
    for name, operation, body in bodies():
        raw = orjson.dumps(body)
        parse_us = best_us(lambda raw=raw: parse_json(raw, max_depth=MAX_DEPTH), arguments.rounds)
        parsed = parse_json(raw, max_depth=MAX_DEPTH)
        check_us = best_us(lambda op=operation, body=parsed: checked(contract, op, body), arguments.rounds)
        is_valid = checked(contract, operation, parsed)
        call_us = run_call(operation, raw, arguments.rounds) if is_valid else None
        rows.append((name, len(raw), *(us and round(us, 1) for us in (parse_us, check_us, call_us))))
    calls = {row[0]: row[4] for row in rows}
    return Report(
        name="validation",
        columns=("body", "bytes", "parse_us", "check_us", "call_us"),
        rows=rows,
        bars=[
            Bar(f"ASGI call, {name}", calls[name], "at most", bound, "us") for name, bound in BARS_US.items()
        ],
        facts={"clock": "thread CPU time, best round"},
    )


def bodies() -> list[tuple[str, str, dict[str, Any]]]:
    """Name, operation and body; the last ones are refused, and their check explains why."""
    chat: dict[str, Any] = {"model": MODEL, "temperature": 0.5, "max_tokens": 20}
    one = {"role": "user", "content": "Say this is a test"}
    many = [{"role": ("user", "assistant")[i % 2], "content": "a few words of talk " * 10} for i in range(99)]
    hundred = [{"role": "system", "content": "Be brief."}, *many]
    tokens = [[7] * 64] * 2047
    text = {"model": MODEL, "max_tokens": 20}
    big = [one] * 20_000
    return [
        ("chat, 1 message", "createChatCompletion", chat | {"messages": [one]}),
        ("chat, 100 messages", "createChatCompletion", chat | {"messages": hundred}),
        ("completion, 1 text", "createCompletion", text | {"prompt": "Say this is a test"}),
        ("completion, 256 texts", "createCompletion", text | {"prompt": ["Say this is a test"] * 256}),
        ("completion, 2048 token ids", "createCompletion", text | {"prompt": list(range(2048))}),
        ("refused: unknown field", "createChatCompletion", chat | {"messages": [one], "foo": 1}),
        ("refused: wrong type", "createChatCompletion", chat | {"messages": [one], "n": "x"}),
        ("refused: last of 20,001 messages", "createChatCompletion", chat | {"messages": [*big, {}]}),
        ("refused: last of 131,009 token ids", "createCompletion", text | {"prompt": [*tokens, ["x"]]}),
    ]  # fmt: skip


def checked(contract: Contract, operation: str, body: dict[str, Any]) -> bool:
    """Whether the body passes."""
    try:
        contract.check(operation, body)
    except InvalidRequest:
        return False
    return True


def best_us(call: Callable[[], object], rounds: int) -> float:
    """Microseconds of CPU of one call, in the quickest round."""
    call()
    once = time.thread_time_ns()
    call()
    n_calls = max(1, min(5000, 20_000_000 // max(1, time.thread_time_ns() - once)))
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time_ns()
        for _ in range(n_calls):
            call()
        best = min(best, (time.thread_time_ns() - began) / n_calls)
    return best / 1000


class NullPool:
    """Answers every request with one token at once."""

    def info(self, _model_id: str) -> EngineInfo | None:
        return None

    def is_ready(self) -> bool:
        return True

    def state(self, _model_id: str) -> dict[str, Any]:
        return {"state": "ready"}

    async def start(self) -> None:
        pass

    async def generate(self, _model_id: str, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        yield Started(1)
        for index in range(request.n_choices):
            yield Delta(index, "ok", 1, finish_reason="stop")
        yield Finished(Usage(1, request.n_choices))

    async def close(self) -> None:
        pass


def run_call(operation: str, raw: bytes, rounds: int) -> float:
    """As `whole_call_us`, on the kind of loop that the server runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(whole_call_us(operation, raw, rounds))


async def whole_call_us(operation: str, raw: bytes, rounds: int) -> float:
    """Microseconds of CPU of one ASGI call, in the quickest round."""
    app = create_app(
        Settings(models={MODEL: ModelSpec(id=MODEL, source="-", engine="fake")}), pool=NullPool()
    )
    path = "/v1/chat/completions" if operation == "createChatCompletion" else "/v1/completions"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"content-length", b"%d" % len(raw))],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    silence = asyncio.get_running_loop().create_future()
    statuses: list[int] = []

    async def call() -> None:
        parts = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if parts:
                return parts.pop()
            await silence
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await app(dict(scope), receive, send)

    await call()
    n_calls = max(20, 200_000 // len(raw))
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time_ns()
        for _ in range(n_calls):
            await call()
        best = min(best, (time.thread_time_ns() - began) / n_calls)
    assert set(statuses) == {200}, set(statuses)
    return best / 1000


if __name__ == "__main__":
    from scripts.bench import report

    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    report.show(run(parser.parse_args()))
