"""What a request costs more with a key, a token or limits than without, and what its recording costs.

Whole ASGI calls in one process with a pool that answers at once, from the scope to the reply's last byte.
Every case is an application with a database of its own on the disk; they take turns, round by round, and
the difference to the open one is taken within each round, so that a machine that becomes slower meanwhile
does not count. Then the same over a socket, where client and server share the processor.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from llmatic.app import Application, create_app
from llmatic.config import AuthSettings, ModelSpec, RecordingSettings, ServerSettings, Settings, StoreSettings
from llmatic.services.stored import open_stored
from scripts.bench import keepalive, processes, servers
from scripts.bench.report import Bar, Report
from scripts.bench.validation import MODEL, NullPool

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Say this is a test"}]
SECRET = "0123456789abcdef" * 4
OPEN, RECORDED, STORED = "open", "recorded", "store: true"
LIMITS = {
    "requests_per_minute": 10**9,
    "tokens_per_minute": 10**9,
    "concurrent_requests": 10**6,
    "tokens_per_day": 10**12,
    "queue_share": 100,
}
KEY_BAR_US = 150.0
RECORDING_BAR_US = 1000.0
N_COLD = 40
TURN, WARMED_UP = 50, 10  # requests over a socket
COLUMNS = ("case", "median_us", "more_us", "mean_us", "p95_us", "first_us", "socket_us", "socket_more_us")

Call = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Case:
    """One way of asking. `first`: calls that ask for the first time, each with a key of its own."""

    name: str
    call: Call
    first: Sequence[Call] = ()
    medians: list[float] = field(default_factory=list)
    all_us: list[float] = field(default_factory=list)


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--rounds", type=int, default=15, help="in each of which every case has a turn")
    command.add_argument("--calls", type=int, default=200, help="requests of a turn")
    command.add_argument("--requests", type=int, default=1500, help="over a socket, of each case; 0: none")


def run(arguments: argparse.Namespace) -> Report:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(dir=arguments.cache) as folder:
        rows = keepalive.run(_in_process(Path(folder), arguments.rounds, arguments.calls))
        if arguments.requests:
            over = _over_sockets(arguments, Path(folder))
            rows = [row[:-2] + over.get(row[0], ("", "")) for row in rows]
    more = {row[0]: row[2] for row in rows}
    bars = [
        Bar(f"{name}: more than an open request", us, "at most", KEY_BAR_US, "us")
        for name, us in more.items()
        if name not in (OPEN, RECORDED, STORED)
    ]
    bars.append(Bar("recording: more than without", more[RECORDED], "at most", RECORDING_BAR_US, "us"))
    return Report("request-cost", COLUMNS, rows, bars, {"machine": processes.machine()})


async def _in_process(folder: Path, rounds: int, n_calls: int) -> list[tuple[Any, ...]]:
    async with contextlib.AsyncExitStack() as stack:
        cases = await _cases(stack, folder)
        for case in cases:
            await _timed(case.call, n_calls // 4)
        for number in range(rounds):
            # Neither first nor last always.
            for case in cases[number % len(cases) :] + cases[: number % len(cases)]:
                taken = await _timed(case.call, n_calls)
                case.medians.append(statistics.median(taken))
                case.all_us += taken
        return [await _row(case, cases[0]) for case in cases]


async def _row(case: Case, plain: Case) -> tuple[Any, ...]:
    more = statistics.median(mine - its for mine, its in zip(case.medians, plain.medians, strict=True))
    first = [(await _timed(call, 1))[0] for call in case.first]
    late = sorted(case.all_us)[int(len(case.all_us) * 0.95)]
    middle = statistics.median(case.medians)
    shown = round(statistics.median(first), 1) if first else ""
    mean = statistics.fmean(case.all_us)
    return case.name, round(middle, 1), round(more, 1), round(mean, 1), round(late, 1), shown, "", ""


async def _cases(stack: contextlib.AsyncExitStack, folder: Path) -> list[Case]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    shown = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(private.public_key()))
    (folder / "set.json").write_text(json.dumps({"keys": [{**shown, "kid": "r"}]}), encoding="utf-8")

    async def opened(name: str, **settings: Any) -> Application:
        return await stack.enter_async_context(_application(folder / name, **settings))

    def secretly(name: str) -> str:
        return jwt.encode(_claims(name), SECRET)

    def publicly(name: str) -> str:
        return jwt.encode(_claims(name), private, "RS256", headers={"kid": "r"})

    plain, stored = await opened("open"), await opened("stored")
    recorded = await opened("recorded", recording=RecordingSettings(enabled=True))
    configured = await opened("configured", server=ServerSettings(api_keys=("k" * 40,)))
    by_secret = await opened("secret", auth=AuthSettings(jwt_secret=SECRET))
    by_keys = await opened("keys", auth=AuthSettings(jwt_keys=str(folder / "set.json")))
    database = await opened("database")
    keys = [await _new_key(database) for _ in range(N_COLD + 1)]
    limited = [await _new_key(database, limits=LIMITS) for _ in range(N_COLD + 1)]
    return [
        Case(OPEN, _call(plain)),
        Case("key of the configuration", _call(configured, "k" * 40)),
        _tried_first("key of the database", database, keys),
        _tried_first("key with all limits", database, limited),
        _tried_first("token, HS256", by_secret, [secretly(f"u{k}") for k in range(N_COLD + 1)]),
        _tried_first("token, RS256", by_keys, [publicly(f"u{k}") for k in range(N_COLD + 1)]),
        Case(RECORDED, _call(recorded)),
        Case(STORED, _call(stored, store=True)),
    ]


def _tried_first(name: str, app: Application, keys: Sequence[str]) -> Case:
    return Case(name, _call(app, keys[0]), [_call(app, key) for key in keys[1:]])


def _claims(owner: str) -> dict[str, Any]:
    return {"sub": owner, "exp": int(time.time()) + 3600}


@contextlib.asynccontextmanager
async def _application(folder: Path, **settings: Any) -> AsyncGenerator[Application]:
    """A server without a socket, its lifespan begun."""
    spec = ModelSpec(id=MODEL, source="-", engine="fake")
    wanted = replace(Settings(models={MODEL: spec}, store=StoreSettings(folder=str(folder))), **settings)
    stored = open_stored(wanted.store, wanted.auth)
    app = create_app(wanted, pool=NullPool(), stored=stored)  # type: ignore[arg-type]
    async with app.router.lifespan_context(app):
        yield app


async def _new_key(app: Application, **rights: Any) -> str:
    keys = app.gateway._authenticator._keys
    assert keys is not None
    return (await keys.create("bench", **rights))[1]


def _call(app: Application, key: str | None = None, **fields: Any) -> Call:
    """One request to the application; raises AssertionError if it is not answered with 200."""
    raw = orjson.dumps({"model": MODEL, "messages": MESSAGES, "max_tokens": 20, **fields})
    headers = [(b"host", b"127.0.0.1:8000"), (b"content-length", b"%d" % len(raw))]
    headers += [(b"authorization", b"Bearer " + key.encode())] if key else []
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": PATH, "raw_path": PATH.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    silence: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def call() -> None:
        parts = [{"type": "http.request", "body": raw, "more_body": False}]
        status = 0

        async def receive() -> dict[str, Any]:
            if parts:
                return parts.pop()
            await silence
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]

        await app(dict(scope), receive, send)
        assert status == 200, status

    return call


async def _timed(call: Call, n_calls: int) -> list[float]:
    """Microseconds of each call."""
    taken = []
    for _ in range(n_calls):
        began = time.perf_counter_ns()
        await call()
        taken.append((time.perf_counter_ns() - began) / 1000)
    return taken


def _over_sockets(arguments: argparse.Namespace, folder: Path) -> dict[str, tuple[float, float]]:
    """Median and difference to the open server, in microseconds, by case; two servers, taking turns."""
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(_server(arguments.cache, folder / "socket-open", {}))
        closed = stack.enter_context(_server(arguments.cache, folder / "socket-keys", {"jwt_secret": SECRET}))
        kept = stack.enter_context(
            _server(arguments.cache, folder / "socket-kept", {}, recording={"enabled": True})
        )
        keys = _keys_of(folder / "socket-keys")
        cases = {
            OPEN: (plain.port, "none"),
            "key of the database": (closed.port, keys[0]),
            "key with all limits": (closed.port, keys[1]),
            "token, HS256": (closed.port, jwt.encode(_claims("u"), SECRET)),
            RECORDED: (kept.port, "none"),
        }
        found = keepalive.run(_asked(cases, arguments.requests))
    plain_us = found[OPEN]
    return {name: (round(us, 1), round(us - plain_us, 1)) for name, us in found.items()}


@contextlib.contextmanager
def _server(cache: Path, folder: Path, auth: dict[str, Any], **more: Any) -> Iterator[servers.Server]:
    """`llmatic serve` with the fake engine and a folder of its own."""
    port = servers.free_port()
    folder.mkdir()
    config = folder / "config.yaml"
    written = {"models": {MODEL: {"engine": "fake", "source": "none", "preload": True}}, "auth": auth, **more}
    config.write_text(json.dumps(written), encoding="utf-8")
    command = [servers.llmatic_command(), "serve", "--config", str(config), "--port", str(port)]
    environ = {"LLMATIC_DATA_DIR": str(folder), "LLMATIC_LOG_LEVEL": "warning"}
    with servers.running("request-cost", command, port, cache, "/healthz", environ) as server:
        yield server


def _keys_of(folder: Path) -> list[str]:
    """A key without limits and one with all of them, made in the server's database."""

    async def made() -> list[str]:
        stored = open_stored(StoreSettings(folder=str(folder)), AuthSettings(), os.environ)
        try:
            return [(await stored.keys.create("bench", limits=limits))[1] for limits in ({}, LIMITS)]
        finally:
            await stored.close()

    return asyncio.run(made())


async def _asked(cases: dict[str, tuple[int, str]], n_requests: int) -> dict[str, float]:
    body = orjson.dumps({"model": MODEL, "messages": MESSAGES, "max_tokens": 1})
    requests = {
        name: keepalive.http_request(PATH, body).replace(b"Bearer x", b"Bearer " + key.encode())
        for name, (_, key) in cases.items()
    }
    lines = {name: await keepalive.Connection.open(port) for name, (port, _) in cases.items()}
    taken: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(-(-n_requests // TURN)):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            for number in range(WARMED_UP + TURN):  # another server had the processor before
                began = time.perf_counter_ns()
                await lines[name].ask(requests[name])
                if number >= WARMED_UP:
                    taken[name].append((time.perf_counter_ns() - began) / 1000)
    for line in lines.values():
        line.close()
    return {name: statistics.median(found) for name, found in taken.items()}
