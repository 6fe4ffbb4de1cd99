"""JSON schemas that callers give: compiled, and what does not fit them.

Never fetches what a schema refers to. Pure. A schema can be made that takes ages, and the interpreter's lock
is held meanwhile: callers' schemas are looked at in a process of their own (`confined`).
"""

from typing import Any

import jsonschema_rs
import orjson

from llmatic.core.errors import InvalidRequest


def compiled_schema(schema: Any, param: str) -> jsonschema_rs.Draft202012Validator:
    """Raises InvalidRequest for what is no JSON schema, or refers to other documents."""
    try:
        return jsonschema_rs.Draft202012Validator(schema, retriever=_refuse_others)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0][:300]
        raise InvalidRequest(f"Invalid schema for '{param}': {reason}", param=param) from None


def check_data(schema: Any, data: Any) -> None:
    """Raises InvalidRequest naming the first part of `data` that does not fit."""
    for error in compiled_schema(schema, "interaction_schema").iter_errors(data):
        where = ".".join(map(str, ("data", *error.instance_path)))
        raise InvalidRequest(f"Invalid value for '{where}': {error.message[:300]}", param=where)


def misfit(schema: Any, text: str) -> str | None:
    """Why the text is no JSON that fits the schema; None if it is. Raises InvalidRequest for no schema."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "The result is not JSON."
    for error in compiled_schema(schema, "result_schema").iter_errors(value):
        return f"The result does not fit the schema: {error.message[:300]}"
    return None


def _refuse_others(uri: str) -> Any:
    raise ValueError(f"it refers to {uri}")
