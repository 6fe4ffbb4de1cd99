"""POST /uploads, /uploads/{upload_id}/parts, …/complete and …/cancel.

Owns how uploads look in replies. Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.files import lifetime_s
from llmatic.api.query import Query
from llmatic.api.replies import Answer
from llmatic.services.files import MICROSECONDS
from llmatic.services.terms import Caller
from llmatic.services.uploads import PartIntake, Upload
from llmatic.store.files import file_object

Body = dict[str, Any]


def upload_object(upload: Upload) -> dict[str, Any]:
    """An upload as OpenAI describes it."""
    record = upload.record
    return {
        "id": record.id,
        "object": "upload",
        "bytes": record.size_bytes,
        "created_at": record.created_at // MICROSECONDS,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": upload.state,
        "expires_at": record.expires_at // MICROSECONDS,
        "file": None if upload.file is None else file_object(upload.file),
    }


async def serve_create_upload(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """A new upload. Raises PayloadTooLarge."""
    upload = await context.stored.uploads.create(
        caller.principal.owner,
        size_bytes=body["bytes"],
        filename=body["filename"],
        mime_type=body["mime_type"],
        purpose=body["purpose"],
        lifetime_s=lifetime_s(body),
    )
    return Answer(orjson.dumps(upload_object(upload)))


async def open_part(context: ApiContext, path: Mapping[str, str], caller: Caller) -> PartIntake:
    """Where a new part goes. Raises NotFound, InvalidRequest."""
    return await context.stored.uploads.part(caller.principal.owner, path["upload_id"])


async def serve_add_part(
    context: ApiContext, intake: PartIntake, _fields: dict[str, Any], _caller: Caller
) -> Answer:
    """Keep it. Raises InvalidRequest, InsufficientStorage, Unavailable."""
    part = await context.stored.uploads.keep_part(intake)
    reply = {
        "id": part.id,
        "object": "upload.part",
        "created_at": part.created_at // MICROSECONDS,
        "upload_id": part.upload_id,
    }
    return Answer(orjson.dumps(reply))


async def serve_complete_upload(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """Make a file of the parts. Raises NotFound, InvalidRequest, and what storing raises."""
    upload = await context.stored.uploads.complete(
        caller.principal.owner, body["upload_id"], body["part_ids"], body.get("md5")
    )
    return Answer(orjson.dumps(upload_object(upload)))


async def serve_cancel_upload(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """Forget its parts. Raises NotFound, InvalidRequest."""
    upload = await context.stored.uploads.cancel(caller.principal.owner, path["upload_id"])
    return Answer(orjson.dumps(upload_object(upload)))
