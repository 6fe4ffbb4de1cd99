"""Broken requests in Anthropic's form: each is explained, or read."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmatic.api.messages import parse_message
from llmatic.api.validation import Contract
from llmatic.app import contract_path
from llmatic.core.errors import InvalidRequest
from llmatic.services.terms import Caller
from tests.contract_check import document
from tests.fakes import SPEC

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "a", "auto", "tool", "enabled", "ephemeral", "all", "json_schema", "object", "\x00", "ü"]
    ),
)
KEYS = st.sampled_from(
    [
        *("type", "text", "source", "data", "media_type", "url", "title", "content", "id", "name", "input"),
        *(
            "tool_use_id",
            "is_error",
            "thinking",
            "signature",
            "cache_control",
            "ttl",
            "budget_tokens",
            "display",
        ),
        *(
            "input_schema",
            "description",
            "strict",
            "format",
            "effort",
            "schema",
            "edits",
            "keep",
            "user_id",
            "a",
        ),
    ]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)
KINDS = [
    "text",
    "image",
    "document",
    "search_result",
    "tool_result",
    "tool_use",
    "thinking",
    "redacted_thinking",
]
WHOLE: list[dict[str, Any]] = [
    {"type": "text", "text": "a", "cache_control": None},
    {"type": "image", "source": {"type": "url", "url": "https://x"}},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t"},
    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
    {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
    {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "a"}],
        "is_error": True,
    },
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "redacted_thinking", "data": "x"},
]
BLOCKS = st.one_of(
    st.sampled_from(WHOLE),
    st.sampled_from(WHOLE),
    st.builds(
        lambda whole, more: whole | more, st.sampled_from(WHOLE), st.dictionaries(KEYS, JSON, max_size=1)
    ),
    st.builds(lambda kind, more: more | {"type": kind}, st.sampled_from(KINDS), st.dictionaries(KEYS, JSON)),
    JSON,
)
CONTENTS = st.one_of(st.sampled_from(["", "hi"]), st.lists(BLOCKS, max_size=3), JSON)
ROLES = st.sampled_from(["user", "assistant", "user", "assistant", "system", "tool"])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": CONTENTS}), min_size=1, max_size=5)
TOOL = {"name": "f", "input_schema": {"type": "object"}}
TOOLS = st.lists(
    st.builds(lambda more: TOOL | more, st.dictionaries(KEYS, JSON, max_size=2)) | JSON, max_size=2
)


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.load(contract_path())


def outcome(contract: Contract, operation: str, body: dict[str, Any]) -> dict[str, Any] | InvalidRequest:
    """The body as it is served, which can be read; or why it is not."""
    try:
        checked = contract.check(operation, body)
        parse_message({"max_tokens": 2**31 - 1} | checked, SPEC, "msg_1", Caller())
    except InvalidRequest as error:
        return error
    return checked


@pytest.mark.parametrize("operation", ["createMessage", "countMessageTokens"])
def test_every_broken_request_is_explained_and_every_other_one_read(
    contract: Contract, operation: str
) -> None:
    name = {"createMessage": "CreateMessageRequest"}.get(operation, "CountMessageTokensRequest")
    fields = sorted(document()["components"]["schemas"][name]["properties"])
    start: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    if operation == "createMessage":
        start["max_tokens"] = 5
    some = st.dictionaries(st.sampled_from([*fields, "foo"]), JSON, max_size=2)
    talk = st.fixed_dictionaries({}, optional={"messages": MESSAGES, "tools": TOOLS, "system": CONTENTS})

    @settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.builds(lambda a, b: start | a | b, some, talk))
    def holds(body: dict[str, Any]) -> None:
        found = outcome(contract, operation, body)
        if isinstance(found, InvalidRequest):
            assert "does not fit the description" not in found.message
            assert len(found.message) < 900
        else:
            assert contract.check(operation, found) == found

    holds()
