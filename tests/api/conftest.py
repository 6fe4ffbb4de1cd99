"""The real application behind a real socket, with a pool that plays scripts."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2
import openai
import pytest

from llmatic.app import Application, create_app
from llmatic.config import (
    AuthSettings,
    LimitSettings,
    ModelSpec,
    RecordingSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)
from llmatic.server import DrainingServer, build_server, listen
from llmatic.services.stored import Stored, open_stored
from tests.fakes import SPEC, FakePool

WAIT_S = 10.0


@dataclass
class Served:
    """A running server and what is behind it."""

    url: str
    pool: FakePool
    app: Application
    server: DrainingServer
    thread: threading.Thread
    stored: Stored
    http: httpx2.Client = field(init=False)
    clients: dict[str, openai.OpenAI] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http = httpx2.Client(base_url=self.url, timeout=WAIT_S)

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def sdk(self, api_key: str = "none") -> openai.OpenAI:
        """One for each key, closed with the server; it takes nothing that its types do not say."""
        known = self.clients.get(api_key)
        if known is None or known.is_closed():
            known = self.clients[api_key] = openai.OpenAI(
                base_url=self.base_url,
                api_key=api_key,
                admin_api_key=api_key,
                max_retries=0,
                _strict_response_validation=True,
            )
        return known

    def async_sdk(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=self.base_url, api_key="none", max_retries=0, _strict_response_validation=True
        )

    def make_key(self, name: str = "test", **rights: Any) -> str:
        """A key of the server's database, which must be its own: from now on it asks for keys."""
        return asyncio.run(self.stored.keys.create(name, **rights))[1]

    def chat(self, **fields: object) -> httpx2.Response:
        body = {"model": SPEC.id, "messages": [{"role": "user", "content": "Hi"}], **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def completion(self, **fields: object) -> httpx2.Response:
        return self.http.post("/v1/completions", json={"model": SPEC.id, "prompt": "Hi", **fields})

    def leave(self) -> None:
        """Begin to stop, which takes half a second."""
        self.http.close()
        for client in self.clients.values():
            client.close()
        self.server.should_exit = True

    def stop(self) -> None:
        self.leave()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


Serve = Callable[..., Served]


def start(
    running: list[Served],
    models: Mapping[str, ModelSpec] | None = None,
    store: StoreSettings | None = None,
    auth: AuthSettings | None = None,
    limits: LimitSettings | None = None,
    recording: RecordingSettings | None = None,
    **server: object,
) -> Served:
    """A server with the given `server:` settings, which is added to those that run."""
    settings = Settings(
        server=ServerSettings(host="127.0.0.1", port=0, **server),  # type: ignore[arg-type]
        models=models or {SPEC.id: SPEC},
        store=store or StoreSettings(),
        auth=auth or AuthSettings(),
        limits=limits or LimitSettings(),
        recording=recording or RecordingSettings(),
    )
    pool = FakePool()
    stored = open_stored(settings.store, settings.auth)
    app = create_app(settings, pool=pool, stored=stored)
    listener = listen("127.0.0.1", 0)
    uvicorn_server = build_server(settings, app)
    thread = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    served = Served(f"http://127.0.0.1:{port}", pool, app, uvicorn_server, thread, stored)
    running.append(served)
    served.http.get("/healthz")  # it is up once it answers: what tests then do to it is not done to its start
    return served


@pytest.fixture(scope="session")
def leaving() -> Iterator[list[Served]]:
    """Servers that must have stopped at the end of the session; most were told to before."""
    left: list[Served] = []
    yield left
    for served in left:
        served.stop()


@pytest.fixture(scope="module")
def serve(leaving: list[Served]) -> Iterator[Serve]:
    """Start a server with the given `server:` settings; all are told to stop at the end of the module.

    Without `store` the session's servers share one database.
    """
    running: list[Served] = []
    yield partial(start, running)
    for served in running:
        served.leave()
    leaving.extend(running)


@pytest.fixture(scope="session")
def plain_server(leaving: list[Served]) -> Served:
    """One server with default settings."""
    return start(leaving)


@pytest.fixture
def api(plain_server: Served) -> Served:
    """The server with default settings, its pool as new."""
    plain_server.pool.reset()
    return plain_server
