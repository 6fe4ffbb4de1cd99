# mypy: disable-error-code="import-not-found,untyped-decorator"
"""What the Agents SDK's own examples do over chat completions: tools, typed outputs, handoffs, streams."""

import asyncio
from typing import Annotated, Any, Literal

import agents
import openai
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel, Field

from tests.clients.programs import examples

agents.set_tracing_disabled(True)
LOOP = asyncio.new_event_loop()  # one for all: the client keeps its connections in it
CLIENT = openai.AsyncOpenAI(base_url=examples.base_url(), api_key=examples.KEY, max_retries=0)
MODEL = agents.OpenAIChatCompletionsModel(model=examples.MODEL, openai_client=CLIENT)
ANNA = "Give me a JSON object with name Anna and age 31."
WEATHER = "What is the weather in Paris?"


class Address(BaseModel):
    street: Annotated[str, Field(max_length=20)]
    kind: Literal["home", "work"]


class Contact(BaseModel):
    name: Annotated[str, Field(max_length=20)]
    age: Annotated[int, Field(ge=0, le=150)]
    addresses: Annotated[list[Address], Field(min_length=1, max_length=2)]
    nickname: Annotated[str, Field(max_length=10)] | None


class Person(BaseModel):
    name: Annotated[str, Field(max_length=30)]
    age: Annotated[int, Field(ge=0, le=150)]


class Impossible(BaseModel):
    code: Annotated[str, Field(json_schema_extra={"pattern": "(unclosed"})]


def agent(name: str = "Assistant", **more: Any) -> Any:
    settings = {"temperature": 0.0, "max_tokens": 400, **more.pop("settings", {})}
    return agents.Agent(name=name, model=MODEL, model_settings=agents.ModelSettings(**settings), **more)


def weather_tool(calls: list[str]) -> Any:
    @agents.function_tool
    def get_weather(city: Annotated[str, Field(max_length=40)]) -> str:
        """Get the weather of a city"""
        calls.append(city)
        return "sunny, 21 degrees"

    return get_weather


def answer(made: Any, question: str) -> Any:
    return LOOP.run_until_complete(agents.Runner.run(made, question, max_turns=3)).final_output


def text() -> Any:
    return answer(agent(), "Say this is a test")


def tool() -> Any:
    calls: list[str] = []
    result = LOOP.run_until_complete(agents.Runner.run(agent(tools=[weather_tool(calls)]), WEATHER))
    return {
        "calls": calls,
        "output": result.final_output,
        "items": [item.type for item in result.new_items],
        "requests": result.context_wrapper.usage.requests,
    }


def tool_streamed() -> Any:
    calls: list[str] = []

    async def main() -> Any:
        result = agents.Runner.run_streamed(agent(tools=[weather_tool(calls)]), WEATHER)
        pieces, items = [], []
        async for event in result.stream_events():
            if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
                pieces.append(event.data.delta)
            elif event.type == "run_item_stream_event":
                items.append(event.name)
        return {"calls": calls, "pieces": pieces, "items": items, "output": result.final_output}

    return LOOP.run_until_complete(main())


def required_tool() -> Any:
    calls: list[str] = []
    settings = {"tool_choice": "required", "parallel_tool_calls": False}
    made = agent(tools=[weather_tool(calls)], settings=settings, tool_use_behavior="stop_on_first_tool")
    return {"output": answer(made, "Say this is a test"), "n_calls": len(calls)}


def named_tool() -> Any:
    calls: list[str] = []
    made = agent(
        tools=[weather_tool(calls)],
        settings={"tool_choice": "get_weather"},
        tool_use_behavior="stop_on_first_tool",
    )
    return {"output": answer(made, WEATHER), "calls": calls}


def no_tool() -> Any:
    calls: list[str] = []
    made = agent(tools=[weather_tool(calls)], settings={"tool_choice": "none"})
    return {"output": answer(made, WEATHER), "calls": calls}


def parallel_tools(is_parallel: bool) -> Any:
    calls: list[str] = []
    made = agent(
        tools=[weather_tool(calls)],
        settings={"parallel_tool_calls": is_parallel},
        tool_use_behavior="stop_on_first_tool",
    )
    answer(made, "What is the weather in Paris and Rome?")
    return calls


def both_at_once() -> Any:
    return parallel_tools(True)


def one_at_a_time() -> Any:
    return parallel_tools(False)


def handoff() -> Any:
    other = agent("Greeter")
    made = agent("Desk", handoffs=[other], settings={"tool_choice": "transfer_to_greeter"})
    result = LOOP.run_until_complete(agents.Runner.run(made, "Say this is a test"))
    return {"last": result.last_agent.name, "output": result.final_output}


def output() -> Any:
    return answer(agent(output_type=Person), ANNA).model_dump()


def nested_output() -> Any:
    return answer(agent(output_type=Contact), ANNA).model_dump()


def cut_off() -> Any:
    try:
        return repr(answer(agent(output_type=Contact, settings={"max_tokens": 16}), ANNA))
    except agents.ModelBehaviorError as error:
        return type(error).__name__


def refused() -> Any:
    try:
        return repr(answer(agent(output_type=Impossible), ANNA))
    except openai.BadRequestError as error:
        return {"param": error.param, "type": error.type}


EXAMPLES = (
    text, tool, tool_streamed, required_tool, named_tool, no_tool, both_at_once, one_at_a_time, handoff, output,
    nested_output, cut_off, refused,
)  # fmt: skip

if __name__ == "__main__":
    examples.run(*EXAMPLES)
