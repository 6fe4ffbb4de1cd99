"""Lists as OpenAI pages them: the items, the first and last id, whether there are more. Pure."""

from collections.abc import Sequence
from typing import Any


def page_object(found: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of at most `limit` items; `found` has one more where there are more."""
    items = found[:limit]
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else "",
        "last_id": items[-1]["id"] if items else "",
        "has_more": len(found) > limit,
    }
