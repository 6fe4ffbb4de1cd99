"""GET and POST /organization/admin_api_keys; GET, POST and DELETE /organization/admin_api_keys/{key_id}.

Owns how API keys look in replies; a key itself is in the reply to its creation only. Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.query import Query
from llmatic.api.replies import Answer
from llmatic.core.errors import Forbidden, NotFound
from llmatic.services.keys import MICROSECONDS
from llmatic.services.terms import Caller
from llmatic.store.keys import KeyRecord

DEFAULT_LIMIT: Final = 20
# What OpenAI's keys of this kind are for.
DEFAULT_SCOPES: Final = ("admin",)


def key_object(record: KeyRecord) -> dict[str, Any]:
    """A key as OpenAI describes it, and what it may do here."""
    return {
        "object": "organization.admin_api_key",
        "id": record.id,
        "name": record.name,
        "redacted_value": record.hint,
        "created_at": _seconds(record.created_at),
        "last_used_at": _seconds(record.used_at),
        "expires_at": _seconds(record.expires_at),
        "owner": {
            "type": "user",
            "object": "organization.user",
            "id": record.owner,
            "name": record.owner,
            "role": "owner",
        },
        "scopes": list(record.scopes),
        "models": None if record.models is None else list(record.models),
        "limits": dict(record.limits),
    }


async def serve_create_key(context: ApiContext, body: dict[str, Any], caller: Caller) -> Answer:
    """Make a key and tell it, this once. Raises InvalidRequest, Forbidden on a server without keys."""
    if caller.principal.is_anonymous:
        # Else whoever comes first could lock everybody out.
        raise Forbidden(
            "This server asks for no key yet. Its first one is made where it runs: "
            "llmatic keys create --name me"
        )
    record, key = await context.stored.keys.create(
        body["name"],
        owner=body.get("owner"),
        scopes=body.get("scopes", DEFAULT_SCOPES),
        models=body.get("models"),
        lifetime_s=body.get("expires_in_seconds"),
        limits=body.get("limits"),
    )
    return Answer(
        orjson.dumps({**key_object(record), "value": key}), headers=[(b"cache-control", b"no-store")]
    )


async def serve_list_keys(
    context: ApiContext, _path: Mapping[str, str], query: Query, _caller: Caller
) -> Answer:
    """A page of the keys that were not revoked, oldest first unless told otherwise."""
    limit: int = query.get("limit", DEFAULT_LIMIT)
    order = query.get("order", "asc")
    records = await context.stored.keys.page(limit + 1, query.get("after"), order, with_revoked=False)
    shown = records[:limit]
    return Answer(
        orjson.dumps(
            {
                "object": "list",
                "data": [key_object(record) for record in shown],
                "first_id": shown[0].id if shown else None,
                "last_id": shown[-1].id if shown else None,
                "has_more": len(records) > limit,
            }
        )
    )


async def serve_retrieve_key(
    context: ApiContext, path: Mapping[str, str], _query: Query, _caller: Caller
) -> Answer:
    """One key. Raises NotFound, also if it was revoked."""
    return Answer(orjson.dumps(key_object(await _living(context, path["key_id"]))))


async def serve_change_key(context: ApiContext, body: dict[str, Any], _caller: Caller) -> Answer:
    """Change what is said and nothing else. Raises InvalidRequest, NotFound, also if it was revoked."""
    record = await _living(context, body["key_id"])
    names = ("name", "scopes", "models", "limits")
    wanted: dict[str, Any] = {name: body[name] for name in names if name in body}
    if "expires_in_seconds" in body:
        wanted["lifetime_s"] = body["expires_in_seconds"]
    return Answer(orjson.dumps(key_object(await context.stored.keys.change(record.id, wanted))))


async def serve_delete_key(
    context: ApiContext, path: Mapping[str, str], _query: Query, _caller: Caller
) -> Answer:
    """Revoke it. Raises NotFound, also if it is already revoked."""
    record = await _living(context, path["key_id"])
    await context.stored.keys.revoke(record.id)
    reply = {"id": record.id, "object": "organization.admin_api_key.deleted", "deleted": True}
    return Answer(orjson.dumps(reply))


async def _living(context: ApiContext, key_id: str) -> KeyRecord:
    record = await context.stored.keys.get(key_id)
    if record.revoked_at is not None:
        raise NotFound(f"No such API key: {key_id}", param="key_id")
    return record


def _seconds(time: int | None) -> int | None:
    return None if time is None else time // MICROSECONDS
