"""The URLs of what is recorded: stored chat completions beside /chat/completions, and all of /api/v1.

Owns their table. Read once, at the start.
"""

from functools import partial

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from llmatic.api.context import ApiContext
from llmatic.api.endpoint import JsonEndpoint, Serve
from llmatic.api.interactions import (
    create_interaction,
    delete_interaction,
    fork_interaction,
    list_interactions,
    list_versions,
    publish_interaction,
    retrieve_interaction,
    update_interaction,
)
from llmatic.api.query import QueryEndpoint, ServeQuery
from llmatic.api.resource import route
from llmatic.api.run_execution import create_run
from llmatic.api.run_stream import RunStream
from llmatic.api.runs import delete_run, list_runs, retrieve_run, search_runs, update_run
from llmatic.api.stored_chats import (
    delete_stored_chat,
    list_stored_chats,
    list_stored_messages,
    retrieve_stored_chat,
    update_stored_chat,
)

RUNS_PREFIX = "/api/v1"


def stored_chats_list(context: ApiContext) -> ASGIApp:
    """What answers GET /chat/completions."""
    return QueryEndpoint(context, "listChatCompletions", list_stored_chats)


def stored_chat_routes(context: ApiContext, prefix: str) -> list[BaseRoute]:
    """The paths below /chat/completions."""
    query, json = _makers(context)
    place = f"{prefix}/chat/completions/{{completion_id}}"
    return [
        route(
            place,
            "inference",
            GET=query("getChatCompletion", retrieve_stored_chat),
            POST=json("updateChatCompletion", update_stored_chat),
            DELETE=query("deleteChatCompletion", delete_stored_chat),
        ),
        route(f"{place}/messages", "inference", GET=query("getChatCompletionMessages", list_stored_messages)),
    ]


def run_routes(context: ApiContext) -> list[BaseRoute]:
    """Everything below /api/v1."""
    query, json = _makers(context)
    runs, interactions = f"{RUNS_PREFIX}/runs", f"{RUNS_PREFIX}/interactions"
    one = f"{interactions}/{{interaction_id}}"
    return [
        route(runs, "inference", GET=query("listRuns", list_runs), POST=json("createRun", create_run)),
        route(f"{runs}/search", "inference", POST=json("searchRuns", search_runs)),
        route(f"{runs}/{{run_id}}/stream", "inference", GET=RunStream(context)),
        route(
            f"{runs}/{{run_id}}",
            "inference",
            GET=query("retrieveRun", retrieve_run),
            PUT=json("updateRun", update_run),
            DELETE=query("deleteRun", delete_run),
        ),
        route(f"{RUNS_PREFIX}/execute", "inference", POST=json("executeInteractionByName", create_run)),
        route(
            interactions,
            "inference",
            GET=query("listInteractions", list_interactions),
            POST=json("createInteraction", create_interaction),
        ),
        route(f"{one}/execute", "inference", POST=json("executeInteraction", create_run)),
        route(f"{one}/publish", "inference", POST=json("publishInteraction", publish_interaction)),
        route(f"{one}/fork", "inference", POST=json("forkInteraction", fork_interaction)),
        route(f"{one}/versions", "inference", GET=query("listInteractionVersions", list_versions)),
        route(
            one,
            "inference",
            GET=query("retrieveInteraction", retrieve_interaction),
            PUT=json("updateInteraction", update_interaction),
            DELETE=query("deleteInteraction", delete_interaction),
        ),
    ]


def _makers(context: ApiContext) -> tuple[partial[ASGIApp], partial[ASGIApp]]:
    return partial(_query, context), partial(_json, context)


def _query(context: ApiContext, operation_id: str, serve: ServeQuery) -> ASGIApp:
    return QueryEndpoint(context, operation_id, serve)


def _json(context: ApiContext, operation_id: str, serve: Serve) -> ASGIApp:
    # What they cost is counted where a model works for them.
    return JsonEndpoint(context, operation_id, serve, is_metered=False)
