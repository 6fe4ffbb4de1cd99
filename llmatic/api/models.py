"""GET /models and /models/{model}; GET /engines and /engines/{engine_id}, their older names.

Shows every id and every alias; whether a model is loaded makes no difference. Pure; any thread.
"""

import hashlib
from typing import Any

import orjson
from starlette.types import Scope

from llmatic.api.errors import invalid_url
from llmatic.api.replies import Answer
from llmatic.config import ModelSpec
from llmatic.registry import Registry

OWNER = "llmatic"


class ModelViews:
    """Replies of the four paths."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def list_models(self, _scope: Scope) -> Answer:
        """All models under all their names."""
        data = [model_object(name, spec, self._registry.started) for name, spec in self._registry.names()]
        return Answer(orjson.dumps({"object": "list", "data": data}))

    def retrieve_model(self, scope: Scope) -> Answer:
        """One model. Raises ModelNotFound."""
        name = _name_in(scope, "model")
        spec = self._registry.resolve(name)
        return Answer(orjson.dumps(model_object(name, spec, self._registry.started)))

    def list_engines(self, _scope: Scope) -> Answer:
        """The same models in their older form."""
        data = [engine_object(name, self._registry.started) for name, _ in self._registry.names()]
        return Answer(orjson.dumps({"object": "list", "data": data}))

    def retrieve_engine(self, scope: Scope) -> Answer:
        """One model in its older form. Raises ModelNotFound."""
        name = _name_in(scope, "engine_id")
        self._registry.resolve(name)
        return Answer(orjson.dumps(engine_object(name, self._registry.started)))


def model_object(name: str, spec: ModelSpec, created: int) -> dict[str, Any]:
    """A model as OpenAI describes it, with the permissions of its older API.

    `root` is the registered id, whatever the name; `parent` is the base that this model is made of.
    """
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "permission": [_permission(name, created)],
        "root": spec.id,
        "parent": spec.base,
    }


def engine_object(name: str, created: int) -> dict[str, Any]:
    """An engine; one that loads on first use is ready."""
    return {"id": name, "object": "engine", "created": created, "owner": OWNER, "ready": True}


def _permission(name: str, created: int) -> dict[str, Any]:
    return {
        "id": "modelperm-" + hashlib.sha256(name.encode("utf-8")).hexdigest()[:24],
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }


def _name_in(scope: Scope, placeholder: str) -> str:
    name: str = scope["path_params"][placeholder]
    if not name:
        raise invalid_url(scope["method"], scope["path"])
    return name
