"""What a limited caller is told: OpenAI's words of refusal, and the headers that say what is left.

Pure; any thread.
"""

import math
from typing import Final

from llmatic.core.errors import QuotaExceeded, RateLimited, TokensLimited

RETRY_S: Final = 1.0  # where nobody knows when a place becomes free

_HOUR_MS, _MINUTE_MS, _SECOND_MS = 3_600_000, 60_000, 1000


def duration(seconds: float) -> str:
    """As OpenAI's headers have it, rounded up: 120ms, 1s, 8.64s, 1m30s, 6m0s, 1h0m0s."""
    n_ms = max(0, math.ceil(round(seconds * 1000, 3)))
    if n_ms < _SECOND_MS:
        return f"{n_ms}ms" if n_ms else "0s"
    hours, rest = divmod(n_ms, _HOUR_MS)
    minutes, rest = divmod(rest, _MINUTE_MS)
    text = f"{rest // _SECOND_MS}"
    if rest % _SECOND_MS:
        text += f".{rest % _SECOND_MS:03}".rstrip("0")
    if hours:
        return f"{hours}h{minutes}m{text}s"
    return f"{minutes}m{text}s" if minutes else f"{text}s"


def too_many_requests(owner: str, model: str, limit: int, wait_s: float) -> RateLimited:
    """More requests a minute than are allowed."""
    return RateLimited(
        f"Rate limit reached for {model} in organization {owner} on requests per min (RPM): Limit {limit}, "
        f"Used {limit}, Requested 1. Please try again in {duration(wait_s)}.",
        retry_after_s=wait_s,
    )


def too_many_tokens(
    owner: str, model: str, limit: int, used: int, n_tokens: int, wait_s: float
) -> TokensLimited:
    """More tokens a minute than are allowed; `wait_s` infinite: in one request."""
    what = f"for {model} in organization {owner} on tokens per min (TPM): Limit {limit}"
    if math.isinf(wait_s):
        return TokensLimited(
            f"Request too large {what}, Requested {n_tokens}. The input or output tokens must be reduced in "
            "order to run successfully."
        )
    return TokensLimited(
        f"Rate limit reached {what}, Used {used}, Requested {n_tokens}. "
        f"Please try again in {duration(wait_s)}.",
        retry_after_s=wait_s,
    )


def too_many_running(owner: str, model: str, limit: int, n_running: int) -> RateLimited:
    """More at the same time than is allowed."""
    return RateLimited(
        f"Rate limit reached for {model} in organization {owner} on concurrent requests: Limit {limit}, "
        f"Used {n_running}, Requested 1. Please try again once one of your requests has ended.",
        retry_after_s=RETRY_S,
    )


def too_many_waiting(owner: str, model: str, limit: int, n_running: int) -> RateLimited:
    """More of a model's waiting room than the caller's share."""
    return RateLimited(
        f"Rate limit reached for {model} in organization {owner} on its share of the model's queue: "
        f"Limit {limit}, Used {n_running}, Requested 1. Please try again once one of your requests has "
        "ended.",
        retry_after_s=RETRY_S,
    )


def no_quota(owner: str, limit: int, used: int) -> QuotaExceeded:
    """The day's tokens are used up."""
    return QuotaExceeded(
        f"You exceeded your current quota in organization {owner} on tokens per day (TPD): Limit {limit}, "
        f"Used {used}. It is renewed at midnight UTC."
    )


def headers(
    requests: tuple[int, float, float] | None, tokens: tuple[int, float, float] | None
) -> list[tuple[bytes, bytes]]:
    """The headers x-ratelimit-*; of each kind (limit, used, seconds until all is forgotten) or None."""
    found: list[tuple[bytes, bytes]] = []
    for kind, state in ((b"requests", requests), (b"tokens", tokens)):
        if state is not None:
            limit, used, reset_s = state
            remaining = max(0, int(limit - used + 1e-5))
            found.append((b"x-ratelimit-limit-" + kind, b"%d" % limit))
            found.append((b"x-ratelimit-remaining-" + kind, b"%d" % remaining))
            found.append((b"x-ratelimit-reset-" + kind, duration(reset_s).encode("ascii")))
    return found
