"""GET /models and /models/{model}; GET /engines and /engines/{engine_id}, their older names.

Shows every id and every alias; of a model that is not loaded, what its file tells. Event loop's thread; files
are read in another.
"""

import asyncio
import hashlib
from dataclasses import asdict
from typing import Any

import orjson
from starlette.types import Scope

from llmatic.api.endpoint import principal_of
from llmatic.api.errors import invalid_url
from llmatic.api.families import ANTHROPIC
from llmatic.api.model_infos import model_info, model_page
from llmatic.api.replies import Answer
from llmatic.config import ModelSpec
from llmatic.core.ports import EnginePool
from llmatic.registry import Registry
from llmatic.services.capabilities import Capabilities, KnownCapabilities

OWNER = "llmatic"


class ModelViews:
    """Replies of the four paths."""

    def __init__(self, registry: Registry, pool: EnginePool, known: KnownCapabilities) -> None:
        self._registry = registry
        self._pool = pool
        self._known = known

    async def list_models(self, scope: Scope) -> Answer:
        """All models that the caller may use, under all their names."""
        registry = self._seen(scope)
        found = {spec.id: await self._capabilities(spec) for spec in registry.specs()}
        if scope["llmatic.family"] is ANTHROPIC:
            infos = [
                model_info(name, spec.id, registry.started, found[spec.id])
                for name, spec in registry.names()
                if found[spec.id].chat is not False
            ]
            return Answer(orjson.dumps(model_page(infos, scope.get("query_string", b""))))
        data = [model_object(name, spec, registry.started, found[spec.id]) for name, spec in registry.names()]
        return Answer(orjson.dumps({"object": "list", "data": data}))

    async def retrieve_model(self, scope: Scope) -> Answer:
        """One model. Raises ModelNotFound."""
        name = _name_in(scope, "model")
        spec = self._seen(scope).resolve(name)
        found = await self._capabilities(spec)
        if scope["llmatic.family"] is ANTHROPIC:
            return Answer(orjson.dumps(model_info(name, spec.id, self._registry.started, found)))
        return Answer(orjson.dumps(model_object(name, spec, self._registry.started, found)))

    def list_engines(self, scope: Scope) -> Answer:
        """The same models in their older form."""
        registry = self._seen(scope)
        data = [engine_object(name, registry.started) for name, _ in registry.names()]
        return Answer(orjson.dumps({"object": "list", "data": data}))

    def retrieve_engine(self, scope: Scope) -> Answer:
        """One model in its older form. Raises ModelNotFound."""
        name = _name_in(scope, "engine_id")
        self._seen(scope).resolve(name)
        return Answer(orjson.dumps(engine_object(name, self._registry.started)))

    def _seen(self, scope: Scope) -> Registry:
        return self._registry.seen_by(principal_of(scope))

    async def _capabilities(self, spec: ModelSpec) -> Capabilities:
        info = self._pool.info(spec.id)
        if info is not None:
            return self._known.of(spec, info)
        return await asyncio.to_thread(self._known.of, spec)


def model_object(name: str, spec: ModelSpec, created: int, can: Capabilities) -> dict[str, Any]:
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
        "capabilities": asdict(can),
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
