"""The form that an answer is to have: `response_format`, `grammar`, `regex`.

Owns what these fields of both generating endpoints mean, not whether they can be enforced: the engine says
that. Takes bodies that the contract has checked, so at most one field asks for a form. Pure; any thread.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import Constraint

Body = Mapping[str, Any]


def constraint(body: Body, *, param: str = "response_format") -> Constraint | None:
    """What every answer must match; None: nothing. `param`: under which name the client sent the format.

    Raises InvalidRequest.
    """
    if (regex := body.get("regex")) is not None:
        return Constraint("regex", regex, param="regex")
    if (grammar := body.get("grammar")) is not None:
        if isinstance(grammar, str):
            return Constraint("gbnf", grammar, param="grammar")
        return Constraint(grammar["syntax"], grammar["definition"], param="grammar")
    return _response_format(body.get("response_format") or {"type": "text"}, param)


def _response_format(wanted: Mapping[str, Any], param: str) -> Constraint | None:
    if wanted["type"] == "json_schema":
        named = wanted["json_schema"]
        is_strict = bool(named.get("strict"))
        schema = _text(named["schema"], param)
        return Constraint("json_schema", schema, is_strict=is_strict, name=named["name"], param=param)
    if wanted["type"] == "json_object":
        if wanted.get("schema") is None:
            return Constraint("json_object", param=param)
        return Constraint("json_schema", _text(wanted["schema"], param), param=param)
    return None


def _text(schema: Mapping[str, Any], param: str) -> str:
    try:
        return orjson.dumps(schema).decode()
    except orjson.JSONEncodeError:  # what was read from JSON can only be nested too deeply
        raise InvalidRequest("The schema is nested too deeply.", param=param) from None
