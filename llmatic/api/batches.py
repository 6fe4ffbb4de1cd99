"""/batches: files of requests that are answered in the background.

Owns what the fields of the requests mean and how a batch looks. Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.operations import OPERATIONS
from llmatic.api.replies import Answer
from llmatic.core.errors import InvalidRequest
from llmatic.services.terms import Caller
from llmatic.store.batches import ENDED, BatchRecord

DEFAULT_LIMIT: Final = 20
MICROSECONDS: Final = 1_000_000

_TIMES: Final = (
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)

Fields = Mapping[str, Any]


async def create_batch(context: ApiContext, body: dict[str, Any], caller: Caller) -> Answer:
    """A new batch. Raises NotFound for the file, InvalidRequest."""
    endpoint = body["endpoint"]
    if endpoint not in OPERATIONS:
        raise InvalidRequest(f"The endpoint '{endpoint}' cannot be used in batches here.", param="endpoint")
    lifetime = body.get("output_expires_after")
    record = await context.batches.create(
        caller.principal,
        input_file_id=body["input_file_id"],
        endpoint=endpoint,
        completion_window=body["completion_window"],
        metadata=body.get("metadata"),
        output_lifetime_s=None if lifetime is None else int(lifetime["seconds"]),
    )
    return Answer(orjson.dumps(batch_object(record)))


async def list_batches(context: ApiContext, _path: Fields, query: Fields, caller: Caller) -> Answer:
    """A page of the caller's batches, newest first. Raises NotFound if there is no batch `after`."""
    limit = int(query.get("limit", DEFAULT_LIMIT))
    found = await context.batches.page(caller.principal.owner, limit=limit + 1, after=query.get("after"))
    data = [batch_object(record) for record in found[:limit]]
    page = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }
    return Answer(orjson.dumps(page))


async def retrieve_batch(context: ApiContext, path: Fields, _query: Fields, caller: Caller) -> Answer:
    """One of the caller's batches. Raises NotFound."""
    record = await context.batches.get(caller.principal.owner, path["batch_id"])
    return Answer(orjson.dumps(batch_object(record)))


async def cancel_batch(context: ApiContext, path: Fields, _query: Fields, caller: Caller) -> Answer:
    """The batch on its way to being cancelled. Raises NotFound, Conflict."""
    record = await context.batches.cancel(caller.principal.owner, path["batch_id"])
    return Answer(orjson.dumps(batch_object(record)))


def batch_object(record: BatchRecord) -> dict[str, Any]:
    """As OpenAI writes it. The files are named once the batch has ended: before that they are not there."""
    has_ended = record.status in ENDED
    errors = None if record.errors is None else {"object": "list", "data": orjson.loads(record.errors)}
    return {
        "id": record.id,
        "object": "batch",
        "endpoint": record.endpoint,
        **({} if record.model is None else {"model": record.model}),
        "errors": errors,
        "input_file_id": record.input_file_id,
        "completion_window": record.completion_window,
        "status": record.status,
        "output_file_id": record.output_file_id if has_ended else None,
        "error_file_id": record.error_file_id if has_ended else None,
        "created_at": record.created_at // MICROSECONDS,
        **{name: _seconds(getattr(record, name)) for name in _TIMES},
        "request_counts": {
            "total": record.n_total,
            "completed": record.n_completed,
            "failed": record.n_failed,
        },
        "usage": {
            "input_tokens": record.n_input_tokens,
            "input_tokens_details": {"cached_tokens": record.n_cached_tokens},
            "output_tokens": record.n_output_tokens,
            "output_tokens_details": {"reasoning_tokens": record.n_reasoning_tokens},
            "total_tokens": record.n_input_tokens + record.n_output_tokens,
        },
        "metadata": None if record.metadata is None else orjson.loads(record.metadata),
    }


def _seconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds // MICROSECONDS
