"""The paths of /organization: API keys and usage, all of the scope `admin`. Read once, at the start."""

from starlette.routing import BaseRoute

from llmatic.api.admin_keys import (
    serve_change_key,
    serve_create_key,
    serve_delete_key,
    serve_list_keys,
    serve_retrieve_key,
)
from llmatic.api.context import ApiContext
from llmatic.api.endpoint import JsonEndpoint
from llmatic.api.query import QueryEndpoint
from llmatic.api.resource import route
from llmatic.api.usage import serve_usage
from llmatic.services.usage import Operation


def admin_routes(context: ApiContext, prefix: str) -> list[BaseRoute]:
    """Every path, below the prefix."""
    keys = f"{prefix}/organization/admin_api_keys"
    return [
        route(
            keys,
            "admin",
            GET=QueryEndpoint(context, "listAdminApiKeys", serve_list_keys),
            POST=JsonEndpoint(context, "createAdminApiKey", serve_create_key, is_metered=False),
        ),
        route(
            f"{keys}/{{key_id}}",
            "admin",
            GET=QueryEndpoint(context, "retrieveAdminApiKey", serve_retrieve_key),
            POST=JsonEndpoint(context, "changeAdminApiKey", serve_change_key, is_metered=False),
            DELETE=QueryEndpoint(context, "deleteAdminApiKey", serve_delete_key),
        ),
        *_usage_routes(context, prefix),
    ]


def _usage_routes(context: ApiContext, prefix: str) -> list[BaseRoute]:
    place = f"{prefix}/organization/usage"
    operations: tuple[Operation, ...] = ("completions", "embeddings", "moderations")
    return [
        route(
            f"{place}/{name}",
            "admin",
            GET=QueryEndpoint(context, f"getUsageOf{name.capitalize()}", serve_usage(name)),
        )
        for name in operations
    ]
