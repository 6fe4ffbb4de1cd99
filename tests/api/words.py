"""Bodies to check, and OpenAI's sentences for what is wrong with them."""

from typing import Any

import pytest

from llmatic.api.validation import Contract
from llmatic.core.errors import InvalidRequest

CHAT = "createChatCompletion"
TEXT = "createCompletion"
HELLO = {"role": "user", "content": "hi"}

Body = dict[str, Any]


def refusal(contract: Contract, operation: str, body: Body) -> tuple[str, str | None, str | None]:
    with pytest.raises(InvalidRequest) as refused:
        contract.check(operation, body)
    return refused.value.message, refused.value.param, refused.value.code


def chat(**fields: Any) -> Body:
    return {"model": "m", "messages": [HELLO], **fields}


def text(**fields: Any) -> Body:
    return {"model": "m", **fields}


def said(**fields: Any) -> Body:
    """A chat whose second message is given."""
    return {"model": "m", "messages": [HELLO, fields]}


def bad_type(param: str, expected: str, found: str) -> tuple[str, str, str]:
    message = f"Invalid type for '{param}': expected {expected}, but got {found} instead."
    return message, param, "invalid_type"


def out_of_range(param: str, kind: str, bound: str, value: str) -> tuple[str, str, str]:
    side = "below minimum" if ">" in bound else "above maximum"
    code = f"{kind}_{'below_min' if '>' in bound else 'above_max'}_value"
    return (
        f"Invalid '{param}': {kind} {side} value. Expected a value {bound}, but got {value} instead.",
        param,
        code,
    )


def empty_array(param: str) -> tuple[str, str, str]:
    message = f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    return message, param, "empty_array"


def missing(param: str) -> tuple[str, str, str]:
    return f"Missing required parameter: '{param}'.", param, "missing_required_parameter"


def unserved(param: str, reason: str) -> tuple[str, str, str]:
    message = f"Unsupported parameter: '{param}' is not supported with this model. {reason}"
    return message, param, "unsupported_parameter"


def unserved_value(param: str, value: str, reason: str) -> tuple[str, str, str]:
    message = f"Unsupported value: '{param}' does not support {value} with this model. {reason}"
    return message, param, "unsupported_value"
