"""Rules that span several models: every name means one of them, and each finds the model it builds upon.

Owns what `aliases`, `base` and `draft` may name. Never reads a file. Any thread.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from llmatic.config.keys import nearest
from llmatic.config.settings import ModelSpec
from llmatic.config.tree import At, Table, fail


def related(node: Table, models: Mapping[str, ModelSpec]) -> dict[str, ModelSpec]:
    """The models, checked against each other; one with a base takes over what it does not say itself.

    Raises ConfigError with the place in `node` where the wrong name stands.
    """
    _check_names(node, models)
    for model_id, spec in models.items():
        if spec.base is not None:
            _check_base(models, model_id, spec.base, _place(node, model_id, "base"))
        if spec.draft is not None:
            _check_draft(models, spec, spec.draft, _place(node, model_id, "draft"))
    return {model_id: _derived(spec, models) for model_id, spec in models.items()}


def _check_names(node: Table, models: Mapping[str, ModelSpec]) -> None:
    """Every id and alias means one model."""
    owners = {model_id: f"the id of a model ({node.keys[model_id]})" for model_id in models}
    for model_id, spec in models.items():
        for alias in spec.aliases:
            entry = node.values[model_id]
            assert isinstance(entry, Table)
            at = entry.keys["aliases"]
            if alias in owners:
                fail(at, f"alias '{alias}' of model '{model_id}' is already {owners[alias]}")
            owners[alias] = f"an alias of model '{model_id}' ({at})"


def _check_base(models: Mapping[str, ModelSpec], model_id: str, base: str, at: At) -> None:
    if base not in models:
        _unknown(models, f"models.{model_id}.base", base, at)
    if base == model_id:
        fail(at, f"models.{model_id}.base is the model itself")
    if models[base].base is not None:
        fail(
            at,
            f"models.{model_id}.base: '{base}' has a base itself; name that one, '{models[base].base}', "
            "and list all adapters here",
        )


def _check_draft(models: Mapping[str, ModelSpec], spec: ModelSpec, draft: str, at: At) -> None:
    name = f"models.{spec.id}.draft"
    if draft not in models:
        _unknown(models, name, draft, at)
    if draft == spec.id:
        fail(at, f"{name} is the model itself, which would make nothing faster; name a smaller one")
    if models[draft].base is not None:
        fail(at, f"{name}: '{draft}' has no 'source:' of its own; name its base, '{models[draft].base}'")
    for one in (spec, models[draft]):
        if one.engine != "llama":
            fail(at, f"{name}: drafting needs the engine llama, and '{one.id}' is run by '{one.engine}'")


def _derived(spec: ModelSpec, models: Mapping[str, ModelSpec]) -> ModelSpec:
    if spec.base is None:
        return spec
    base = models[spec.base]
    adapters = {adapter.path: adapter for adapter in (*base.adapters, *spec.adapters)}
    return replace(
        spec,
        engine=base.engine,
        sampling={**base.sampling, **spec.sampling},
        adapters=tuple(adapters.values()),
        moderation=spec.moderation or base.moderation,
    )


def _unknown(models: Mapping[str, ModelSpec], name: str, wrong: str, at: At) -> NoReturn:
    owner = next((spec.id for spec in models.values() if wrong in spec.aliases), None)
    hint = nearest(wrong, models) if owner is None else f"it is an alias of '{owner}'; write the id"
    fail(at, f"{name}: no model has the id '{wrong}'; {hint}")


def _place(node: Table, model_id: str, key: str) -> At:
    entry = node.values[model_id]
    assert isinstance(entry, Table)
    return entry.values[key].at
