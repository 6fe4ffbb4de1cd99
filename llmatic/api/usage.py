"""GET /organization/usage/…: what was used, as OpenAI's usage API has it. Event loop's thread."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.query import Query, ServeQuery
from llmatic.api.replies import Answer
from llmatic.services.terms import Caller
from llmatic.services.usage import Operation
from llmatic.services.usage_report import UsageBucket, UsagePage, UsageQuery, usage_page
from llmatic.store.usage import Group, UsageSum

_PAGE: Final = "page_"
_GROUPS: Final[Mapping[str, Group]] = {
    "api_key_id": "key_id",
    "user_id": "owner",
    "model": "model",
    "batch": "is_batch",
}


def serve_usage(operation: Operation) -> ServeQuery:
    """The endpoint of one operation's usage."""

    async def serve(context: ApiContext, _path: Mapping[str, str], query: Query, _caller: Caller) -> Answer:
        wanted = _query(operation, query)
        page = await usage_page(context.stored.database, context.metering.ledger, wanted)
        return Answer(orjson.dumps(_page(operation, page)))

    return serve


def _query(operation: Operation, query: Query) -> UsageQuery:
    page = query.get("page")
    return UsageQuery(
        operation,
        query["start_time"],
        query.get("end_time"),
        query.get("bucket_width", "1d"),
        query.get("limit"),
        None if page is None else int(page.removeprefix(_PAGE)),
        tuple(dict.fromkeys(_GROUPS[name] for name in query.get("group_by", ()))),
        key_ids=query.get("api_key_ids"),
        owners=query.get("user_ids"),
        models=query.get("models"),
        is_batch=query.get("batch"),
    )


def _page(operation: Operation, page: UsagePage) -> dict[str, Any]:
    return {
        "object": "page",
        "data": [_bucket(operation, bucket) for bucket in page.buckets],
        "has_more": page.next_begin is not None,
        "next_page": None if page.next_begin is None else f"{_PAGE}{page.next_begin}",
    }


def _bucket(operation: Operation, bucket: UsageBucket) -> dict[str, Any]:
    return {
        "object": "bucket",
        "start_time": bucket.start,
        "end_time": bucket.end,
        "results": [_result(operation, item) for item in bucket.sums],
    }


def _result(operation: Operation, item: UsageSum) -> dict[str, Any]:
    result: dict[str, Any] = {
        "object": f"organization.usage.{operation}.result",
        "input_tokens": item.input_tokens,
        "num_model_requests": item.n_requests,
        "project_id": None,
        "user_id": item.owner,
        "api_key_id": item.key_id,
        "model": item.model,
    }
    if operation == "completions":
        result["output_tokens"] = item.output_tokens
        result["input_cached_tokens"] = item.cached_tokens
        result["batch"] = item.is_batch
    return result
