"""Runs the application: the listening socket, the signals, the way out.

On SIGTERM or SIGINT the server drains: it goes on listening so that new requests get a 503 with
Retry-After instead of a refused connection, lets running streams end within `drain_timeout_s`, then
closes. A second signal ends running streams at once, with an error event; a third waits for nothing.
Never imports an engine. Main thread.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import resource
import socket
import sys
from types import FrameType
from typing import TextIO, cast

import structlog
import uvicorn

from llmatic.app import Application, create_app, without_missing
from llmatic.config import Settings
from llmatic.core.errors import ConfigError
from llmatic.core.priority import nice_this_thread
from llmatic.registry import Registry
from llmatic.services.capabilities import KnownCapabilities
from llmatic.services.exposure import require_keys
from llmatic.services.stored import data_dir, open_stored
from llmatic.web.index import curl_line

_POLL_S = 0.05
_CLOSE_TIMEOUT_S = 5
_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_MAX_FILES = 65_536
_log = structlog.get_logger("llmatic.server")


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which on a signal first drains and then shuts down."""

    def __init__(self, config: uvicorn.Config, app: Application, *, drain_timeout_s: float) -> None:
        super().__init__(config)
        self._application = app
        self._drain_timeout_s = drain_timeout_s
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application and the sockets, then step back behind the engines' threads."""
        await super().startup(sockets=sockets)
        # Only now: the thread that starts model processes inherits the priority of this one.
        nice_this_thread()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Signal handler, main thread: the first signal drains, the second ends everything at once."""
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self.drain())
        elif self.should_exit:
            self.force_exit = True
        else:
            self.should_exit = True

    async def drain(self) -> None:
        """Turn new requests away, wait for the running ones, then let the server stop."""
        app = self._application
        app.drain()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_timeout_s
        _log.info("draining", in_flight=app.n_in_flight, timeout_s=self._drain_timeout_s)
        while app.n_in_flight and loop.time() < deadline and not self.should_exit:
            await asyncio.sleep(_POLL_S)
        if app.n_in_flight:
            _log.warning("drain_cut_short", in_flight=app.n_in_flight)
            app.give_up()
        self.should_exit = True


def run(settings: Settings) -> None:
    """Serve until a signal ends it.

    Raises ConfigError if the address cannot be had, or if others can reach it and there is no key.
    """
    configure_logging(settings.server.log_level)
    allow_many_files()
    stored = open_stored(settings.store, settings.auth)
    if settings.auth.secret is None and (settings.store.url or "").startswith("postgresql"):
        _log.warning("auth_secret_not_set", why="keys that are made here open nothing on other servers")
    needs_key = require_keys(settings, stored.keys)
    _log.info("store opened", folder=str(settings.store.folder or data_dir(os.environ)))
    listener = listen(settings.server.host, settings.server.port)
    settings = without_missing(settings)
    app = create_app(settings, stored=stored)
    server = build_server(settings, app)
    announce(settings, listener, needs_key=needs_key)
    server.run(sockets=[listener])
    if not server.started:
        raise ConfigError("The server could not start; the log says why.")


def allow_many_files() -> None:
    """Raise the limit of open files, 1024 on many systems, as far as is allowed: a client is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with contextlib.suppress(ValueError, OSError):  # macOS: as many as the kernel's own limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def build_server(settings: Settings, app: Application) -> DrainingServer:
    """uvicorn around the application, set up for streams. Opens nothing."""
    config = uvicorn.Config(
        app,
        loop="auto",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
        backlog=_BACKLOG,
    )
    return DrainingServer(config, app, drain_timeout_s=settings.server.drain_timeout_s)


def listen(host: str, port: int) -> socket.socket:
    """A bound and listening socket, port 0 for any free one. Raises ConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    return listener


def configure_logging(level: str) -> None:
    """Structured lines on stderr, readable on a terminal, JSON otherwise."""
    number = logging.getLevelNamesMapping()[level.upper()]
    is_terminal = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if is_terminal else [structlog.processors.format_exc_info]),
        renderer,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lossy(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, format="%(message)s")


class _Lossy:
    """A stream that drops what cannot be written: when whoever read the log is gone, or the disk is full, no
    request and no shutdown may end for want of a line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def announce(settings: Settings, listener: socket.socket, *, needs_key: bool) -> None:
    """Print the address and one command to try; warn if strangers can reach it."""
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    base_url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    print(f"llmatic serves {', '.join(settings.models) or 'no models'} at {base_url}/v1 (pid {os.getpid()})")
    registry = Registry(settings.models, started=0)
    example = KnownCapabilities(registry).example(registry.specs())
    if example is not None:
        curl = curl_line(base_url, example[0], embeds=example[1] == "embed", needs_key=needs_key)
        print(f"Try it:\n\n    {curl}\n", flush=True)
    if not needs_key and not ipaddress.ip_address(host).is_loopback:
        print(
            "WARNING: the server is reachable from other machines and asks for no key. "
            "Make one with `llmatic keys create`, or listen on 127.0.0.1.",
            file=sys.stderr,
            flush=True,
        )
