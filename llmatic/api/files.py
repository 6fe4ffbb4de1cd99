"""POST and GET /files; GET and DELETE /files/{file_id}.

Owns how each operation is answered; how a file looks is written where it is kept. Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.query import Query
from llmatic.api.replies import Answer
from llmatic.services.files import FileIntake
from llmatic.services.terms import Caller
from llmatic.store.files import file_object

DEFAULT_LIMIT: Final = 10_000
# Of OpenAI's: input files of batches are kept for 30 days, all others until they are deleted.
_DEFAULT_LIFETIMES_S: Final = {"batch": 30 * 24 * 3600}


def lifetime_s(fields: Mapping[str, Any]) -> int | None:
    """How long the file is kept; None: until it is deleted."""
    if "expires_after" in fields:
        seconds: int = fields["expires_after"]["seconds"]
        return seconds
    return _DEFAULT_LIFETIMES_S.get(fields["purpose"])


async def open_file(context: ApiContext, _path: Mapping[str, str], caller: Caller) -> FileIntake:
    """Where a new file goes."""
    return await context.stored.files.intake(caller.principal.owner)


async def serve_create_file(
    context: ApiContext, intake: FileIntake, fields: dict[str, Any], caller: Caller
) -> Answer:
    """Keep it. Raises InvalidRequest, PayloadTooLarge, InsufficientStorage, Unavailable."""
    record = await context.stored.files.keep(
        intake, caller.principal.owner, fields["purpose"], lifetime_s(fields)
    )
    return Answer(orjson.dumps(file_object(record)))


async def serve_list_files(
    context: ApiContext, _path: Mapping[str, str], query: Query, caller: Caller
) -> Answer:
    """A page of the caller's files, newest first unless told otherwise."""
    limit: int = query.get("limit", DEFAULT_LIMIT)
    found = await context.stored.files.page(
        caller.principal.owner,
        limit=limit + 1,
        order=query.get("order", "desc"),
        after=query.get("after"),
        purpose=query.get("purpose"),
    )
    has_more = found.count("\n") == limit
    lines = found.rpartition("\n")[0] if has_more else found
    ends = (lines.partition("\n")[0], lines.rpartition("\n")[2])
    first, last = (orjson.loads(line)["id"] if line else None for line in ends)
    page = orjson.dumps({"object": "list", "first_id": first, "last_id": last, "has_more": has_more})
    data = lines.replace("\n", ",").encode()
    return Answer(b'%b,"data":[%b]}' % (page[:-1], data))


async def serve_retrieve_file(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """One file. Raises NotFound."""
    record = await context.stored.files.get(caller.principal.owner, path["file_id"])
    return Answer(orjson.dumps(file_object(record)))


async def serve_delete_file(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """Forget one. Raises NotFound."""
    await context.stored.files.delete(caller.principal.owner, path["file_id"])
    return Answer(orjson.dumps({"id": path["file_id"], "object": "file", "deleted": True}))
