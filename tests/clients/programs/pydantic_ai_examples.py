# mypy: disable-error-code="import-not-found,untyped-decorator"
"""What Pydantic AI's own examples do: agents with typed outputs and tools, whole and streamed."""

import asyncio
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, ToolOutput, UnexpectedModelBehavior
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.programs import examples

PROVIDER = OpenAIProvider(base_url=examples.base_url(), api_key=examples.KEY)
MODEL = OpenAIChatModel(examples.MODEL, provider=PROVIDER)
SETTINGS = {"temperature": 0.0, "max_tokens": 400}
ANNA = "Give me a JSON object with name Anna and age 31."
WEATHER = "What is the weather in Paris?"


class Person(BaseModel):
    name: Annotated[str, Field(max_length=30)]
    age: Annotated[int, Field(ge=0, le=150)]


class Address(BaseModel):
    street: Annotated[str, Field(max_length=20)]
    kind: Literal["home", "work"]


class Contact(BaseModel):
    name: Annotated[str, Field(max_length=20)]
    addresses: Annotated[list[Address], Field(min_length=1, max_length=2)]
    nickname: Annotated[str, Field(max_length=10)] | None
    is_friend: bool


class Impossible(BaseModel):
    code: Annotated[str, Field(json_schema_extra={"pattern": "(unclosed"})]


def agent(**more: Any) -> Any:
    return Agent(MODEL, model_settings=SETTINGS, retries=0, **more)


def weather_agent(calls: list[str]) -> Any:
    made = agent()

    @made.tool_plain
    def get_weather(city: str) -> str:
        """Get the weather of a city"""
        calls.append(city)
        return "sunny, 21 degrees"

    return made


def text() -> Any:
    return agent().run_sync("Say this is a test").output


def output_by_tool() -> Any:
    return agent(output_type=Person).run_sync(ANNA).output.model_dump()


def output_by_schema() -> Any:
    return agent(output_type=NativeOutput(Person)).run_sync(ANNA).output.model_dump()


def nested_by_tool() -> Any:
    return agent(output_type=ToolOutput(Contact, strict=True)).run_sync(ANNA).output.model_dump()


def nested_by_schema() -> Any:
    return agent(output_type=NativeOutput(Contact, strict=True)).run_sync(ANNA).output.model_dump()


def one_of_two() -> Any:
    output = agent(output_type=[Person, Address]).run_sync(ANNA).output
    return {"class": type(output).__name__, "output": output.model_dump()}


def tool() -> Any:
    calls: list[str] = []
    result = weather_agent(calls).run_sync(WEATHER)
    return {"calls": calls, "output": result.output, "requests": result.usage.requests}


def tool_streamed() -> Any:
    calls: list[str] = []

    async def main() -> Any:
        async with weather_agent(calls).run_stream(WEATHER) as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        return {"calls": calls, "pieces": pieces}

    return asyncio.run(main())


def output_streamed() -> Any:
    async def main() -> Any:
        async with agent(output_type=Person).run_stream(ANNA) as result:
            parts = [part async for part in result.stream_output(debounce_by=None)]
        return [part.model_dump() for part in parts]

    return asyncio.run(main())


def cut_off() -> Any:
    try:
        agent(output_type=NativeOutput(Contact)).run_sync(ANNA, model_settings={"max_tokens": 16})
    except UnexpectedModelBehavior as error:
        return [type(error).__name__, str(error)]


def refused() -> Any:
    try:
        agent(output_type=NativeOutput(Impossible, strict=True)).run_sync(ANNA)
    except ModelHTTPError as error:
        return {"status": error.status_code, "body": error.body}


EXAMPLES = (
    text, output_by_tool, output_by_schema, nested_by_tool, nested_by_schema, one_of_two, tool, tool_streamed,
    output_streamed, cut_off, refused,
)  # fmt: skip

if __name__ == "__main__":
    examples.run(*EXAMPLES)
