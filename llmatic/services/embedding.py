"""What the fields of /embeddings mean to an encoder.

Takes bodies that the contract has checked (types and ranges hold, nulls are gone). The fields `input_type`
and `truncate` mean the same wherever an operation has them. Pure; any thread.
"""

from collections.abc import Mapping
from typing import Any, Final

from llmatic.core.encoding import EncodeRequest, InputType, TooLong
from llmatic.services.terms import Caller, priority_of

Body = Mapping[str, Any]

_INPUT_TYPES: Final[Mapping[str, InputType]] = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "search_document": "document",
    "passage": "document",
}


def embed_request(body: Body, request_id: str, caller: Caller) -> EncodeRequest:
    """The request for one vector of each input."""
    texts, token_ids = inputs(body["input"])
    dimensions = body.get("dimensions")
    return EncodeRequest(
        id=request_id,
        task="embed",
        texts=texts,
        token_ids=token_ids,
        input_type=input_type(body),
        dimensions=None if dimensions is None else int(dimensions),
        too_long=too_long(body),
        client=caller.client,
        priority=priority_of(caller, body),
    )


def inputs(value: str | list[Any]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The texts, or instead of them the lists of token ids; one list of ids is one input."""
    if isinstance(value, str):
        return (value,), ()
    if isinstance(value[0], str):
        return tuple(value), ()
    if isinstance(value[0], list):
        return (), tuple(map(tuple, value))
    return (), (tuple(value),)


def input_type(body: Body) -> InputType | None:
    """`input_type`, of which every provider has spellings of its own."""
    name = body.get("input_type")
    return None if name is None else _INPUT_TYPES[name]


def too_long(body: Body) -> TooLong | None:
    """`truncate`: what the request itself says of inputs that are too long; None: nothing."""
    value = body.get("truncate")
    if value is None:
        return None
    return "truncate" if value in (True, "END") else "refuse"
