"""The one middleware: what holds for every request, whatever its path.

Gives each request an id and every reply its standing headers, lets only our hosts and allowed origins in,
answers CORS preflights, names the caller, turns new work away while the server drains, writes errors, and
counts. One pure-ASGI layer instead of several, since each costs time on every token. Event loop's thread.
"""

import time
from collections.abc import Awaitable
from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmatic.api.auth import Authenticator
from llmatic.api.errors import ClientGone, Headers, error_headers, server_fault
from llmatic.api.families import OPENAI, Family, family_of
from llmatic.api.guard import Guard, cors_headers, preflight_headers
from llmatic.api.ids import request_id
from llmatic.api.replies import send_bytes
from llmatic.api.resource import Resource
from llmatic.api.stream_token import token_in_query
from llmatic.core.errors import LlmaticError, Unauthorized, Unavailable
from llmatic.core.metrics import Metrics
from llmatic.core.principal import Principal
from llmatic.services.metering import Metering

PUBLIC_PATHS = frozenset({"/", "/healthz", "/readyz", "/openapi.yaml"})
ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})
CLIENT_GONE_STATUS = 499
RETRY_WHEN_DRAINING_S = 5.0

_log = structlog.get_logger("llmatic.api")


@dataclass(slots=True)
class _Exchange:
    """One request and what has become of its reply."""

    id: str
    started_s: float
    family: Family = OPENAI
    origin: bytes | None = None
    status: int = 0
    principal: Principal | None = None


class _Wanted:
    """The headers that the gateway itself reads, found in one pass."""

    __slots__ = (
        "anthropic_version",
        "authorization",
        "hosts",
        "is_torn",
        "origin",
        "preflight_headers",
        "preflight_method",
        "x_api_key",
    )

    def __init__(self, headers: Headers) -> None:
        self.hosts: list[bytes] = []
        self.origin: bytes | None = None
        self.authorization: bytes | None = None
        self.x_api_key: bytes | None = None
        self.is_torn = False  # a header that can stand once only stands there with two values
        self.anthropic_version: bytes | None = None
        self.preflight_method: bytes | None = None
        self.preflight_headers: bytes | None = None
        for name, value in headers:
            if name == b"host":
                self.hosts.append(value)
            elif name == b"authorization":
                self.is_torn |= self.authorization not in (None, value)
                self.authorization = value
            elif name == b"origin":
                self.origin = value
            elif name == b"x-api-key":
                self.is_torn |= self.x_api_key not in (None, value)
                self.x_api_key = value
            elif name == b"access-control-request-method":
                self.preflight_method = value
            elif name == b"access-control-request-headers":
                self.preflight_headers = value
            elif name == b"anthropic-version":
                self.anthropic_version = value


class Gateway:
    """ASGI middleware around the router.

    Sets `scope["llmatic.principal"]` to the caller and `scope["llmatic.client"]` to its id, both None for an
    unknown caller of a public path, and `scope["llmatic.family"]` to the family that the request belongs to.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        guard: Guard,
        authenticator: Authenticator,
        metrics: Metrics,
        metering: Metering,
    ) -> None:
        self._app = app
        self._metering = metering
        self._guard = guard
        self._authenticator = authenticator
        self._metrics = metrics
        self.n_in_flight = 0
        self.is_draining = False
        metrics.in_flight.set_function(lambda: self.n_in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; nothing is raised for what a client can do."""
        if scope["type"] != "http":
            await self._pass_on(scope, receive, send)
            return
        exchange = _Exchange(request_id(), time.perf_counter())
        scope["llmatic.request_id"] = exchange.id
        respond = self._responder(exchange, send)
        self.n_in_flight += 1
        try:
            await self._serve(exchange, scope, receive, respond)
        except ClientGone:
            exchange.status = CLIENT_GONE_STATUS
        except LlmaticError as error:
            await self._fail(exchange, error, respond)
        except Exception:
            _log.exception("request_failed", request_id=exchange.id, path=scope["path"])
            await self._fail(exchange, server_fault(), respond)
        finally:
            self.n_in_flight -= 1
            self._count(exchange, scope)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, exchange: _Exchange, scope: Scope, receive: Receive, respond: Send) -> None:
        wanted = _Wanted(scope["headers"])
        if wanted.authorization is None and wanted.x_api_key is None:
            wanted.authorization = token_in_query(scope["path"], scope.get("query_string", b""))
        scope["llmatic.family"] = exchange.family = family_of(scope["path"], wanted.anthropic_version)
        if self._guard.check(wanted.hosts, wanted.origin):
            exchange.origin = wanted.origin
            if scope["method"] == "OPTIONS" and wanted.preflight_method is not None:
                await self._answer_preflight(wanted, exchange, respond)
                return
        path = scope["path"]
        if self.is_draining and path not in ALWAYS_ANSWERED:
            raise Unavailable(
                "The server is shutting down. Please retry your request later.",
                retry_after_s=RETRY_WHEN_DRAINING_S,
            )
        principal = await self._principal(wanted, is_public=path in PUBLIC_PATHS)
        scope["llmatic.principal"] = exchange.principal = principal
        scope["llmatic.client"] = None if principal is None else principal.id
        await self._app(scope, receive, respond)

    async def _principal(self, wanted: _Wanted, *, is_public: bool) -> Principal | None:
        try:
            if wanted.is_torn and not await self._authenticator.is_open():
                # A proxy before us may have looked at the other one.
                raise Unauthorized("You sent two different API keys in headers of the same name. Send one.")
            return await self._authenticator.identify(wanted.authorization, wanted.x_api_key)
        except (Unauthorized, Unavailable):
            if is_public:  # they are answered also while the database is gone
                return None
            raise

    async def _answer_preflight(self, wanted: _Wanted, exchange: _Exchange, respond: Send) -> None:
        exchange.origin = None
        headers = preflight_headers(wanted.origin or b"", wanted.preflight_headers)
        await respond({"type": "http.response.start", "status": 204, "headers": headers})
        await respond({"type": "http.response.body", "body": b""})

    async def _fail(self, exchange: _Exchange, error: LlmaticError, respond: Send) -> None:
        if exchange.status:
            return
        headers = error_headers(error)
        if self.is_draining:
            headers.append((b"connection", b"close"))
        body = exchange.family.error_body(error, exchange.id)
        await send_bytes(respond, body, status=exchange.family.status(error), headers=headers)

    def _responder(self, exchange: _Exchange, send: Send) -> Send:
        """`send`, with the standing headers put into the reply's start."""

        def respond(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                elapsed_ms = int((time.perf_counter() - exchange.started_s) * 1000)
                headers = message["headers"]
                headers.append((b"x-request-id", exchange.id.encode("ascii")))
                headers.append((b"openai-processing-ms", b"%d" % elapsed_ms))
                headers.extend(exchange.family.headers(exchange.id))
                if exchange.principal is not None:
                    headers.extend(self._metering.headers(exchange.principal))
                if exchange.origin is not None:
                    headers.extend(cors_headers(exchange.origin))
            return send(message)

        return respond

    def _count(self, exchange: _Exchange, scope: Scope) -> None:
        endpoint = scope.get("endpoint")
        route = endpoint.route if isinstance(endpoint, Resource) else "none"
        elapsed_s = time.perf_counter() - exchange.started_s
        self._metrics.count_request(route, exchange.status or CLIENT_GONE_STATUS, elapsed_s)
        _log.debug(
            "request",
            request_id=exchange.id,
            route=route,
            method=scope["method"],
            status=exchange.status,
            client=scope.get("llmatic.client"),
            user=scope.get("llmatic.user"),
            seconds=elapsed_s,
        )
