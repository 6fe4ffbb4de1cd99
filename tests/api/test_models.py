"""GET /models and /engines under every prefix."""

import pytest

from tests.api.conftest import Served
from tests.fakes import SPEC


def test_sdk_lists_and_retrieves(api: Served) -> None:
    client = api.sdk()
    models = client.models.list().data
    assert [model.id for model in models] == [SPEC.id, "gpt-4o-mini"]
    # The SDK sends the slash of the id as %2F.
    assert [client.models.retrieve(model.id) for model in models] == models


@pytest.mark.parametrize("prefix", ["/v1", "", "/oaiv1"])
def test_prefixes(api: Served, prefix: str) -> None:
    listed = api.http.get(f"{prefix}/models").json()
    assert list(listed) == ["object", "data"]
    for model in listed["data"]:
        assert {"id", "object", "created", "owned_by", "permission", "root", "parent", "capabilities"} == set(
            model
        )
        assert api.http.get(f"{prefix}/models/{model['id']}").json() == model
    engines = api.http.get(f"{prefix}/engines").json()["data"]
    assert all(engine["object"] == "engine" and engine["ready"] for engine in engines)
    assert api.http.get(f"{prefix}/engines/{SPEC.id}").json() == engines[0]


def test_getmodels(api: Served) -> None:
    assert api.http.get("/oaiv1/getmodels").json() == api.http.get("/v1/models").json()


def test_oaiv1_completion(api: Served) -> None:
    body = {"model": SPEC.id, "user": "somebody else"}
    assert api.http.post("/oaiv1/completions", json=body).json()["choices"][0]["text"] == "Hello wörld!"


def test_alias_shows_its_model(api: Served) -> None:
    model = api.http.get("/models/gpt-4o-mini").json()
    assert (model["id"], model["root"]) == ("gpt-4o-mini", SPEC.id)
    assert model["permission"][0]["object"] == "model_permission"
