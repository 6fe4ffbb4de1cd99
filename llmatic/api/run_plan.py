"""What a run is asked to do: an interaction, prompts or messages with data become a chat request.

Owns the meaning of the fields of an execution. The chat request is checked like any other. Event loop's
thread; templates are filled in in a process of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmatic.api.context import ApiContext
from llmatic.api.run_render import LOCAL
from llmatic.api.taping import source_of
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest
from llmatic.services.composing import OF_RUN
from llmatic.services.terms import Caller
from llmatic.store.interactions import InteractionRecord

Body = dict[str, Any]

_WAYS: Final = ("interaction", "prompts", "messages")
_OPTIONS: Final = (
    *("temperature", "top_p", "max_tokens", "seed", "stop", "presence_penalty", "frequency_penalty"),
    *("top_k", "min_p", "repetition_penalty", "reasoning_effort"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that can be executed. `body`: the chat request, checked; `recorded`: what is kept of it.

    `details` are those of its summary that are known before.
    """

    body: Body
    recorded: Body
    spec: ModelSpec
    details: Body
    interaction: InteractionRecord | None


async def plan_run(context: ApiContext, asked: Body, caller: Caller) -> Plan:
    """Raises InvalidRequest naming the field or variable at fault, NotFound, ModelNotFound."""
    interaction = await _interaction(context, asked, caller)
    definition: Mapping[str, Any] = {} if interaction is None else interaction.definition
    config: Mapping[str, Any] = asked.get("config") or {}
    check_environment(config.get("environment"))
    data = asked.get("data") or {}
    schema = asked.get("result_schema") or definition.get("result_schema")
    body = _options(definition, config) | {
        "model": _model(definition, config),
        "messages": await _messages(context, caller.principal.owner, asked, definition, schema),
    }
    if asked.get("tool_definitions"):
        body["tools"] = [_tool(tool) for tool in asked["tool_definitions"]]
    if schema is not None:
        name = "result" if interaction is None else "".join(filter(_is_name, interaction.name))[:64]
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": name or "result", "schema": schema},
        }
    checked = context.contract.check("createChatCompletion", body)
    spec = context.registry.resolve(checked["model"])
    validates = asked.get("do_validate", config.get("do_validate", True))
    own = {"data": data, "result_schema": schema, "do_validate": validates}
    details: Body = {
        "tags": asked.get("tags") or [],
        "parent": asked.get("parent"),
        "source": source_of(caller),
    }
    if interaction is not None:
        details["interaction"] = {
            "id": interaction.id,
            "name": interaction.name,
            "description": definition.get("description"),
            "status": interaction.status,
            "version": interaction.version,
        }
    return Plan(checked, {**checked, OF_RUN: own}, spec, details, interaction)


async def _interaction(context: ApiContext, asked: Body, caller: Caller) -> InteractionRecord | None:
    ways = [way for way in _WAYS if asked.get(way) is not None]
    if len(ways) != 1:
        what = "none of them was given" if not ways else f"not both '{ways[0]}' and '{ways[1]}'"
        raise InvalidRequest(
            f"Give one of 'interaction', 'prompts' and 'messages': {what}.",
            param=ways[1] if ways else "interaction",
        )
    if ways[0] != "interaction":
        return None
    return await context.stored.interactions.find(caller.principal.owner, asked["interaction"])


async def _messages(
    context: ApiContext, owner: str, asked: Body, definition: Mapping[str, Any], schema: Any
) -> list[Body]:
    schemas = {} if schema is None else {"result_schema": schema}
    confined = context.stored.interactions.confined
    if asked.get("messages") is not None:
        await confined.check(owner, (), schemas)
        messages: list[Body] = asked["messages"]
        return messages
    prompts = asked["prompts"] if asked.get("prompts") is not None else definition.get("prompts", [])
    data = asked.get("data") or {}
    return await confined.render(owner, prompts, data, definition.get("interaction_schema"), schemas)


def _tool(tool: Body) -> Body:
    named = {name: tool[name] for name in ("name", "description") if tool.get(name) is not None}
    return {"type": "function", "function": {**named, "parameters": tool["input_schema"]}}


def _options(definition: Mapping[str, Any], config: Mapping[str, Any]) -> Body:
    """Sampling: the interaction's, over it the config's."""
    given: Body = {}
    for options in (definition.get("model_options"), config.get("model_options"), config):
        given |= {
            name: value for name, value in (options or {}).items() if name in _OPTIONS and value is not None
        }
    return given


def _model(definition: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    name: str | None = config.get("model") or definition.get("model")
    if name is None:
        raise InvalidRequest(
            "Missing required parameter: 'config.model'; the interaction names no model either.",
            param="config.model",
            code="missing_required_parameter",
        )
    return name


def _is_name(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character in "_-")


def check_environment(environment: str | None) -> None:
    """Raises InvalidRequest for an environment other than this server."""
    if environment is not None and environment != LOCAL["id"]:
        raise InvalidRequest(
            f"The environment '{environment[:100]}' does not exist. The only one is 'local', this server.",
            param="config.environment",
        )
