"""The composition root: settings in, application out.

The only place that knows all parts. Owns the lifespan: the pool is opened when the application starts and
closed when it stops. Event loop's thread.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from llmatic.api.auth import Authenticator
from llmatic.api.context import ApiContext
from llmatic.api.errors import invalid_url
from llmatic.api.gateway import RETRY_WHEN_DRAINING_S, Gateway
from llmatic.api.guard import Guard
from llmatic.api.operations import InProcess
from llmatic.api.routes import build_routes
from llmatic.api.status import StatusViews
from llmatic.api.validation import Contract
from llmatic.config import Settings
from llmatic.core.errors import Unavailable
from llmatic.core.metrics import Metrics
from llmatic.core.ports import EnginePool
from llmatic.engines.installed import served
from llmatic.registry import Registry
from llmatic.services.batches.service import Batches
from llmatic.services.capabilities import KnownCapabilities
from llmatic.services.exposure import has_tokens, may_be_open
from llmatic.services.generation import RunningCalls
from llmatic.services.ledger import Ledger
from llmatic.services.limiter import Limiter
from llmatic.services.media import MediaLoader
from llmatic.services.metering import Metering
from llmatic.services.recording import Recorder
from llmatic.services.stored import Stored, open_stored
from llmatic.services.tokens import Tokens
from llmatic.services.usage import UsageCounter
from llmatic.sources import cache_dir

_log = structlog.get_logger("llmatic.app")


class Application(Starlette):
    """The server as an ASGI application.

    `drain` turns new requests away; `n_in_flight` says how many are still being answered.
    """

    gateway: Gateway
    status: StatusViews
    calls: RunningCalls

    @property
    def n_in_flight(self) -> int:
        """Requests that are being answered now."""
        return self.gateway.n_in_flight

    def drain(self) -> None:
        """From now on answer new requests with 503; what runs goes on. Cannot be undone."""
        self.gateway.is_draining = True
        self.status.is_draining = True

    def give_up(self) -> None:
        """End what still runs: a stream with an error event, everything else with 503."""
        self.calls.give_up(Unavailable("The server is shutting down.", retry_after_s=RETRY_WHEN_DRAINING_S))


def create_app(
    settings: Settings, *, pool: EnginePool | None = None, stored: Stored | None = None
) -> Application:
    """The application; `pool` and `stored` are for tests and embedders.

    Without them model processes are started and the configured database is opened. Both are closed when the
    application stops. Raises ConfigError; Unavailable if the database cannot be used.
    """
    settings = without_missing(settings)
    metrics = Metrics()
    if stored is None:
        stored = open_stored(settings.store, settings.auth)
    if pool is None:
        pool = _process_pool(settings)
    registry = Registry(settings.models, started=int(time.time()))
    limits = settings.limits
    limiter = Limiter({"key": limits.keys, "token": limits.tokens, "anonymous": limits.anonymous})
    ledger = Ledger(stored.database, limiter, UsageCounter())
    context = ApiContext(
        settings=settings.server,
        registry=registry,
        pool=pool,
        contract=Contract.load(
            contract_path(), unknown_fields=settings.server.unknown_fields, copies=cache_dir()
        ),
        metrics=metrics,
        authenticator=Authenticator(
            settings.server.api_keys,
            stored.keys,
            Tokens(settings.auth) if has_tokens(settings.auth) else None,
            may_be_open=may_be_open(settings.server),
        ),
        calls=RunningCalls(),
        capabilities=KnownCapabilities(registry),
        media=MediaLoader(settings.media),
        stored=stored,
        metering=Metering(registry, metrics, ledger),
        batches=Batches(stored.database, stored.blobs, settings.batches),
        recorder=Recorder(stored.database, settings.recording, metrics),
    )
    workers = tuple(spec.id for spec in settings.models.values() if spec.base is None)
    metrics.watch_engines(partial(_states, pool, workers))
    status = StatusViews(context)
    app = Application(routes=build_routes(context, status), lifespan=_lifespan(context, pool, stored, ledger))
    app.router.redirect_slashes = False
    app.router.default = _unknown_path
    app.status = status
    app.calls = context.calls
    app.gateway = Gateway(
        app.router,
        guard=Guard(settings.server),
        authenticator=context.authenticator,
        metrics=metrics,
        metering=context.metering,
    )
    # The gateway writes every error itself; Starlette's own layers would only cost time on each token.
    app.middleware_stack = app.gateway
    return app


def without_missing(settings: Settings) -> Settings:
    """The settings without the optional models that lack something; logs which. Idempotent."""
    models, left_out = served(settings.models)
    for model_id, why in left_out.items():
        _log.info("model_left_out", model=model_id, why=why)
    return replace(settings, models=models) if left_out else settings


def contract_path() -> Path:
    """Where openapi.yaml lies: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "openapi.yaml"
    return inside if inside.is_file() else package.parent / "openapi.yaml"


def _process_pool(settings: Settings) -> EnginePool:
    from llmatic.engines import resolve_engine
    from llmatic.workers.pool import ProcessPool

    for spec in settings.models.values():
        # A misspelt kind must stop the start with a sentence, not with a failed lifespan.
        resolve_engine(spec.engine)
    return ProcessPool(settings.models, settings.workers)


def _states(pool: EnginePool, model_ids: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    return {model_id: pool.state(model_id) for model_id in model_ids}


def _lifespan(
    context: ApiContext, pool: EnginePool, stored: Stored, ledger: Ledger
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:
            closing.push_async_callback(stored.close)
            await ledger.open()
            closing.push_async_callback(ledger.close)
            context.recorder.open()
            closing.push_async_callback(context.recorder.close)
            stored.background.open()
            closing.push_async_callback(stored.background.close)  # the last to count anything
            await pool.start()
            closing.push_async_callback(pool.close)
            context.batches.start(InProcess(context))
            closing.push_async_callback(context.batches.close)
            sweeping = asyncio.create_task(stored.sweeper.run())
            closing.callback(sweeping.cancel)
            yield

    return lifespan


async def _unknown_path(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise invalid_url(scope["method"], scope["path"])
