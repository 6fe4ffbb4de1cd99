"""/api/v1/interactions: created, listed, changed, published, forked, deleted.

Owns their operations; what a version may become is the service's word. Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.query import Query
from llmatic.api.replies import Answer
from llmatic.api.run_plan import check_environment
from llmatic.api.run_render import interaction_object, interaction_ref
from llmatic.services.runs import checked_offset
from llmatic.services.terms import Caller
from llmatic.store.interactions import InteractionFilter, InteractionRecord

Body = dict[str, Any]

DEFAULT_LIMIT = 100


async def create_interaction(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /interactions."""
    return _answer(await context.stored.interactions.create(caller.principal, _definition(body)))


async def list_interactions(
    context: ApiContext, _path: Mapping[str, str], query: Query, caller: Caller
) -> Answer:
    """GET /interactions: an array of references, newest first."""
    wanted = InteractionFilter(query.get("name"), query.get("status"), query.get("version"))
    limit, offset = int(query.get("limit", DEFAULT_LIMIT)), checked_offset(int(query.get("offset", 0)))
    found = await context.stored.interactions.page(caller.principal.owner, wanted, limit=limit, offset=offset)
    return Answer(orjson.dumps([interaction_ref(record) for record in found]))


async def retrieve_interaction(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """GET /interactions/{interaction_id}: an id, or `Name[@version|draft|tag]`."""
    return _answer(await context.stored.interactions.find(caller.principal.owner, path["interaction_id"]))


async def list_versions(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """GET /interactions/{interaction_id}/versions: all versions of the same name."""
    owner = caller.principal.owner
    one = await context.stored.interactions.find(owner, path["interaction_id"])
    found = await context.stored.interactions.page(owner, InteractionFilter(one.name), limit=DEFAULT_LIMIT)
    return Answer(orjson.dumps([interaction_ref(record) for record in found]))


async def update_interaction(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """PUT /interactions/{interaction_id}: what is not said stays."""
    interaction_id = body.pop("interaction_id")
    changes = _definition(body)
    return _answer(await context.stored.interactions.update(caller.principal, interaction_id, changes))


async def publish_interaction(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /interactions/{interaction_id}/publish."""
    interaction_id = body.pop("interaction_id")
    return _answer(await context.stored.interactions.publish(caller.principal, interaction_id, body))


async def fork_interaction(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /interactions/{interaction_id}/fork."""
    interaction_id = body.pop("interaction_id")
    return _answer(await context.stored.interactions.fork(caller.principal, interaction_id, body))


async def delete_interaction(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """DELETE /interactions/{interaction_id}."""
    interaction_id = path["interaction_id"]
    await context.stored.interactions.delete(caller.principal.owner, interaction_id)
    return Answer(orjson.dumps({"id": interaction_id}))


def _definition(body: Body) -> Body:
    check_environment(body.get("environment"))
    return {name: value for name, value in body.items() if name != "environment"}


def _answer(record: InteractionRecord) -> Answer:
    return Answer(orjson.dumps(interaction_object(record)))
