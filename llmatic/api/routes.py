"""The URL table.

The API is served under three prefixes: /v1, where the SDKs look; /, the same without a version; /oaiv1, for
clients that name their key X-Api-Key. Paths that every request uses come first.
"""

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from llmatic.api.chat import parse_chat
from llmatic.api.completions import parse_completion
from llmatic.api.context import ApiContext
from llmatic.api.generate import GenerateEndpoint
from llmatic.api.models import ModelViews
from llmatic.api.replies import SlowView, View
from llmatic.api.resource import Resource
from llmatic.api.status import StatusViews

PREFIXES = ("/v1", "", "/oaiv1")


def build_routes(context: ApiContext, status: StatusViews) -> list[BaseRoute]:
    """Every path that this server answers."""
    routes = [route for prefix in PREFIXES for route in _api_routes(context, prefix, status)]
    for path, view in (
        ("/", status.index),
        ("/healthz", status.health),
        ("/readyz", status.ready),
        ("/metrics", status.metrics),
        ("/openapi.yaml", status.contract),
    ):
        routes.append(_route(path, GET=View(view)))
    return routes


def _api_routes(context: ApiContext, prefix: str, status: StatusViews) -> list[BaseRoute]:
    models = ModelViews(context.registry, context.pool, context.capabilities)
    owns_user = prefix == "/oaiv1"

    def chat(operation_id: str) -> ASGIApp:
        return GenerateEndpoint(context, operation_id, "chatcmpl", parse_chat, owns_user=owns_user)

    def completion(operation_id: str) -> ASGIApp:
        return GenerateEndpoint(context, operation_id, "cmpl", parse_completion, owns_user=owns_user)

    routes = [
        _route(f"{prefix}/chat/completions", POST=chat("createChatCompletion")),
        _route(f"{prefix}/completions", POST=completion("createCompletion")),
        _route(f"{prefix}/models", GET=SlowView(models.list_models)),
        _route(f"{prefix}/models/{{model:path}}/status", GET=View(status.model)),
        _route(f"{prefix}/models/{{model:path}}", GET=SlowView(models.retrieve_model)),
        _route(f"{prefix}/engines", GET=View(models.list_engines)),
        _route(
            f"{prefix}/engines/{{engine_id:path}}/chat/completions",
            POST=chat("createEngineChatCompletion"),
        ),
        _route(
            f"{prefix}/engines/{{engine_id:path}}/completions",
            POST=completion("createEngineCompletion"),
        ),
        _route(f"{prefix}/engines/{{engine_id:path}}", GET=View(models.retrieve_engine)),
    ]
    if prefix == "/oaiv1":
        routes.append(_route(f"{prefix}/getmodels", GET=SlowView(models.list_models)))
    return routes


def _route(path: str, **methods: ASGIApp) -> BaseRoute:
    return Route(path, Resource(path, methods))
