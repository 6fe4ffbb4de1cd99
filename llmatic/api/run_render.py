"""Runs and interactions as clients of /api/v1 read them.

Owns the wire form. Pure; any thread.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from llmatic.api.run_texts import calls_of, prompt_of, schema_of, texts_of
from llmatic.services.composing import MICROSECONDS, OF_RUN
from llmatic.store.interactions import InteractionRecord
from llmatic.store.runs import RunBody, RunRecord

Wire = dict[str, Any]

LOCAL: Final[Wire] = {"id": "local", "name": "local", "provider": "llmatic"}


def run_ref(record: RunRecord) -> Wire:
    """A run in a list: without what was asked and answered."""
    summary = record.summary
    usage = summary.get("usage") or {}
    n_prompt, n_written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    owner = {"id": record.owner, "name": record.owner}
    created_at = iso(record.created_at)
    return {
        "id": record.id,
        "kind": record.kind,
        "parent": summary.get("parent"),
        "evaluation": summary.get("evaluation"),
        "tags": summary.get("tags") or [],
        "interaction": summary.get("interaction"),
        "environment": LOCAL,
        "modelId": record.model,
        "ttl": 0 if record.expires_at is None else (record.expires_at - record.created_at) // MICROSECONDS,
        "status": record.status,
        "finish_reason": summary.get("finish_reason"),
        "token_use": {
            "prompt": n_prompt,
            "completion": n_written,
            "result": n_written,
            "total": n_prompt + n_written,
        },
        "chunks": summary.get("n_chunks", 0),
        "execution_time": summary.get("execution_ms", 0) / 1000,
        "account": owner,
        "project": owner,
        "config": {"environment": "local", "model": record.model, **(summary.get("config") or {})},
        "metadata": summary.get("metadata") or {},
        "error": summary.get("error"),
        "source": summary.get("source") or source("key", record.key_id, ""),
        "output_modality": "text",
        "created_by": f"user:{record.key_id}",
        "updated_by": f"user:{summary.get('updated_by', record.key_id)}",
        "created_at": created_at,
        "updated_at": created_at if record.updated_at == record.created_at else iso(record.updated_at),
    }


def run_object(record: RunRecord, body: RunBody) -> Wire:
    """A run with all that is known of it."""
    request = orjson.loads(body.request)
    reply = None if body.reply is None else orjson.loads(body.reply)
    own = request.get(OF_RUN) or {}
    schema = own.get("result_schema") or schema_of(record.kind, request)
    texts = [] if reply is None else texts_of(record.kind, reply)
    return run_ref(record) | {
        "result": [_result(text, is_json=schema is not None) for text in texts],
        "tool_use": [] if reply is None else calls_of(record.kind, reply),
        "parameters": own.get("data") or {},
        "result_schema": schema,
        "prompt": prompt_of(record.kind, request),
    }


def source(kind: str, principal_id: str, client_ip: str, label: str = "API request") -> Wire:
    """Where a run came from."""
    return {
        "type": "api",
        "label": label,
        "principal_type": "apikey" if kind == "key" else "user",
        "principal_id": principal_id,
        "client_ip": client_ip,
    }


def interaction_ref(record: InteractionRecord) -> Wire:
    """An interaction in a list, or in a run."""
    definition = record.definition
    return {
        "id": record.id,
        "name": record.name,
        "endpoint": record.name,
        "description": definition.get("description"),
        "status": record.status,
        "version": record.version,
        "parent": record.parent,
        "visibility": definition.get("visibility", "private"),
        "tags": definition.get("tags", []),
        "created_by": f"user:{record.created_by}",
        "updated_by": f"user:{record.updated_by}",
        "created_at": iso(record.created_at),
        "updated_at": iso(record.updated_at),
    }


def interaction_object(record: InteractionRecord) -> Wire:
    """An interaction with its prompts."""
    definition = record.definition
    published = definition.get("last_published_at")
    return interaction_ref(record) | {
        "edit_revision": record.revision,
        "project": {"id": record.owner, "name": record.owner},
        "prompts": definition.get("prompts", []),
        "result_schema": definition.get("result_schema"),
        "interaction_schema": definition.get("interaction_schema"),
        "test_data": definition.get("test_data"),
        "environment": LOCAL,
        "model": definition.get("model"),
        "model_options": definition.get("model_options") or {},
        "output_modality": "text",
        "last_published_at": None if published is None else iso(published),
    }


def iso(microseconds: int) -> str:
    """UTC with milliseconds."""
    seconds, rest = divmod(microseconds, MICROSECONDS)
    day, second = divmod(seconds, 86_400)
    minute, second = divmod(second, 60)
    return f"{_date(day)}T{minute // 60:02}:{minute % 60:02}:{second:02}.{rest // 1000:03}Z"


@lru_cache(1000)
def _date(day: int) -> str:
    """Of so many days after 1970 began. A page of runs has two thousand times, of few days."""
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def _result(text: str, *, is_json: bool) -> Wire:
    if is_json:
        try:
            return {"type": "json", "value": orjson.loads(text)}
        except orjson.JSONDecodeError:
            pass
    return {"type": "text", "value": text}
