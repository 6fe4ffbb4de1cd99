"""The URL table.

The API is served under three prefixes: /v1, where the SDKs look; /, the same without a version; /oaiv1, for
clients that name their key X-Api-Key. Paths that every request uses come first.
"""

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from llmatic.api.answers import serve_answers
from llmatic.api.chat import parse_chat
from llmatic.api.classifications import serve_classifications
from llmatic.api.completions import parse_completion
from llmatic.api.context import ApiContext
from llmatic.api.edits import serve_edits
from llmatic.api.embeddings import serve_embeddings
from llmatic.api.endpoint import JsonEndpoint, Serve
from llmatic.api.generate import GenerateEndpoint
from llmatic.api.models import ModelViews
from llmatic.api.moderations import serve_moderation
from llmatic.api.replies import SlowView, View
from llmatic.api.rerank import serve_rerank
from llmatic.api.resource import Resource
from llmatic.api.search import serve_search
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
    # Where newer Cohere clients look.
    routes.append(_route("/v2/rerank", POST=JsonEndpoint(context, "createRerankV2", serve_rerank)))
    return routes


def _api_routes(context: ApiContext, prefix: str, status: StatusViews) -> list[BaseRoute]:
    models = ModelViews(context.registry, context.pool, context.capabilities)
    owns_user = prefix == "/oaiv1"

    def chat(operation_id: str) -> ASGIApp:
        return GenerateEndpoint(context, operation_id, "chatcmpl", parse_chat, owns_user=owns_user)

    def completion(operation_id: str) -> ASGIApp:
        return GenerateEndpoint(context, operation_id, "cmpl", parse_completion, owns_user=owns_user)

    def json(operation_id: str, serve: Serve) -> ASGIApp:
        return JsonEndpoint(context, operation_id, serve, owns_user=owns_user)

    routes = [
        _route(f"{prefix}/chat/completions", POST=chat("createChatCompletion")),
        _route(f"{prefix}/completions", POST=completion("createCompletion")),
        _route(f"{prefix}/embeddings", POST=json("createEmbedding", serve_embeddings)),
        _route(f"{prefix}/moderations", POST=json("createModeration", serve_moderation)),
        _route(f"{prefix}/rerank", POST=json("createRerank", serve_rerank)),
        _route(f"{prefix}/edits", POST=json("createEdit", serve_edits)),
        _route(f"{prefix}/answers", POST=json("createAnswer", serve_answers)),
        _route(f"{prefix}/classifications", POST=json("createClassification", serve_classifications)),
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
        _route(
            f"{prefix}/engines/{{engine_id:path}}/embeddings",
            POST=json("createEngineEmbedding", serve_embeddings),
        ),
        _route(f"{prefix}/engines/{{engine_id:path}}/search", POST=json("createSearch", serve_search)),
        _route(f"{prefix}/engines/{{engine_id:path}}/edits", POST=json("createEngineEdit", serve_edits)),
        _route(f"{prefix}/engines/{{engine_id:path}}", GET=View(models.retrieve_engine)),
    ]
    if prefix == "/oaiv1":
        routes.append(_route(f"{prefix}/getmodels", GET=SlowView(models.list_models)))
    return routes


def _route(path: str, **methods: ASGIApp) -> BaseRoute:
    return Route(path, Resource(path, methods))
