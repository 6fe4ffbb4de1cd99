"""Who calls, and what they may do.

Owns the meaning of scopes. Immutable; any thread.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from llmatic.core.limits import Limits

Scope = Literal["inference", "files", "training", "admin"]

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
DEFAULT_SCOPES: Final[tuple[Scope, ...]] = ("inference", "files", "training")
ANONYMOUS: Final = "anonymous"
TOKEN_PREFIX: Final = "jwt-"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `id` names the key or the token's subject, for logs, limits and usage; never the key itself.

    `owner`: whose files, batches, runs and jobs are seen; several keys may share one. `models`: the ids and
    aliases that may be used, None for all. `limits`: its own, over those of the configuration.
    """

    id: str
    owner: str
    scopes: frozenset[Scope] = frozenset(SCOPES)
    models: frozenset[str] | None = None
    limits: Limits | None = None

    @property
    def kind(self) -> Literal["key", "token", "anonymous"]:
        """How it was recognised, which tells the default limits; the ids' beginnings are ours alone."""
        if self.id == ANONYMOUS:
            return "anonymous"
        return "token" if self.id.startswith(TOKEN_PREFIX) else "key"

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody was asked for a key."""
        return self.id == ANONYMOUS

    def may(self, scope: Scope) -> bool:
        """Whether it has the scope; `admin` has all."""
        return scope in self.scopes or "admin" in self.scopes

    def may_use(self, *names: str) -> bool:
        """Whether a model that has these names may be used."""
        return self.models is None or not self.models.isdisjoint(names)


EVERYBODY: Final = Principal(ANONYMOUS, ANONYMOUS)
NOBODY: Final = Principal("", "", frozenset(), frozenset())
