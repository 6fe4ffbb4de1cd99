"""POST /messages and /messages/count_tokens over HTTP: what fields mean, and the replies."""

import json
from typing import Any

import pytest

from llmatic.core.errors import ContextLengthExceeded
from llmatic.core.types import CallDelta, Delta, GenerationRequest, Priority
from tests.api.conftest import Served
from tests.api.messaging import HELLO, WEATHER, as_programs_ask, ask, playing, prompt
from tests.api.wire import messages_events
from tests.contract_check import assert_response_matches, component
from tests.fakes import SPEC


@pytest.mark.parametrize("path", ["/v1/messages", "/messages", "/oaiv1/messages", "/v1/messages?beta=true"])
def test_a_whole_reply_has_anthropics_keys(api: Served, path: str) -> None:
    reply = ask(api, path)
    assert_response_matches("createMessage", 200, reply.content)
    body = reply.json()
    assert body.pop("id").startswith("msg_")
    assert body == {
        "type": "message",
        "role": "assistant",
        "model": SPEC.id,
        "content": [{"type": "text", "text": "Hello wörld!"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "output_tokens": 4,
            "output_tokens_details": {"thinking_tokens": 0},
            "service_tier": "standard",
        },
    }
    assert reply.headers["request-id"] == reply.headers["x-request-id"]
    assert "openai-version" not in reply.headers


def test_every_field_reaches_the_engine(api: Served) -> None:
    ask(
        api,
        model="gpt-4o-mini",
        max_tokens=300,
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        temperature=0.25,
        top_p=0.5,
        top_k=7,
        stop_sequences=["\n", "END"],
        speed="fast",
        thinking={"type": "enabled", "budget_tokens": 100},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        metadata={"user_id": "u"},
        service_tier="auto",
        cache_control={"type": "ephemeral", "ttl": "1h"},
    )
    request = api.pool.requests[-1]
    assert request.max_tokens == 300
    assert request.shortens
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.top_k) == (0.25, 0.5, 7)
    assert request.stop == ("\n", "END")
    assert request.priority is Priority.PRIORITY
    assert request.reasoning_budget == 100
    assert request.cache_key == "1h"
    assert request.constraint is not None
    assert (request.constraint.kind, request.constraint.source) == ("json_schema", '{"type":"object"}')
    assert prompt(api).reasoning_effort == "high"
    assert prompt(api).messages == ({"role": "system", "content": "Be brief.\n\nBe kind."}, HELLO)


@pytest.mark.parametrize(
    ("fields", "effort", "budget"),
    [
        ({}, None, None),
        ({"thinking": {"type": "disabled"}}, None, 0),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "medium", 9),
        ({"thinking": {"type": "adaptive"}}, None, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max", None),
        ({"output_config": {"effort": None, "format": None}}, None, None),
    ],
)
def test_thinking(api: Served, fields: dict[str, Any], effort: str | None, budget: int | None) -> None:
    assert ask(api, **fields).status_code == 200
    assert prompt(api).reasoning_effort == effort
    assert prompt(api).effort_is_wish  # programs send what suits the model whose name they know
    assert api.pool.requests[-1].reasoning_budget == budget


def test_a_program_as_it_calls(api: Served) -> None:
    body = as_programs_ask()
    headers = {
        "x-api-key": "local",
        "authorization": "Bearer local",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,something-new-2027-01-01",
    }
    assert api.http.head("/").status_code == 200
    assert api.http.head("/", headers=headers).status_code == 200
    reply = api.http.post("/v1/messages", params={"beta": "true"}, headers=headers, json=body)
    assert reply.status_code == 200, reply.text
    assert "event: message_stop" in reply.text
    counted = {name: body[name] for name in ("model", "system", "messages", "tools", "thinking")}
    reply = api.http.post("/v1/messages/count_tokens", params={"beta": "true"}, headers=headers, json=counted)
    assert reply.json() == {"input_tokens": 7}


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ({}, ""),
        ({"cache_control": None}, ""),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}, "5m"),
        ({"tools": [WEATHER | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}]}, "1h"),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
            ]}]},
            "5m",
        ),
    ],
)  # fmt: skip
def test_marks_of_the_cache_are_found_wherever_they_stand(
    api: Served, where: dict[str, Any], key: str
) -> None:
    assert ask(api, **where).status_code == 200
    assert api.pool.requests[-1].cache_key == key


def test_tools_are_offered(api: Served) -> None:
    tool = WEATHER | {"input_examples": [{"city": "Paris"}], "type": "custom", "strict": True}
    ask(api, tools=[tool], tool_choice={"type": "tool", "name": "get_weather"})
    use = prompt(api).tools
    assert use is not None
    assert (use.mode, use.allowed, use.is_parallel) == ("required", ("get_weather",), False)
    assert use.definitions[0]["function"] == {
        "name": "get_weather",
        "description": 'Get the weather of a city\n\nExamples of its input:\n{"city":"Paris"}',
        "parameters": WEATHER["input_schema"],
        "strict": True,
    }
    ask(api, tools=[WEATHER], tool_choice={"type": "any", "disable_parallel_tool_use": True})
    use = prompt(api).tools
    assert use is not None
    assert (use.mode, use.allowed, use.is_parallel) == ("required", (), False)
    ask(api, tools=[WEATHER], tool_choice={"type": "none"})
    assert prompt(api).tools is None
    ask(api, tools=[])
    assert prompt(api).tools is None


CALLING = (
    Delta(0, "", 2, reasoning="Let me "),
    Delta(0, "", 1, reasoning="see."),
    Delta(0, "I look.", 2),
    Delta(0, "", 1, calls=(CallDelta(0, "get_weather", "functions.x:0"), CallDelta(0, arguments='{"ci'))),
    Delta(0, "", 1, calls=(CallDelta(0, arguments='ty":"Paris"}'),)),
    Delta(0, "", 1, calls=(CallDelta(1, "get_weather", "abc"), CallDelta(1, arguments="{}"))),
    Delta(0, "", 1, (), "tool_calls"),
)


def put_together(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of a stream's events."""
    message: dict[str, Any] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                block = message["content"][event["index"]]
                (field,) = event["delta"].keys() - {"type"}
                block[field] = block.get(field, "") + event["delta"][field]
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= event["usage"]
    for block in message["content"]:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block.pop("partial_json"))
    return message


@pytest.mark.parametrize("fields", [{}, {"thinking": {"type": "adaptive", "display": "omitted"}}])
def test_a_stream_makes_the_same_message_as_a_whole_reply(api: Served, fields: dict[str, Any]) -> None:
    api.pool.script = playing(*CALLING)
    whole = ask(api, tools=[WEATHER], **fields).json()
    reply = ask(api, tools=[WEATHER], stream=True, **fields)
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = messages_events(reply.text)
    for event in events:
        component("MessageStreamEvent").validate(event)
    streamed = put_together(events)
    for message in (whole, streamed):
        del message["id"]
        # The first id can be no id of Anthropic's.
        assert message["content"][2].pop("id").startswith("toolu_")
    assert streamed == whole
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert whole["content"][0]["thinking"] == ("" if fields else "Let me see.")
    assert len(whole["content"][0]["signature"]) == 44
    assert whole["content"][2]["input"] == {"city": "Paris"}
    assert whole["content"][3]["id"] == "abc"
    assert whole["stop_reason"] == "tool_use"


def test_blocks_come_in_the_order_in_which_they_were_written(api: Served) -> None:
    api.pool.script = playing(
        Delta(0, "", 1, calls=(CallDelta(0, "get_weather"), CallDelta(0, arguments="{}"))),
        Delta(0, "and", 1),
        Delta(0, " more", 1),
        Delta(0, "", 1, reasoning="hm"),
        Delta(0, "text", 1),
        Delta(0, "", 1, calls=(CallDelta(1, "get_weather"), CallDelta(1, arguments='{"a":'))),
        Delta(0, "", 1, (), "length"),
    )
    whole = ask(api, tools=[WEATHER]).json()
    kinds = [block["type"] for block in whole["content"]]
    assert kinds == ["tool_use", "text", "thinking", "text", "tool_use"]
    assert [block.get("text") for block in whole["content"]] == [None, "and more", None, "text", None]
    # What was cut off within its arguments is no object.
    assert whole["content"][-1]["input"] == {}
    events = messages_events(ask(api, tools=[WEATHER], stream=True).text)
    assert [event["content_block"]["type"] for event in events if "content_block" in event] == kinds


def test_the_events_of_a_stream_in_their_order(api: Served) -> None:
    events = messages_events(ask(api, stream=True).text)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["content"] == []
    assert events[0]["message"]["stop_reason"] is None
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert events[3]["delta"] == {"type": "text_delta", "text": " wörld"}
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None}
    assert events[-2]["usage"]["cache_read_input_tokens"] == 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("last", "reason", "stop"),
    [
        (Delta(0, "", 1, (), "stop"), "end_turn", None),
        (Delta(0, "", 1, (), "stop", stop="END"), "stop_sequence", "END"),
        # One of the model's own configuration is nothing that the client knows.
        (Delta(0, "", 1, (), "stop", stop="other"), "end_turn", None),
        (Delta(0, "", 63, (), "length"), "max_tokens", None),
        (Delta(0, "", 1, (), "length"), "model_context_window_exceeded", None),
        (Delta(0, "", 1, (), "tool_calls"), "tool_use", None),
    ],
)
def test_why_a_message_has_ended(
    api: Served, last: Delta, reason: str, stop: str | None, stream: bool
) -> None:
    api.pool.script = playing(Delta(0, "a", 1), last)
    reply = ask(api, stop_sequences=["END"], stream=stream)
    message = put_together(messages_events(reply.text)) if stream else reply.json()
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, stop)


def test_nothing_is_written_for_no_tokens(api: Served) -> None:
    api.pool.script = playing(Delta(0, "", 0, (), "length"))
    body = ask(api, max_tokens=0).json()
    assert (body["content"], body["stop_reason"], body["usage"]["output_tokens"]) == ([], "max_tokens", 0)


def test_a_prefill_is_continued(api: Served) -> None:
    ask(api, messages=[HELLO, {"role": "assistant", "content": "The answer is ("}])
    assert prompt(api).continues
    ask(api, messages=[HELLO, {"role": "assistant", "content": [{"type": "text", "text": ""}]}])
    assert not prompt(api).continues
    assert prompt(api).messages == (HELLO,)


def test_tokens_are_counted_without_being_computed(api: Served) -> None:
    body = {"model": SPEC.id, "messages": [HELLO], "tools": [WEATHER], "system": "S"}
    reply = api.http.post("/v1/messages/count_tokens", json=body)
    assert_response_matches("countMessageTokens", 200, reply.content)
    assert reply.json() == {"input_tokens": 7}
    assert api.pool.cancelled.is_set()
    assert api.pool.n_open == 0
    assert prompt(api).tools is not None
    thinking = {"type": "enabled", "budget_tokens": 4000}
    assert api.http.post("/v1/messages/count_tokens", json=body | {"thinking": thinking}).status_code == 200
    reply = api.http.post("/v1/messages/count_tokens", json={"model": SPEC.id})
    assert reply.json()["error"]["message"] == "messages: Field required"
    api.pool.script = lambda request: [ContextLengthExceeded("much", param="messages")]
    reply = api.http.post("/v1/messages/count_tokens", json=body)
    assert reply.json()["error"]["message"] == "prompt is too long: much"


def test_adapters_and_choices_are_as_everywhere(api: Served) -> None:
    ask(api, model="gpt-4o-mini")
    request: GenerationRequest = api.pool.requests[-1]
    assert (api.pool.model_ids[-1], request.n_choices, request.id[:4]) == (SPEC.id, 1, "msg_")
