"""What the server says of itself: the page at /, /healthz, /readyz, /metrics, /openapi.yaml.

And how each model is doing, at /models/{model}/status. Event loop's thread.
"""

from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import Scope

from llmatic import __version__
from llmatic.api.context import ApiContext
from llmatic.api.model_status import load_line, status_object
from llmatic.api.models import model_object
from llmatic.api.replies import Answer
from llmatic.config import ModelSpec
from llmatic.core.errors import Forbidden
from llmatic.core.metrics import CONTENT_TYPE
from llmatic.core.principal import NOBODY
from llmatic.registry import Registry
from llmatic.web.index import ModelLine, curl_line, render_index

_RETRY_S = b"2"
_PAGE_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


class StatusViews:
    """Replies of these paths. `is_draining` says whether the server is about to stop."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._contract = context.contract.document_bytes()
        self.is_draining = False

    def index(self, scope: Scope) -> Answer:
        """A page for people; the same as JSON for programs that ask for it."""
        headers = Headers(scope=scope)
        registry = self._seen(scope)
        lines = [self._line(spec) for spec in registry.specs()]
        fresh = [(b"vary", b"Accept"), (b"cache-control", b"no-store")]
        if wants_json(headers.get("accept", "")):
            facts = {
                "name": "llmatic",
                "version": __version__,
                "models": [
                    {"id": line.id, "aliases": list(line.aliases), "state": line.state} for line in lines
                ],
            }
            return Answer(orjson.dumps(facts), headers=fresh)
        base_url, needs_key = _base_url(scope, headers), not self._is_open()
        example, kind = self._context.capabilities.example(registry.specs()) or ("YOUR_MODEL", "write")
        curl = curl_line(base_url, example, embeds=kind == "embed", needs_key=needs_key)
        page = render_index(lines, base_url=base_url, curl=curl, needs_key=needs_key)
        return Answer(
            page,
            content_type=b"text/html; charset=utf-8",
            headers=[*fresh, (b"content-security-policy", _PAGE_POLICY)],
        )

    def health(self, _scope: Scope) -> Answer:
        """The event loop turns."""
        return Answer(b'{"status":"ok"}')

    def ready(self, scope: Scope) -> Answer:
        """Every preloaded model has decoded a token, and no shutdown is under way."""
        is_ready = self._context.pool.is_ready() and not self.is_draining
        body: dict[str, Any] = {
            "status": "ready" if is_ready else "draining" if self.is_draining else "loading"
        }
        if scope["llmatic.principal"] is not None:
            body["models"] = {spec.id: self._state(spec.id) for spec in self._seen(scope).specs()}
        raw = orjson.dumps(body, default=str)
        return Answer(raw) if is_ready else Answer(raw, status=503, headers=[(b"retry-after", _RETRY_S)])

    def model(self, scope: Scope) -> Answer:
        """How one model is doing. Raises ModelNotFound."""
        name: str = scope["path_params"]["model"]
        registry = self._seen(scope)
        whole = f"{name}/status"
        if registry.knows(whole):  # a model may be called so, and this is then its own path
            spec = registry.resolve(whole)
            can = self._context.capabilities.of(spec, self._context.pool.info(spec.id))
            return Answer(orjson.dumps(model_object(whole, spec, registry.started, can)))
        spec = registry.resolve(name)
        fresh = [(b"cache-control", b"no-store")]
        return Answer(orjson.dumps(status_object(name, spec, self._state(spec.id))), headers=fresh)

    def metrics(self, scope: Scope) -> Answer:
        """Prometheus' text format. Raises Forbidden for who may not know of all models."""
        if scope["llmatic.principal"].models is not None:
            raise Forbidden("The metrics name every model, and this key is for some of them only.")
        return Answer(self._context.metrics.render(), content_type=CONTENT_TYPE.encode("ascii"))

    def contract(self, _scope: Scope) -> Answer:
        """The contract that requests are checked against, byte for byte."""
        return Answer(self._contract, content_type=b"application/yaml")

    def _line(self, spec: ModelSpec) -> ModelLine:
        state, info = self._state(spec.id), self._context.pool.info(spec.id)
        return ModelLine(
            id=spec.id,
            aliases=spec.aliases,
            state=str(state.get("state", "unknown")),
            description=info.description if info is not None else "",
            load=load_line(status_object(spec.id, spec, state)) if spec.base is None else f"by {spec.base}",
        )

    def _seen(self, scope: Scope) -> Registry:
        # What runs here is as private as /models, but these pages themselves need no key.
        return self._context.registry.seen_by(scope["llmatic.principal"] or NOBODY)

    def _is_open(self) -> bool:
        return self._context.authenticator.was_open

    def _state(self, model_id: str) -> dict[str, Any]:
        return dict(self._context.pool.state(model_id))


def wants_json(accept: str) -> bool:
    """Whether an Accept header puts JSON before HTML; a browser's and curl's do not."""
    accept = accept.lower()
    json_at, html_at = accept.find("application/json"), accept.find("text/html")
    return json_at >= 0 and (html_at < 0 or json_at < html_at)


def _base_url(scope: Scope, headers: Headers) -> str:
    return f"{scope['scheme']}://{headers.get('host', 'localhost')}"
