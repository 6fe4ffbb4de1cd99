"""Makes rows of what was recorded: redacts, writes JSON.

Owns what a run's summary says. Done in a thread after the reply was sent, or just before its end. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from llmatic.services.redaction import Redaction
from llmatic.store.runs import RunBody, RunRecord

MICROSECONDS: Final = 1_000_000
MAX_CONFIG_CHARACTERS: Final = 300
OF_RUN: Final = "x_run"  # what a run's request says beside the chat's fields

# Fields of a request that are texts or large, or that no run's configuration is about.
_NOT_CONFIG: Final = frozenset(
    {
        *("messages", "prompt", "suffix", "prediction", "grammar", "guided_grammar", "guided_regex"),
        *("system", "input", "instructions"),
        *("store", "stream", "model", "user", "safety_identifier", "stop", "cache_salt"),
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer as it was given. `body`: the reply's; counts of tokens."""

    body: bytes
    finish_reason: str | None
    n_prompt: int
    n_completion: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that ended. `outcome` writes the reply; None: there is none.

    `weight`: about how many bytes it holds. `is_promised`: somebody waits for it to be written. `is_kept`: it
    was promised, so no size is too large.
    """

    record: RunRecord
    body: dict[str, Any]
    weight: int = 0
    outcome: Callable[[], Outcome] | None = None
    is_promised: bool = False
    is_kept: bool = False


def composed(taken: Taken, redaction: Redaction, max_bytes: int) -> tuple[RunRecord, RunBody] | None:
    """The rows, or None if they are larger than `max_bytes` and nobody was promised that they are kept."""
    outcome = None if taken.outcome is None else taken.outcome()
    raw = orjson.dumps(taken.body)
    size = len(raw) + (0 if outcome is None else len(outcome.body))
    if size > max_bytes and not (taken.is_promised or taken.is_kept):
        return None
    metadata = taken.body.get("metadata") or {}
    summary: dict[str, Any] = {
        **taken.record.summary,
        "metadata": {key: value for key, value in metadata.items() if isinstance(value, str)},
        "config": config_of(taken.body),
    }
    if outcome is not None:
        summary["finish_reason"] = outcome.finish_reason
        summary["usage"] = {"prompt_tokens": outcome.n_prompt, "completion_tokens": outcome.n_completion}
    if taken.body.get("user"):
        summary["user"] = taken.body["user"]
    if not redaction.is_needed:
        written = RunBody(raw.decode(), None if outcome is None else outcome.body.decode())
        return replace(taken.record, summary=summary), written
    reply = None if outcome is None else as_text(redaction.json(orjson.loads(outcome.body)))
    written = RunBody(as_text(redaction.json(taken.body)), reply)
    return replace(taken.record, summary=redacted_summary(summary, redaction)), written


def redacted_summary(summary: dict[str, Any], redaction: Redaction) -> dict[str, Any]:
    """What of it came from the caller or the model, redacted; what the server itself says stays."""
    made = dict(summary)
    if "config" in made:
        made["config"] = redaction.json(made["config"])
    if made.get("metadata"):
        made["metadata"] = redaction.free(made["metadata"])
    if made.get("user"):
        made["user"] = redaction.text(made["user"])
    if made.get("tags"):
        made["tags"] = [redaction.text(tag) for tag in made["tags"]]
    if made.get("error"):
        made["error"] = {**made["error"], "message": redaction.text(made["error"]["message"])}
    return made


def weight(value: Any) -> int:
    """About how many bytes a request is; costs little."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return 16 + sum(map(weight, value.values()))
    if isinstance(value, list):
        # A prompt can be a list of very many numbers.
        return 8 * len(value) if value and isinstance(value[0], int) else 16 + sum(map(weight, value))
    return 8


def config_of(body: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a request, without its texts."""
    return {
        name: value
        for name, value in body.items()
        if name not in _NOT_CONFIG
        and (not isinstance(value, str) or len(value) <= MAX_CONFIG_CHARACTERS)
        and not isinstance(value, dict | list)
    }


def as_text(value: Any) -> str:
    """JSON, in which whatever a column cannot hold is escaped."""
    return orjson.dumps(value).decode()
