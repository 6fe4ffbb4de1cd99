"""/api/v1/runs: listed, searched, retrieved, scored and tagged, deleted.

Owns the filters and what may be changed. Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.query import Query
from llmatic.api.replies import Answer
from llmatic.api.run_plan import check_environment
from llmatic.api.run_render import LOCAL, run_object, run_ref
from llmatic.core.errors import NotFound
from llmatic.services.runs import checked_offset
from llmatic.services.terms import Caller
from llmatic.store.runs import RunFilter, parent_label, tag_label

Body = dict[str, Any]

DEFAULT_LIMIT = 100


async def list_runs(context: ApiContext, _path: Mapping[str, str], query: Query, caller: Caller) -> Answer:
    """GET /runs: an array of references, newest first."""
    tags = query.get("tag")
    asked = {**query, "tags": [] if tags is None else [tags] if isinstance(tags, str) else tags}
    return await _found(context, asked, caller)


async def search_runs(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /runs/search: the same with the filters in the body."""
    return await _found(context, body, caller)


async def retrieve_run(context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller) -> Answer:
    """GET /runs/{run_id}."""
    found = await context.stored.runs.get_with_body(caller.principal.owner, path["run_id"])
    return Answer(orjson.dumps(run_object(*found)))


async def update_run(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """PUT /runs/{run_id}: what is not said stays."""
    owner, run_id = caller.principal.owner, body["run_id"]
    changes: Body = {"updated_by": caller.principal.id}
    if "tags" in body:
        changes["tags"] = list(dict.fromkeys(body["tags"]))
    if "metadata" in body:
        changes["metadata"] = body["metadata"]
    runs = context.stored.runs
    record = await runs.annotate(owner, run_id, changes, body.get("evaluation"))
    _, texts = await runs.get_with_body(owner, run_id)
    return Answer(orjson.dumps(run_object(record, texts)))


async def delete_run(context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller) -> Answer:
    """DELETE /runs/{run_id}."""
    await context.stored.runs.delete(caller.principal.owner, path["run_id"])
    return Answer(orjson.dumps({"id": path["run_id"]}))


async def _found(context: ApiContext, asked: Mapping[str, Any], caller: Caller) -> Answer:
    wanted = await _filter(context, asked, caller)
    if wanted is None:
        return Answer(b"[]")
    records = await context.stored.runs.page(
        caller.principal.owner,
        wanted,
        limit=int(asked.get("limit", DEFAULT_LIMIT)),
        offset=checked_offset(int(asked.get("offset", 0))),
        after=asked.get("after"),
    )
    return Answer(orjson.dumps([run_ref(record) for record in records]))


async def _filter(context: ApiContext, asked: Mapping[str, Any], caller: Caller) -> RunFilter | None:
    """None: nothing can fit."""
    environment = asked.get("environment")
    check_environment(environment)
    assert environment in (None, LOCAL["id"])
    model = asked.get("model")
    if model is not None and context.registry.knows(model):
        model = context.registry.resolve(model).id
    interaction = asked.get("interaction")
    if interaction is not None and not interaction.startswith("int_"):
        try:
            interaction = (await context.stored.interactions.find(caller.principal.owner, interaction)).id
        except NotFound:
            return None
    labels = [tag_label(tag) for tag in asked.get("tags") or ()]
    if asked.get("parent") is not None:
        labels.append(parent_label(asked["parent"]))
    return RunFilter(
        model=model, status=asked.get("status"), interaction=interaction, labels=tuple(dict.fromkeys(labels))
    )
