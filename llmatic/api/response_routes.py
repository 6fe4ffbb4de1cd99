"""The paths of /responses and /conversations. Fixed ones come before those with a name in them."""

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from llmatic.api import conversations
from llmatic.api.context import ApiContext
from llmatic.api.endpoint import JsonEndpoint, Serve
from llmatic.api.query import QueryEndpoint, ServeQuery
from llmatic.api.resource import route
from llmatic.api.responses import (
    CreateResponse,
    RetrieveResponse,
    serve_cancellation,
    serve_deletion,
    serve_input_items,
    serve_input_tokens,
)


def response_routes(context: ApiContext, prefix: str, *, owns_user: bool) -> list[BaseRoute]:
    """Every path, below the prefix."""

    def query(operation_id: str, serve: ServeQuery) -> ASGIApp:
        return QueryEndpoint(context, operation_id, serve)

    def json(operation_id: str, serve: Serve, *, is_metered: bool = False) -> ASGIApp:
        return JsonEndpoint(context, operation_id, serve, is_metered=is_metered)

    one, items = "/conversations/{conversation_id}", "/conversations/{conversation_id}/items"
    endpoints: dict[str, dict[str, ASGIApp]] = {
        "/responses": {"POST": CreateResponse(context, owns_user=owns_user)},
        "/responses/input_tokens": {"POST": json("countInputTokens", serve_input_tokens, is_metered=True)},
        "/responses/{response_id}": {
            "GET": RetrieveResponse(context),
            "DELETE": query("deleteResponse", serve_deletion),
        },
        "/responses/{response_id}/cancel": {"POST": query("cancelResponse", serve_cancellation)},
        "/responses/{response_id}/input_items": {"GET": query("listInputItems", serve_input_items)},
        "/conversations": {"POST": json("createConversation", conversations.serve_conversation)},
        one: {
            "GET": query("getConversation", conversations.retrieve_conversation),
            "POST": json("updateConversation", conversations.serve_metadata),
            "DELETE": query("deleteConversation", conversations.delete_conversation),
        },
        items: {
            "GET": query("listConversationItems", conversations.list_items),
            "POST": json("createConversationItems", conversations.serve_new_items),
        },
        f"{items}/{{item_id}}": {
            "GET": query("getConversationItem", conversations.retrieve_item),
            "DELETE": query("deleteConversationItem", conversations.delete_item),
        },
    }
    return [route(prefix + path, "inference", **methods) for path, methods in endpoints.items()]
