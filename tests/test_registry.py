"""Which names mean which model."""

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ModelNotFound
from llmatic.core.principal import EVERYBODY, NOBODY, Principal
from llmatic.registry import Registry

ONE = ModelSpec(id="org/one", source="x", aliases=("gpt-4o", "uno"))
TWO = ModelSpec(id="two", source="y")


@pytest.fixture
def registry() -> Registry:
    return Registry({spec.id: spec for spec in (ONE, TWO)}, started=7)


@pytest.mark.parametrize(("name", "spec"), [("org/one", ONE), ("gpt-4o", ONE), ("uno", ONE), ("two", TWO)])
def test_resolve(registry: Registry, name: str, spec: ModelSpec) -> None:
    assert registry.resolve(name) is spec


@pytest.mark.parametrize("name", ["x", "", "TWO", "org"])
def test_unknown_names_in_openais_words(registry: Registry, name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        registry.resolve(name)
    assert caught.value.message == f"The model `{name}` does not exist or you do not have access to it."
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", None)


def test_a_model_with_a_base_is_itself() -> None:
    derived = ModelSpec(id="legal", source="", base="two", aliases=("law",))
    registry = Registry({"two": TWO, "legal": derived}, started=7)
    assert registry.resolve("legal") is registry.resolve("law") is derived
    assert (registry.knows("law"), registry.knows("lex")) == (True, False)


def test_listing(registry: Registry) -> None:
    assert registry.specs() == (ONE, TWO)
    assert registry.names() == (("org/one", ONE), ("two", TWO), ("gpt-4o", ONE), ("uno", ONE))
    assert registry.started == 7


@pytest.mark.parametrize(
    ("models", "seen"),
    [
        ({"uno"}, [ONE]),
        ({"org/one", "two"}, [ONE, TWO]),
        ({"two", "none"}, [TWO]),
        ({"none"}, []),
        (set(), []),
    ],
)
def test_who_has_only_some_models_knows_no_others(
    registry: Registry, models: set[str], seen: list[ModelSpec]
) -> None:
    view = registry.seen_by(Principal("k", "k", models=frozenset(models)))
    assert list(view.specs()) == seen
    assert view.started == registry.started
    for name, spec in registry.names():
        assert view.knows(name) is (spec in seen)
    assert registry.seen_by(Principal("other", "o", models=frozenset(models))) is view


def test_who_has_all_models_sees_the_registry_itself(registry: Registry) -> None:
    assert registry.seen_by(EVERYBODY) is registry
    assert registry.seen_by(NOBODY).specs() == ()
