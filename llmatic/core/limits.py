"""What a caller may use in a stretch of time: names, ranges and how they are read.

Owns the words. Never counts anything: `services.limiter` does. Immutable; any thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from llmatic.core.errors import InvalidRequest

_MANY: Final = 10**9


@dataclass(frozen=True, slots=True)
class Limits:
    """None: nothing is said, so that a default may hold. 0: no limit, whatever the default is.

    `tokens_*` count prompt and completion, also the cached part of a prompt. Days are those of UTC.
    `queue_share`: of a model's `max_queue` places, the percentage that unfinished requests may take.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    tokens_per_day: int | None = None
    queue_share: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to keep to."""
        return any(getattr(self, name) for name in NAMES)

    def over(self, defaults: "Limits") -> "Limits":
        """These, and the defaults where nothing is said."""
        missing = {name: getattr(defaults, name) for name in NAMES if getattr(self, name) is None}
        return replace(self, **missing)

    @staticmethod
    def of(stored: Mapping[str, Any]) -> "Limits":
        """As they were stored; what a newer server may have added and what is no limit is left out."""
        return Limits(**{name: stored[name] for name in NAMES if _problem(name, stored.get(name)) is None})


NAMES: Final[tuple[str, ...]] = tuple(field.name for field in fields(Limits))
RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "requests_per_minute": (0, _MANY),
    "tokens_per_minute": (0, _MANY),
    "concurrent_requests": (0, _MANY),
    "tokens_per_day": (0, _MANY * 1000),
    "queue_share": (0, 100),
}
UNLIMITED: Final = Limits()


def checked(given: Mapping[str, Any]) -> dict[str, int]:
    """The limits of a new key, as they are stored. Raises InvalidRequest naming the one at fault."""
    for name, value in given.items():
        if name not in RANGES:
            raise InvalidRequest(
                f"Unknown limit: '{name}'. Known limits are: {', '.join(NAMES)}.",
                param=name,
                code="unknown_parameter",
            )
        problem = _problem(name, value)
        if problem is not None:
            raise InvalidRequest(
                f"Invalid limit: '{name}' must be {problem}.", param=name, code="invalid_value"
            )
    return dict(given)


def _problem(name: str, value: Any) -> str | None:
    """What the value should be; None if it is."""
    low, high = RANGES[name]
    is_right = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return None if is_right else f"a whole number from {low} to {high}"
