"""Tools with the current official SDK: every `tool_choice`, round trips, streams and the helpers around them."""

import json
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageParam,
    ChatCompletionToolMessageParam,
)
from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel

MODEL = "llmatic-tiny"
SAY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say this is a test"}]
ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the weather in Paris?"}]
BOTH: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the weather in Paris and Rome?"}
]


def function(
    name: str, about: str, strict: bool = False, limit: int | None = None, **kinds: str
) -> ChatCompletionFunctionToolParam:
    bound = {} if limit is None else {"maxLength": limit}
    properties = {key: {"type": kind, **(bound if kind == "string" else {})} for key, kind in kinds.items()}
    parameters: dict[str, object] = {"type": "object", "properties": properties, "required": [*kinds]}
    if strict:
        parameters["additionalProperties"] = False
    return {
        "type": "function",
        "function": {"name": name, "description": about, "parameters": parameters, "strict": strict},
    }


WEATHER = function("get_weather", "Get the weather of a city", city="string")
LIGHT = function("set_light", "Switch a light", room="string", on="boolean")
TOOLS = [LIGHT, WEATHER]
# For questions that need no tool: who knows what a small model writes into a string without an end.
BOUNDED = [
    function("set_light", "Switch a light", limit=40, room="string", on="boolean"),
    function("get_weather", "Get the weather of a city", limit=40, city="string"),
]


def choice(client: openai.OpenAI, messages: list[ChatCompletionMessageParam], **fields: Any) -> Choice:
    body: Any = {"model": MODEL, "temperature": 0, "max_tokens": 300, "tools": TOOLS} | fields
    found: Choice = client.chat.completions.create(messages=messages, **body).choices[0]
    return found


def calls(found: Choice) -> list[tuple[str, Any]]:
    """Name and arguments of every call; each has an id of its own."""
    made = found.message.tool_calls or []
    assert len({call.id for call in made}) == len(made)
    assert all(isinstance(call, ChatCompletionMessageFunctionToolCall) and call.id for call in made)
    functions = [call.function for call in made if isinstance(call, ChatCompletionMessageFunctionToolCall)]
    return [(made.name, json.loads(made.arguments)) for made in functions]


def test_auto_calls_when_the_question_needs_it(client: openai.OpenAI) -> None:
    found = choice(client, ASK)
    assert found.finish_reason == "tool_calls"
    assert found.message.content is None
    assert calls(found) == [("get_weather", {"city": "Paris"})]


def test_auto_answers_in_text_when_it_does_not(client: openai.OpenAI) -> None:
    found = choice(client, SAY, tool_choice="auto")
    assert found.finish_reason == "stop"
    assert found.message.content == "This is a test"
    assert found.message.tool_calls is None


def test_none_never_calls(client: openai.OpenAI) -> None:
    found = choice(client, ASK, tool_choice="none")
    assert found.message.tool_calls is None
    assert found.message.content
    assert "<tool_call>" not in found.message.content


def test_required_calls_whatever_was_asked(client: openai.OpenAI) -> None:
    found = choice(client, SAY, tools=BOUNDED, tool_choice="required", parallel_tool_calls=False)
    [(name, arguments)] = calls(found)
    wanted = {"get_weather": ["city"], "set_light": ["room", "on"]}
    assert list(arguments) == wanted[name]
    assert found.finish_reason in ("stop", "tool_calls")


@pytest.mark.parametrize(("name", "keys"), [("get_weather", {"city"}), ("set_light", {"room", "on"})])
@pytest.mark.parametrize("strict", [True, False])
def test_a_named_function_is_called_whatever_was_asked(
    client: openai.OpenAI, name: str, keys: set[str], strict: bool
) -> None:
    tools = [
        function("get_weather", "Get the weather of a city", strict, limit=40, city="string"),
        function("set_light", "Switch a light", strict, limit=40, room="string", on="boolean"),
    ]
    named = {"type": "function", "function": {"name": name}}
    found = choice(client, SAY, tools=tools, tool_choice=named)
    [(called, arguments)] = calls(found)
    assert called == name
    assert set(arguments) == keys


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_allowed_functions_are_called(client: openai.OpenAI, mode: Literal["auto", "required"]) -> None:
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": mode, "tools": [{"type": "function", "function": {"name": "set_light"}}]},
    }
    names = [name for name, _ in calls(choice(client, ASK, tools=BOUNDED, tool_choice=allowed))]
    assert set(names) <= {"set_light"}
    assert names or mode == "auto"


def test_parallel_calls_can_be_had_or_not(client: openai.OpenAI) -> None:
    both = [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})]
    assert calls(choice(client, BOTH)) == both
    assert calls(choice(client, BOTH, parallel_tool_calls=False)) == both[:1]


def test_a_result_is_put_into_words(client: openai.OpenAI) -> None:
    message = choice(client, ASK).message
    [call] = message.tool_calls or []
    result: ChatCompletionToolMessageParam = {
        "role": "tool",
        "tool_call_id": call.id,
        "content": "sunny, 21 degrees",
    }
    told: Any = [*ASK, message, result]
    assert choice(client, told).message.content == "It is 21 degrees and sunny in Paris."


@pytest.mark.parametrize("messages", [ASK, BOTH], ids=["one", "two"])
def test_streamed_calls_are_those_of_the_whole(
    client: openai.OpenAI, messages: list[ChatCompletionMessageParam]
) -> None:
    whole = calls(choice(client, messages))
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, temperature=0, stream=True, max_tokens=300
    )
    names: dict[int, str] = {}
    ids: dict[int, str] = {}
    arguments: dict[int, str] = {}
    reasons = []
    for chunk in stream:
        [found] = chunk.choices
        reasons.append(found.finish_reason)
        for call in found.delta.tool_calls or []:
            assert call.function is not None
            if call.index not in names:  # the first piece has the name and the id, and only that
                assert call.index == len(names)
                assert call.function.name
                assert call.id
                names[call.index], ids[call.index] = call.function.name, call.id
                assert call.type == "function"
            else:
                assert call.function.name is None
                assert call.id is None
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    assert [(names[index], json.loads(arguments[index])) for index in names] == whole
    assert reasons[-1] == "tool_calls"
    assert set(reasons[:-1]) == {None}
    assert len(set(ids.values())) == len(whole)


class get_weather(BaseModel):
    """Get the weather of a city"""

    city: str


def test_parse_helper_gives_parsed_arguments(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(
        model=MODEL, messages=ASK, tools=[openai.pydantic_function_tool(get_weather)], temperature=0
    )
    [call] = reply.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == get_weather(city="Paris")


def test_stream_helper_collects_the_calls(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(get_weather)
    done = []
    with client.chat.completions.stream(
        model=MODEL, messages=BOTH, tools=[tool], temperature=0, max_tokens=300
    ) as stream:
        for event in stream:
            if event.type == "tool_calls.function.arguments.done":
                done.append((event.index, event.name, event.parsed_arguments))
        final = stream.get_final_completion()
    assert done == [
        (0, "get_weather", get_weather(city="Paris")),
        (1, "get_weather", get_weather(city="Rome")),
    ]
    assert len(final.choices[0].message.tool_calls or []) == 2


def test_functions_are_the_older_form_of_tools(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        functions=[{"name": "get_weather", "parameters": WEATHER["function"]["parameters"]}],
        temperature=0,
    )
    found = reply.choices[0]
    assert found.finish_reason == "function_call"
    assert found.message.function_call is not None
    assert found.message.function_call.name == "get_weather"
    assert json.loads(found.message.function_call.arguments) == {"city": "Paris"}
    assert found.message.tool_calls is None


def test_text_beside_tools_has_log_probabilities(client: openai.OpenAI) -> None:
    found = choice(client, SAY, logprobs=True, top_logprobs=2)
    assert found.logprobs is not None
    tokens = found.logprobs.content or []
    assert b"".join(bytes(token.bytes or []) for token in tokens).decode() == found.message.content
    assert all(len(token.top_logprobs) == 2 for token in tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_cut_off_ends_with_length(client: openai.OpenAI, stream: bool) -> None:
    named: Any = {"type": "function", "function": {"name": "get_weather"}}
    if not stream:
        assert choice(client, ASK, tool_choice=named, max_tokens=9).finish_reason == "length"
        return
    chunks = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=TOOLS, tool_choice=named, max_tokens=9, stream=True
    )
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "length"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "nobody"}}}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": []}, "tools"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "no good"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]}, "tools[0].function.parameters"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"const": 7}}}]}, "tools[0].function.parameters"),
        ({"functions": [{"name": "f"}]}, None),
    ],
)  # fmt: skip
def test_bad_tools_are_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        choice(client, ASK, extra_body=fields)
    assert caught.value.type == "invalid_request_error"
    if param is not None:
        assert caught.value.param == param


def test_tool_choice_without_tools_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=SAY, tool_choice="required")
    assert caught.value.param == "tool_choice"
