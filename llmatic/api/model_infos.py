"""The models as Anthropic describes them, for clients that send `anthropic-version`.

Owns their form and their pages. Pure; any thread.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from llmatic.core.errors import InvalidRequest
from llmatic.services.capabilities import Capabilities

DEFAULT_LIMIT, MAX_LIMIT = 20, 1000

_KNOWN = frozenset({"limit", "after_id", "before_id", "lifecycle[]", "lifecycle", "beta"})


def model_info(name: str, model_id: str, created: int, can: Capabilities) -> dict[str, Any]:
    """A model; `created` in seconds since 1970."""
    return {
        "type": "model",
        "id": name,
        "display_name": model_id,
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
        "capabilities": None,
        "max_input_tokens": can.context_length,
        "max_tokens": can.context_length,
    }


def model_page(infos: Sequence[Mapping[str, Any]], query_string: bytes) -> dict[str, Any]:
    """The page of the list that a query asks for. Raises InvalidRequest.

    An id that is not in the list stands before it, or behind it.
    """
    query = _query(query_string)
    limit = _limit(query.get("limit", [str(DEFAULT_LIMIT)])[-1])
    names = [info["id"] for info in infos]
    after, before = query.get("after_id", [""])[-1], query.get("before_id", [""])[-1]
    wanted = query.get("lifecycle[]", []) + query.get("lifecycle", [])
    start = names.index(after) + 1 if after in names else 0
    end = names.index(before) if before in names else len(names)
    if wanted and "active" not in wanted:
        end = start
    if before and not after:
        page = infos[max(start, end - limit) : end]
        has_more = end - limit > start
    else:
        page = infos[start:end][:limit]
        has_more = end - start > limit
    ids = [info["id"] for info in page]
    return {
        "data": list(page),
        "has_more": has_more,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def _query(query_string: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name not in _KNOWN:
            raise InvalidRequest("Unknown parameter.", param=name[:100], code="unknown_parameter")
        found.setdefault(name, []).append(value)
    return found


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise InvalidRequest(f"limit: Input should be a number from 1 to {MAX_LIMIT}", param="limit")
    return int(text)
