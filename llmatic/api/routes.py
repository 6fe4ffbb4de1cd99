"""The URL table.

The API is served under three prefixes: /v1, where the SDKs look; /, the same without a version; /oaiv1, for
clients that name their key X-Api-Key. Paths that every request uses come first. The word after a path is the
scope that callers need for it; None: whoever is let in, and for public paths everybody.
"""

from starlette.routing import BaseRoute

from llmatic.api.admin_routes import admin_routes
from llmatic.api.batches import cancel_batch, create_batch, list_batches, retrieve_batch
from llmatic.api.context import ApiContext
from llmatic.api.endpoint import JsonEndpoint
from llmatic.api.file_routes import file_routes
from llmatic.api.inference_routes import engine_routes, inference_routes
from llmatic.api.models import ModelViews
from llmatic.api.query import QueryEndpoint
from llmatic.api.replies import SlowView, View
from llmatic.api.rerank import serve_rerank
from llmatic.api.resource import route
from llmatic.api.response_routes import response_routes
from llmatic.api.run_routes import run_routes, stored_chat_routes
from llmatic.api.status import StatusViews

PREFIXES = ("/v1", "", "/oaiv1")


def build_routes(context: ApiContext, status: StatusViews) -> list[BaseRoute]:
    """Every path that this server answers."""
    routes = [one for prefix in PREFIXES for one in _api_routes(context, prefix, status)]
    for path, view in (
        ("/", status.index),
        ("/healthz", status.health),
        ("/readyz", status.ready),
        ("/metrics", status.metrics),
        ("/openapi.yaml", status.contract),
    ):
        routes.append(route(path, None, GET=View(view)))
    routes += run_routes(context)
    # Where newer Cohere clients look.
    routes.append(
        route("/v2/rerank", "inference", POST=JsonEndpoint(context, "createRerankV2", serve_rerank))
    )
    return routes


def _api_routes(context: ApiContext, prefix: str, status: StatusViews) -> list[BaseRoute]:
    models = ModelViews(context.registry, context.pool, context.capabilities)
    owns_user = prefix == "/oaiv1"
    return [
        *inference_routes(context, prefix, owns_user=owns_user),
        *response_routes(context, prefix, owns_user=owns_user),
        *_batch_routes(context, prefix),
        *file_routes(context, prefix),
        *stored_chat_routes(context, prefix),
        *admin_routes(context, prefix),
        route(f"{prefix}/models", None, GET=SlowView(models.list_models)),
        route(f"{prefix}/models/{{model:path}}/status", None, GET=View(status.model)),
        route(f"{prefix}/models/{{model:path}}", None, GET=SlowView(models.retrieve_model)),
        route(f"{prefix}/engines", None, GET=View(models.list_engines)),
        *engine_routes(context, prefix, owns_user=owns_user),
        # Last of its kind: an id may hold slashes.
        route(f"{prefix}/engines/{{engine_id:path}}", None, GET=View(models.retrieve_engine)),
        *([route(f"{prefix}/getmodels", None, GET=SlowView(models.list_models))] if owns_user else []),
    ]


def _batch_routes(context: ApiContext, prefix: str) -> list[BaseRoute]:
    batch = f"{prefix}/batches/{{batch_id}}"
    return [
        route(
            f"{prefix}/batches",
            "inference",
            GET=QueryEndpoint(context, "listBatches", list_batches),
            POST=JsonEndpoint(context, "createBatch", create_batch, is_metered=False),
        ),
        route(batch, "inference", GET=QueryEndpoint(context, "retrieveBatch", retrieve_batch)),
        route(f"{batch}/cancel", "inference", POST=QueryEndpoint(context, "cancelBatch", cancel_batch)),
    ]
