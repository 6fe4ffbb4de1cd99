"""The terms that a request is served on: for whom, how soon, sharing what with whom.

Owns what both generating endpoints have in common besides sampling. Takes bodies that the contract has
checked. None of this is about the text. Pure; any thread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from llmatic.core.principal import EVERYBODY, Principal
from llmatic.core.types import CacheRetention, GenerationRequest, Priority
from llmatic.services.metering import UNMETERED, Meter

Body = Mapping[str, Any]

_PRIORITIES: Final[Mapping[str, Priority]] = {
    "priority": Priority.PRIORITY,
    "fast": Priority.PRIORITY,
    "flex": Priority.FLEX,
}
_TIERS: Final[Mapping[Priority, str]] = {Priority.PRIORITY: "priority", Priority.FLEX: "flex"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `client`: the identity, for fairness. `tenant`: computed prompts are shared within it only.

    The tenant holds no slash; it is empty for callers who share with each other. `principal.owner` is whose
    files, batches, responses and runs are seen. `meter` is told what was computed for it.
    `priority`: the one of everything it asks for, whatever the body says; None: the body's word counts.
    """

    client: str = ""
    tenant: str = ""
    principal: Principal = EVERYBODY
    meter: Meter = UNMETERED
    priority: Priority | None = None


def with_terms(
    requests: Iterable[GenerationRequest], body: Body, caller: Caller
) -> tuple[GenerationRequest, ...]:
    """The requests of one call, with what the body and the caller say of their serving."""
    options = body.get("prompt_cache_options") or {}
    tier, salt = priority_of(caller, body), cache_salt(caller.tenant, body.get("cache_salt"))
    # A lifetime is asked for where a reuse is expected, which is what a key says.
    key = body.get("prompt_cache_key") or options.get("ttl") or ""
    retention = cache_retention(body)
    return tuple(
        replace(
            request,
            client=caller.client,
            priority=tier,
            cache_salt=salt,
            cache_key=key,
            cache_retention=retention,
        )
        for request in requests
    )


def priority(body: Body) -> Priority:
    """`service_tier`; the tiers that mean nothing here are the default one."""
    return _PRIORITIES.get(body.get("service_tier", ""), Priority.DEFAULT)


def priority_of(caller: Caller, body: Body) -> Priority:
    """The caller's own, else `service_tier`."""
    return priority(body) if caller.priority is None else caller.priority


def service_tier(body: Body) -> str:
    """The tier that replies name: the one that was used."""
    return _TIERS.get(priority(body), "default")


def cache_salt(tenant: str, salt: str | None) -> str:
    """One text for both; different pairs give different texts, and no tenant without a salt the empty one."""
    return tenant if salt is None else f"{tenant}/{salt}"


def cache_retention(body: Body) -> CacheRetention | None:
    """`prompt_cache_retention`, of which there are two spellings."""
    value = body.get("prompt_cache_retention")
    return None if value is None else cast(CacheRetention, value.replace("-", "_"))
