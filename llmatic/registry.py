"""Which models there are, and by which names.

Owns the mapping from ids and aliases to specifications, and who sees which of them. Never loads a model and
never looks at a file. Its content is immutable after construction; event loop's thread.
"""

from collections.abc import Mapping

from llmatic.config import ModelSpec
from llmatic.core.errors import ModelNotFound
from llmatic.core.principal import Principal

_MAX_VIEWS = 1024


class Registry:
    """The configured models; `started` is the Unix time that the API reports as their `created`."""

    def __init__(self, models: Mapping[str, ModelSpec], *, started: int) -> None:
        self.started = started
        self._names: dict[str, ModelSpec] = {}
        for spec in models.values():
            self._names[spec.id] = spec
        for spec in models.values():
            for alias in spec.aliases:
                self._names.setdefault(alias, spec)
        self._specs = tuple(models.values())
        self._views: dict[frozenset[str], Registry] = {}

    def seen_by(self, principal: Principal) -> "Registry":
        """The models that the principal may use: those of which it was given the id or an alias.

        To whoever has only this registry, the others do not exist.
        """
        names = principal.models
        if names is None:
            return self
        view = self._views.get(names)
        if view is None:
            models = {spec.id: spec for spec in self._specs if principal.may_use(spec.id, *spec.aliases)}
            view = Registry(models, started=self.started)
            if len(self._views) >= _MAX_VIEWS:
                self._views.clear()
            self._views[names] = view
        return view

    def resolve(self, name: str) -> ModelSpec:
        """The model that `name`, an id or an alias, means. Raises ModelNotFound."""
        try:
            return self._names[name]
        except KeyError:
            raise ModelNotFound(
                f"The model `{name}` does not exist or you do not have access to it."
            ) from None

    def knows(self, name: str) -> bool:
        """Whether `name` is an id or an alias."""
        return name in self._names

    def specs(self) -> tuple[ModelSpec, ...]:
        """Every model once, in the configuration's order."""
        return self._specs

    def names(self) -> tuple[tuple[str, ModelSpec], ...]:
        """Every id, then every alias, with the model it means."""
        return tuple(self._names.items())
