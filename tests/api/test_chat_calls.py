"""Thoughts and calls in replies, whole and streamed, and what reaches the engine for them."""

import re
from collections.abc import Iterable
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import (
    CallDelta,
    ChatPrompt,
    Constraint,
    Delta,
    Finished,
    GenerationRequest,
    Started,
    ToolUse,
    Usage,
)
from llmatic.engines.fake_chat import Said
from llmatic.engines.fake_text import script
from tests.api.conftest import Served
from tests.api.wire import events, shape
from tests.contract_check import assert_response_matches, assert_stream_matches
from tests.fakes import SPEC, Step, logprob

MESSAGES: list[Any] = [{"role": "user", "content": "Weather in Paris and Rome?"}]
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS: list[Any] = [{"type": "function", "function": FUNCTION}]
NAMED = {"type": "function", "function": {"name": "weather"}}
ID = re.compile(r"call_[A-Za-z0-9]{24}")


def thinking_and_calling(request: GenerationRequest) -> Iterable[Step]:
    """Thoughts, a text, and two calls, of which the second has an id of the model's own."""
    yield Started(5)
    for index in range(request.n_choices):
        yield Delta(index, "", 2, reasoning="Two ")
        yield Delta(index, "Here:", 2, reasoning="cities.")
        yield Delta(index, "", 1, calls=(CallDelta(0, "weather"),))
        yield Delta(
            index, "", 2, calls=(CallDelta(0, arguments='{"city":'), CallDelta(0, arguments='"Päris"}'))
        )
        yield Delta(index, "", 3, calls=(CallDelta(1, "weather", "own:1", '{"city":"Rome"}'),))
        yield Delta(index, "", 1, finish_reason="tool_calls")
    yield Finished(Usage(5, 11 * request.n_choices, n_reasoning_tokens=3, n_image_tokens=4, n_audio_tokens=2))


def calling(request: GenerationRequest) -> Iterable[Step]:
    """One call and nothing else."""
    yield Started(5)
    yield Delta(0, "", 2, calls=(CallDelta(0, "weather", "", '{"city"'), CallDelta(0, arguments=':"Rome"}')))
    yield Delta(0, "", 1, finish_reason="tool_calls")
    yield Finished(Usage(5, 3))


def test_a_whole_reply(api: Served) -> None:
    api.pool.script = thinking_and_calling
    raw = api.chat(tools=TOOLS)
    assert_response_matches("createChatCompletion", 200, raw.content, headers=dict(raw.headers.items()))
    (choice,) = raw.json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert list(message) == [
        "role", "content", "refusal", "annotations", "tool_calls", "reasoning_content", "reasoning"
    ]  # fmt: skip
    assert message["content"] == "Here:"
    assert message["reasoning_content"] == message["reasoning"] == "Two cities."
    first, second = message["tool_calls"]
    assert ID.fullmatch(first["id"])
    assert first["function"] == {"name": "weather", "arguments": '{"city":"Päris"}'}
    assert second == {
        "id": "own:1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
    }


def test_usage_counts_thoughts_and_media(api: Served) -> None:
    api.pool.script = thinking_and_calling
    usage = api.chat(tools=TOOLS).json()["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "audio_tokens": 2, "image_tokens": 4}
    chunks = events(api.chat(tools=TOOLS, stream=True, stream_options={"include_usage": True}).text)
    assert chunks[-2]["usage"] == usage


def test_content_is_null_beside_calls_alone(api: Served) -> None:
    api.pool.script = calling
    (choice,) = api.chat(tools=TOOLS).json()["choices"]
    assert choice["message"]["content"] is None
    assert shape(choice["message"]["tool_calls"]) == [
        {"id": None, "type": None, "function": {"name": None, "arguments": None}}
    ]


def test_a_stream(api: Served) -> None:
    api.pool.script = thinking_and_calling
    raw = api.chat(tools=TOOLS, stream=True)
    deltas = [chunk["choices"][0] for chunk in assert_stream_matches("chat", raw.content)]
    call_id = deltas[4]["delta"]["tool_calls"][0]["id"]
    assert ID.fullmatch(call_id)
    assert [choice["delta"] for choice in deltas] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"reasoning_content": "Two ", "reasoning": "Two "},
        {"reasoning_content": "cities.", "reasoning": "cities."},
        {"content": "Here:"},
        {"tool_calls": [begins(0, call_id)]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Päris"}'}}]},
        {"tool_calls": [begins(1, "own:1")]},
        {"tool_calls": [{"index": 1, "function": {"arguments": '{"city":"Rome"}'}}]},
        {},
    ]
    assert [choice["finish_reason"] for choice in deltas] == [None] * 9 + ["tool_calls"]


def begins(index: int, call_id: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": ""}
    return {"index": index, "id": call_id, "type": "function", "function": function}


def test_choices_have_calls_of_their_own(api: Served) -> None:
    api.pool.script = thinking_and_calling
    whole = api.chat(tools=TOOLS, n=2).json()["choices"]
    assert [len(choice["message"]["tool_calls"]) for choice in whole] == [2, 2]
    assert whole[0]["message"]["tool_calls"][0]["id"] != whole[1]["message"]["tool_calls"][0]["id"]


def test_the_sdk_puts_a_stream_together(api: Served) -> None:
    api.pool.script = thinking_and_calling
    with api.sdk().chat.completions.stream(model=SPEC.id, messages=MESSAGES, tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_completion().choices[0].message
    assert kinds.count("tool_calls.function.arguments.done") == 2
    assert message.tool_calls is not None
    assert [call.function.arguments for call in message.tool_calls] == ['{"city":"Päris"}', '{"city":"Rome"}']
    assert [call.function.name for call in message.tool_calls] == ["weather", "weather"]


def test_the_sdk_sends_a_reply_back(api: Served) -> None:
    api.pool.script = thinking_and_calling
    client = api.sdk()
    said = client.chat.completions.create(model=SPEC.id, messages=MESSAGES, tools=TOOLS).choices[0].message
    assert said.tool_calls is not None
    results = [{"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in said.tool_calls]
    talk: list[Any] = [*MESSAGES, said, *results]
    client.chat.completions.create(model=SPEC.id, messages=talk, tools=TOOLS)
    prompt = api.pool.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    sent = prompt.messages[1]
    assert (sent["content"], sent["reasoning_content"]) == ("Here:", "Two cities.")
    assert [call["id"] for call in sent["tool_calls"]] == [call.id for call in said.tool_calls]


@pytest.mark.parametrize(
    ("fields", "reason", "content"),
    [
        ({"tools": TOOLS}, "tool_calls", ""),
        ({"tools": TOOLS, "tool_choice": "required"}, "tool_calls", None),
        ({"tools": TOOLS, "tool_choice": NAMED}, "stop", None),
    ],
)
def test_how_a_call_ends(api: Served, fields: Any, reason: str, content: str | None) -> None:
    api.pool.script = calling
    assert api.chat(**fields).json()["choices"][0]["finish_reason"] == reason
    choices = [chunk["choices"][0] for chunk in events(api.chat(stream=True, **fields).text)[:-1]]
    assert choices[0]["delta"]["content"] == content
    assert choices[-1]["finish_reason"] == reason


def test_the_older_form_whole_and_streamed(api: Served) -> None:
    api.pool.script = calling
    (choice,) = api.chat(functions=[FUNCTION]).json()["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert "tool_calls" not in choice["message"]
    raw = api.chat(functions=[FUNCTION], stream=True)
    chunks = assert_stream_matches("chat", raw.content)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:]] == [
        {"function_call": {"name": "weather", "arguments": ""}},
        {"function_call": {"arguments": '{"city"'}},
        {"function_call": {"arguments": ':"Rome"}'}},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


SAID = Said("Let me see", "Two cities", ({"name": "weather", "arguments": {"city": "Rome"}},) * 2)


@pytest.mark.parametrize("limit", range(1, 13))
def test_a_stream_adds_up_to_the_whole_reply_wherever_it_is_cut(api: Served, limit: int) -> None:
    api.pool.script = lambda request: script(request, 4096, SAID)
    (whole,) = api.chat(tools=TOOLS, max_tokens=limit).json()["choices"]
    deltas = [
        chunk["choices"][0]
        for chunk in events(api.chat(tools=TOOLS, max_tokens=limit, stream=True).text)[:-1]
    ]
    added = added_up([choice["delta"] for choice in deltas])
    message = whole["message"]
    assert added["content"] == (message["content"] or "")
    assert added["reasoning"] == message.get("reasoning", "")
    calls = [call["function"] for call in message.get("tool_calls", [])]
    assert list(added["calls"].values()) == calls
    assert (
        deltas[-1]["finish_reason"] == whole["finish_reason"] == ("tool_calls" if limit == 12 else "length")
    )


def added_up(deltas: list[Any]) -> dict[str, Any]:
    calls: dict[int, dict[str, str]] = {}
    for call in [call for delta in deltas for call in delta.get("tool_calls", [])]:
        function = call["function"]
        if "name" in function:
            calls[call["index"]] = dict(function)
        else:
            calls[call["index"]]["arguments"] += function["arguments"]
    texts = {key: "".join(delta.get(key) or "" for delta in deltas) for key in ("content", "reasoning")}
    return {**texts, "calls": calls}


@pytest.mark.parametrize("name", ["thinking_budget_tokens", "thinking_token_budget"])
def test_a_refused_budget_is_named_as_it_was_sent(api: Served, name: str) -> None:
    words = "Unsupported parameter: 'thinking_budget_tokens' is not supported with this model."
    api.pool.script = lambda request: [InvalidRequest(words, param="thinking_budget_tokens")]
    error = api.chat(**{name: 5}).json()["error"]
    assert (error["message"], error["param"]) == (words.replace("thinking_budget_tokens", name), name)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": TOOLS}, "tools[0].function.parameters"),
        ({"functions": [FUNCTION]}, "functions[0].parameters"),
    ],
)
def test_a_refusal_names_the_field_that_was_sent(api: Served, fields: Any, param: str) -> None:
    refusal = InvalidRequest("no", param="tools[0].function.parameters", code="invalid_function_parameters")
    api.pool.script = lambda request: [refusal]
    error = api.chat(**fields).json()["error"]
    assert (error["message"], error["param"], error["code"]) == ("no", param, "invalid_function_parameters")


def test_log_probabilities_beside_thoughts_and_calls(api: Served) -> None:
    def scripted(request: GenerationRequest) -> Iterable[Step]:
        yield Started(1)
        yield Delta(0, "", 1, reasoning="hm")
        yield Delta(0, "ok", 1, (logprob("ok"),))
        yield Delta(0, "", 1, calls=(CallDelta(0, "weather", arguments="{}"),))
        yield Delta(0, "", 1, finish_reason="tool_calls")
        yield Finished(Usage(1, 4, n_reasoning_tokens=1))

    api.pool.script = scripted
    (choice,) = api.chat(tools=TOOLS, logprobs=True).json()["choices"]
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["ok"]
    raw = api.chat(tools=TOOLS, logprobs=True, stream=True)
    parts = [chunk["choices"][0]["logprobs"] for chunk in assert_stream_matches("chat", raw.content)]
    assert [part is not None for part in parts] == [False, False, True, False, False, False]


def test_every_chunk_carries_what_was_asked_for(api: Served) -> None:
    api.pool.script = thinking_and_calling
    options = {"include_usage": True, "continuous_usage_stats": True, "include_obfuscation": True}
    chunks = assert_stream_matches("chat", api.chat(tools=TOOLS, stream=True, stream_options=options).content)
    assert all(chunk["usage"] and chunk["obfuscation"] for chunk in chunks)


def test_tools_and_forms_reach_the_engine(api: Served) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    api.chat(
        tools=TOOLS,
        parallel_tool_calls=False,
        response_format=schema,
        reasoning_effort="high",
        thinking_budget_tokens=7,
        messages=[*MESSAGES, {"role": "assistant", "content": "It is"}],
    ).raise_for_status()
    (request,) = api.pool.requests
    assert request.constraint == Constraint("json_schema", '{"type":"object"}', name="n")
    assert request.reasoning_budget == 7
    prompt = request.prompt
    assert isinstance(prompt, ChatPrompt)
    assert (prompt.tools, prompt.reasoning_effort) == (ToolUse(tuple(TOOLS), is_parallel=False), "high")
    assert prompt.continues


@pytest.mark.parametrize(
    ("fields", "budget"),
    [
        ({}, None),
        ({"thinking_budget_tokens": -1}, None),
        ({"thinking_token_budget": 5}, 5),
        ({"thinking_budget_tokens": 0, "thinking_token_budget": 5}, 0),
    ],
)
def test_the_names_of_the_budget(api: Served, fields: Any, budget: int | None) -> None:
    api.chat(**fields).raise_for_status()
    assert api.pool.requests[0].reasoning_budget == budget


def test_forms_of_text_completions(api: Served) -> None:
    api.completion(prompt=["a", "b"], regex="[0-9]+").raise_for_status()
    assert [request.constraint for request in api.pool.requests] == [
        Constraint("regex", "[0-9]+", param="regex")
    ] * 2
