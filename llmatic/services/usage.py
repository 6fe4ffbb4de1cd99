"""Counts what is used, by hour, key, model and operation, until it is written down.

Owns the sums that no database knows yet. Never does I/O: `services.ledger` writes. Event loop's thread.
"""

from typing import Final, Literal

from llmatic.core.principal import Principal
from llmatic.store.usage import HOUR_US, UsageRow

Operation = Literal["completions", "embeddings", "moderations", "rerank"]

HOUR_S: Final = 3600

_Key = tuple[int, str, str, str, bool]


class _Sums:
    """Of one key, model, operation and hour."""

    __slots__ = ("cached", "completion", "n_requests", "owner", "prompt")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.n_requests = self.prompt = self.cached = self.completion = 0


class UsageCounter:
    """What was used since it was last taken."""

    def __init__(self) -> None:
        self._sums: dict[_Key, _Sums] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def count(
        self,
        principal: Principal,
        model: str,
        operation: Operation,
        now_s: float,
        *,
        prompt: int,
        cached: int,
        completion: int,
        is_batch: bool = False,
    ) -> None:
        """One request to a model and its tokens. `now_s`: seconds since 1970."""
        key = (int(now_s) // HOUR_S, principal.id, model, operation, is_batch)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = _Sums(principal.owner)
        sums.n_requests += 1
        sums.prompt += prompt
        sums.cached += cached
        sums.completion += completion

    def take(self, limit: int) -> list[UsageRow]:
        """At most so many rows, which are no longer here."""
        keys = list(self._sums)[:limit]
        return [_row(key, self._sums.pop(key)) for key in keys]


def _row(key: _Key, sums: _Sums) -> UsageRow:
    hour, key_id, model, operation, is_batch = key
    return UsageRow(
        hour=hour * HOUR_US,
        key_id=key_id,
        model=model,
        operation=operation,
        is_batch=is_batch,
        owner=sums.owner,
        n_requests=sums.n_requests,
        input_tokens=sums.prompt,
        cached_tokens=sums.cached,
        output_tokens=sums.completion,
    )
