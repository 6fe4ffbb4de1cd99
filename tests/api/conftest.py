"""The real application behind a real socket, with a pool that plays scripts."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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

    def __post_init__(self) -> None:
        self.http = httpx2.Client(base_url=self.url, timeout=WAIT_S)

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def sdk(self, api_key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self.base_url, api_key=api_key, max_retries=0, _strict_response_validation=True
        )

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

    def stop(self) -> None:
        self.http.close()
        self.server.should_exit = True
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Start a server with the given `server:` settings; all are stopped at the end of the session.

    Without `store` the session's servers share one database.
    """
    running: list[Served] = []

    def start(
        models: Mapping[str, ModelSpec] | None = None,
        store: StoreSettings | None = None,
        auth: AuthSettings | None = None,
        limits: LimitSettings | None = None,
        recording: RecordingSettings | None = None,
        **server: object,
    ) -> Served:
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
        return served

    yield start
    living = [served for served in running if served.thread.is_alive()]
    for served in living:
        served.server.should_exit = True  # each takes half a second: all at once
    for served in living:
        served.stop()


@pytest.fixture(scope="session")
def plain_server(serve: Serve) -> Served:
    """One server with default settings."""
    return serve()


@pytest.fixture
def api(plain_server: Served) -> Served:
    """The server with default settings, its pool as new."""
    plain_server.pool.reset()
    return plain_server
