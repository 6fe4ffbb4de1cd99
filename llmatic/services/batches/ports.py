"""What batches need of the API: to have a body answered as if it had come over HTTP.

Owns the interface; whoever implements it is found by the composition root.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from llmatic.core.errors import LlmaticError
from llmatic.core.principal import Principal

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """The model that answers, by its id, and how many lines it can use at a time.

    A line of more than `line_bytes` counts as several.
    """

    model_id: str
    n_at_once: int
    line_bytes: int = 256 * 1024

    def n_slots(self, size_bytes: int) -> int:
        """As how many a line of that size counts."""
        return min(self.n_at_once, 1 + size_bytes // self.line_bytes)


class Operations(Protocol):
    """The operations that a batch may name, by their paths below /v1."""

    def place(self, endpoint: str, body: Body, principal: Principal) -> Place:
        """Where a body would be answered. Raises ModelNotFound, InvalidRequest."""
        ...

    async def run(self, endpoint: str, body: Body, principal: Principal, *, size_bytes: int = 0) -> bytes:
        """The body of the whole reply, in JSON on one line. `size_bytes`: of the line.

        Raises LlmaticError for everything that goes wrong.
        """
        ...

    def refusal(self, error: LlmaticError) -> bytes:
        """The body of the reply that tells of an error."""
        ...

    def request_id(self) -> str:
        """A new name for one request."""
        ...
