"""/responses and /conversations by the current official SDK, against a real server and the embedded model."""

import os
import signal
from typing import Any

import openai
import pytest
from pydantic import BaseModel

MODEL = "llmatic-tiny"
SAY = "Say this is a test"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 40}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Person(BaseModel):
    name: str
    age: int


def test_a_text_is_answered(client: openai.OpenAI) -> None:
    reply = client.responses.create(model=MODEL, input=SAY, temperature=0)
    assert "this is a test" in reply.output_text.lower()
    assert reply.usage is not None
    counted = client.responses.input_tokens.count(model=MODEL, input=SAY)
    assert counted.input_tokens == reply.usage.input_tokens


def test_it_says_what_the_chat_says(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": SAY}], temperature=0
    )
    reply = client.responses.create(model=MODEL, input=SAY, temperature=0)
    assert reply.output_text == chat.choices[0].message.content


def test_streamed_text_equals_the_whole(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input=SAY, temperature=0)
    with client.responses.stream(model=MODEL, input=SAY, temperature=0) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(pieces) == final.output_text == whole.output_text
    assert len(pieces) > 1


def test_a_parsed_answer(client: openai.OpenAI) -> None:
    reply = client.responses.parse(
        model=MODEL,
        input="Give me a JSON object with name Anna and age 31.",
        text_format=Person,
        temperature=0,
        max_output_tokens=200,
    )
    assert reply.output_parsed == Person(name="Anna", age=31)


def test_a_tool_is_called_and_its_result_told(client: openai.OpenAI) -> None:
    first = client.responses.create(
        model=MODEL, input="What is the weather in Paris?", tools=[WEATHER], temperature=0
    )
    (call,) = (item for item in first.output if item.type == "function_call")
    assert (call.name, call.arguments.replace(" ", "")) == ("get_weather", '{"city":"Paris"}')
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 21 degrees"}
    second = client.responses.create(
        model=MODEL, input=[result], previous_response_id=first.id, tools=[WEATHER], temperature=0
    )
    assert "21 degrees" in second.output_text
    again: Any = [
        {"role": "user", "content": "What is the weather in Paris?"},
        *(item.to_dict() for item in first.output),
        result,
    ]
    third = client.responses.create(model=MODEL, input=again, tools=[WEATHER], temperature=0, store=False)
    assert third.output_text == second.output_text


def test_thoughts_are_items(client: openai.OpenAI) -> None:
    with client.responses.stream(model="thinker", input=SAY, temperature=0, max_output_tokens=64) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert {item.type for item in final.output} <= {"reasoning", "message"}
    assert ("response.reasoning_text.delta" in kinds) == any(
        item.type == "reasoning" for item in final.output
    )


def test_a_conversation(client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    for _ in range(2):
        client.responses.create(model=MODEL, input=SAY, conversation=conversation.id, temperature=0)
    items = list(client.conversations.items.list(conversation.id, order="asc", limit=1))
    assert [item.role for item in items if item.type == "message"] == ["user", "assistant"] * 2


def test_in_the_background(client: openai.OpenAI) -> None:
    reply = client.responses.create(model=MODEL, input=SAY, temperature=0, background=True)
    assert reply.status == "queued"
    with client.responses.stream(response_id=reply.id) as stream:
        final = stream.get_final_response()
    assert client.responses.retrieve(reply.id).output_text == final.output_text
    assert final.status == "completed"


def test_a_long_input_is_cut(client: openai.OpenAI) -> None:
    turn: Any = [{"role": "user", "content": "word " * 900}, {"role": "assistant", "content": "yes"}]
    items = [*turn * 12, {"role": "user", "content": SAY}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input=items, temperature=0)
    assert refused.value.code == "context_length_exceeded"
    reply = client.responses.create(
        model=MODEL, input=items, temperature=0, truncation="auto", max_output_tokens=16
    )
    assert reply.usage is not None
    assert 900 < reply.usage.input_tokens < 2048


def test_a_schema_that_cannot_be_enforced_is_refused(client: openai.OpenAI) -> None:
    schema: Any = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(unclosed"}}}
    text: Any = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model=MODEL, input=SAY, text=text, stream=stream)
        assert refused.value.param is not None
        assert refused.value.param.startswith("text.format")


def test_a_worker_killed_within_a_stream(client: openai.OpenAI) -> None:
    status: Any = client.get(f"/models/{MODEL}/status", cast_to=object)
    stream = client.responses.create(
        model=MODEL, input="Count to a thousand.", stream=True, max_output_tokens=1500, extra_body={"seed": 1}
    )
    kinds = []
    for event in stream:
        kinds.append(event.type)
        if kinds.count("response.output_text.delta") == 1 and event.type == "response.output_text.delta":
            os.kill(status["pid"], signal.SIGKILL)
        final = event
    assert kinds[-1] == "response.failed"
    assert final.type == "response.failed"
    kept = client.responses.retrieve(final.response.id)
    assert (kept.status, kept.error is not None) == ("failed", True)
    assert (
        "this is a test" in client.responses.create(model=MODEL, input=SAY, temperature=0).output_text.lower()
    )
