# mypy: ignore-errors
"""What applications of Anthropic's SDK and of LangChain's package for it do."""

import asyncio
from typing import Annotated

import anthropic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from tests.clients.programs import examples

HOST = examples.base_url().removesuffix("/v1")
MODEL = examples.MODEL
TEST = [{"role": "user", "content": "Say this is a test"}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 40}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
# Newer versions of the SDK have no argument for it.
GREEDY = {"extra_body": {"temperature": 0}}
SHORT = {"model": MODEL, "max_tokens": 60, **GREEDY}


def client(**options):
    return anthropic.Anthropic(
        base_url=HOST, api_key=examples.KEY, max_retries=0, _strict_response_validation=True, **options
    )


def created():
    message = client().messages.create(messages=TEST, **SHORT)
    return [message.type, message.role, message.model, message.stop_reason, message.content[0].text]


def usage():
    def prompt_tokens(found):
        return found.input_tokens + found.cache_read_input_tokens

    whole = client().messages.create(messages=TEST, system="Be brief.", **SHORT)
    with client().messages.stream(messages=TEST, system="Be brief.", **SHORT) as stream:
        streamed = stream.get_final_message()
    counted = client().messages.count_tokens(model=MODEL, messages=TEST, system="Be brief.")
    return [
        prompt_tokens(whole.usage),
        prompt_tokens(streamed.usage),
        counted.input_tokens,
        whole.usage.output_tokens == streamed.usage.output_tokens > 0,
        client().messages.with_raw_response.create(messages=TEST, **SHORT).headers["request-id"][:4],
        whole._request_id[:4],
    ]


def streamed():
    with client().messages.stream(messages=TEST, **SHORT) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    events = [event.type for event in client().messages.create(messages=TEST, stream=True, **SHORT)]
    return {"text": final.content[0].text, "reason": final.stop_reason, "kinds": kinds, "events": events}


def awaited():
    async def ask():
        async with anthropic.AsyncAnthropic(base_url=HOST, auth_token=examples.KEY) as client:
            message = await client.messages.create(messages=TEST, **SHORT)
            async with client.messages.stream(messages=TEST, **SHORT) as stream:
                pieces = [piece async for piece in stream.text_stream]
            return [message.content[0].text, "".join(pieces)]

    return asyncio.run(ask())


def prefilled():
    begun = {"role": "assistant", "content": "This is"}
    return client().messages.create(messages=[*TEST, begun], **SHORT).content[0].text


def stopped():
    message = client().messages.create(messages=TEST, stop_sequences=["zebra", "test"], **SHORT)
    with client().messages.stream(messages=TEST, stop_sequences=["zebra", "test"], **SHORT) as stream:
        streamed = stream.get_final_message()
    return [[found.stop_reason, found.stop_sequence, found.content[0].text] for found in (message, streamed)]


def limited():
    wanted = {"model": MODEL, "max_tokens": 2, **GREEDY}
    message = client().messages.create(messages=TEST, **wanted)
    return [message.stop_reason, message.usage.output_tokens]


def longer_than_the_context():
    wanted = {"model": MODEL, "max_tokens": 100_000, **GREEDY}
    return client(timeout=60).messages.create(messages=TEST, **wanted).stop_reason


def used_tools():
    forced = {"type": "tool", "name": "get_weather"}
    ask = {"messages": WEATHER, "tools": [TOOL], "tool_choice": forced, "max_tokens": 300, **GREEDY}
    message = client().messages.create(model=MODEL, **ask)
    with client().messages.stream(model=MODEL, **ask) as stream:
        streamed = stream.get_final_message()
    use = message.content[-1]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny, 21 degrees"}
    turns = [
        *WEATHER,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    answer = client().messages.create(messages=turns, tools=[TOOL], **SHORT)
    return {
        "reasons": [message.stop_reason, streamed.stop_reason],
        "inputs": [use.input, streamed.content[-1].input],
        "name": use.name,
        "answer": [block.type for block in answer.content],
    }


def ran_tools():
    @anthropic.beta_tool
    def get_weather(city: Annotated[str, Field(max_length=40)]) -> str:
        """Get the weather of a city

        Args:
            city: Where
        """
        return f"sunny in {city}"

    runner = client().beta.messages.tool_runner(
        messages=WEATHER, tools=[get_weather], max_iterations=3, **SHORT
    )
    return [message.stop_reason for message in runner][-1]


def parsed():
    class Person(BaseModel):
        name: Annotated[str, Field(max_length=30)]
        age: Annotated[int, Field(ge=0, le=150)]

    found = client().messages.parse(
        model=MODEL,
        max_tokens=200,
        messages=[{"role": "user", "content": "Give me a JSON object with name Anna and age 31."}],
        output_format=Person,
    )
    return found.parsed_output.model_dump()


def thought():
    message = client().messages.create(
        model="fake-thinker",
        max_tokens=60,
        messages=TEST,
        thinking={"type": "enabled", "budget_tokens": 20},
    )
    with client().messages.stream(model="fake-thinker", max_tokens=60, messages=TEST) as stream:
        streamed = stream.get_final_message()
    turns = [*TEST, {"role": "assistant", "content": message.content}, *TEST]
    again = client().messages.create(model="fake-thinker", max_tokens=60, messages=turns)
    blocks = [[block.model_dump(mode="json") for block in found.content] for found in (message, streamed)]
    return {"whole": blocks[0], "streamed": blocks[1], "again": again.content[0].type}


def refused():
    def attempt(**fields):
        try:
            client().messages.create(**{"model": MODEL, "max_tokens": 8, "messages": TEST} | fields)
        except anthropic.APIStatusError as error:
            return [
                type(error).__name__,
                error.status_code,
                error.type,
                error.api_message,
                error.request_id[:4],
            ]

    long = [{"role": "user", "content": "word " * 20_000}]
    return {
        "model": attempt(model="nothing"),
        "field": attempt(extra_body={"temperature": 3}),
        "tool": attempt(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        "kind": attempt(model="fake-embedder"),
        "long": attempt(messages=long),
    }


def died():
    words = [{"role": "user", "content": "one two three four five six"}]
    heard = []
    try:
        for event in client().messages.create(model="fake-dying", max_tokens=60, messages=words, stream=True):
            heard.append(event.type)
    except anthropic.APIStatusError as error:
        return [heard[0], heard[-1], type(error).__name__, error.type]


def models():
    with client() as asked:
        listed = [model.id for model in asked.models.list(limit=1)]
        one = asked.models.retrieve(MODEL)
    return {"listed": listed, "one": [one.id, one.type, one.display_name, one.max_input_tokens]}


def langchain():
    @tool
    def get_weather(city: Annotated[str, Field(max_length=40)]) -> str:
        """Get the weather of a city"""
        return f"sunny in {city}"

    class Person(BaseModel):
        """Somebody."""

        name: Annotated[str, Field(max_length=30)]
        age: Annotated[int, Field(ge=0, le=150)]

    chat = ChatAnthropic(
        model=MODEL, base_url=HOST, api_key=examples.KEY, temperature=0, max_tokens=300, max_retries=0
    )
    invoked = chat.invoke("Say this is a test")
    pieces = list(chat.stream("Say this is a test"))
    asked = HumanMessage("What is the weather in Paris?")
    calling = chat.bind_tools([get_weather], tool_choice="get_weather").invoke([asked])
    results = [ToolMessage("sunny", tool_call_id=call["id"]) for call in calling.tool_calls]
    after = chat.bind_tools([get_weather]).invoke([asked, calling, *results])
    made = chat.with_structured_output(Person).invoke("Give me a JSON object with name Anna and age 31.")
    return {
        "invoked": invoked.content,
        "streamed": "".join(piece.text for piece in pieces),
        "tokens": [
            invoked.usage_metadata["input_tokens"],
            sum((piece.usage_metadata or {}).get("input_tokens", 0) for piece in pieces),
        ],
        "called": [call["name"] for call in calling.tool_calls],
        "after": after.type,
        "person": made.model_dump(),
    }


if __name__ == "__main__":
    examples.run(
        created,
        usage,
        streamed,
        awaited,
        prefilled,
        stopped,
        limited,
        longer_than_the_context,
        used_tools,
        ran_tools,
        parsed,
        thought,
        refused,
        died,
        models,
        langchain,
    )
