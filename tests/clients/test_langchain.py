"""LangChain's own OpenAI classes, pointed at the server."""

from typing import Annotated, Any, Literal

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, Field, SecretStr

from tests.clients import shapes
from tests.clients.conftest import Server

MODEL = "llmatic-tiny"
KEY = SecretStr("sk-local")
ANNA = "Give me a JSON object with name Anna and age 31."
WEATHER = "What is the weather in Paris?"


class Person(BaseModel):
    """Somebody."""

    name: Annotated[str, Field(max_length=30)]
    age: Annotated[int, Field(ge=0, le=150)]


class Address(BaseModel):
    street: Annotated[str, Field(max_length=20)]
    kind: Literal["home", "work"]


class Contact(BaseModel):
    """A contact."""

    name: Annotated[str, Field(max_length=20)]
    addresses: Annotated[list[Address], Field(min_length=1, max_length=2)]
    nickname: Annotated[str, Field(max_length=10)] | None


@tool
def get_weather(city: Annotated[str, Field(max_length=40)]) -> str:
    """Get the weather of a city"""
    return f"sunny, 21 degrees in {city}"


@tool
def set_light(room: Annotated[str, Field(max_length=40)], on: bool) -> str:
    """Switch a light"""
    return f"{room}: {on}"


TOOLS: list[BaseTool] = [get_weather, set_light]


@pytest.fixture
def chat(server: Server) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        base_url=server.base_url,
        api_key=KEY,
        temperature=0,
        max_retries=0,
        max_completion_tokens=400,
    )


def test_chat_openai_invokes(chat: ChatOpenAI) -> None:
    assert "this is a test" in str(chat.invoke("Say this is a test").content).lower()


def test_chat_openai_streams_what_it_invokes(chat: ChatOpenAI) -> None:
    streamed = "".join(str(chunk.content) for chunk in chat.stream("Say this is a test"))
    assert streamed == chat.invoke("Say this is a test").content


def test_completion_class_sends_explicit_nulls(server: Server) -> None:
    llm = OpenAI(
        model=MODEL, base_url=server.base_url, api_key=KEY, max_tokens=6, temperature=0, max_retries=0
    )
    assert llm.invoke("Say this is a test")


def test_structured_output_by_schema(chat: ChatOpenAI) -> None:
    made = chat.with_structured_output(Person, method="json_schema")
    assert made.invoke(ANNA) == Person(name="Anna", age=31)


def test_structured_output_by_json_mode(chat: ChatOpenAI) -> None:
    made = chat.with_structured_output(Person, method="json_mode")
    assert made.invoke(ANNA) == Person(name="Anna", age=31)


@pytest.mark.parametrize("strict", [True, False, None])
def test_structured_output_by_a_named_function(chat: ChatOpenAI, strict: bool | None) -> None:
    made = chat.with_structured_output(Person, method="function_calling", strict=strict)
    person = made.invoke(ANNA)
    assert isinstance(person, Person)
    shapes.assert_person(person.model_dump())


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_nested_structured_output(
    chat: ChatOpenAI, method: Literal["json_schema", "function_calling"]
) -> None:
    contact = chat.with_structured_output(Contact, method=method).invoke(ANNA)
    assert isinstance(contact, Contact)
    shapes.assert_contact(contact.model_dump())


def test_structured_output_keeps_the_raw_message(chat: ChatOpenAI) -> None:
    made = chat.with_structured_output(Person, method="function_calling", include_raw=True)
    found: Any = made.invoke(ANNA)
    assert found["parsing_error"] is None
    [call] = found["raw"].tool_calls
    assert call["args"] == found["parsed"].model_dump()


def test_structured_output_is_streamed(chat: ChatOpenAI) -> None:
    definition = {"title": "Person", "description": "Somebody.", **Person.model_json_schema()}
    parts: list[Any] = list(chat.with_structured_output(definition, method="function_calling").stream(ANNA))
    shapes.assert_growing(parts, parts[-1])
    shapes.assert_person(parts[-1])


def test_bound_tools_are_called_and_their_results_told(chat: ChatOpenAI) -> None:
    bound = chat.bind_tools(TOOLS)
    first = bound.invoke(WEATHER)
    assert isinstance(first, AIMessage)
    [call] = first.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = ToolMessage("sunny, 21 degrees", tool_call_id=call["id"] or "")
    last = bound.invoke([HumanMessage(WEATHER), first, result])
    assert last.content == "It is 21 degrees and sunny in Paris."
    assert first.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("choice", ["any", "required", True])
def test_bound_tools_can_be_required(chat: ChatOpenAI, choice: str | bool) -> None:
    tools = TOOLS[:1] if choice is True else TOOLS
    message = chat.bind_tools(tools, tool_choice=choice, parallel_tool_calls=False).invoke(
        "Say this is a test"
    )
    assert isinstance(message, AIMessage)
    [call] = message.tool_calls
    assert sorted(call["args"]) == {"get_weather": ["city"], "set_light": ["on", "room"]}[call["name"]]


def test_a_bound_tool_can_be_named(chat: ChatOpenAI) -> None:
    message = chat.bind_tools(TOOLS, tool_choice="set_light", strict=True).invoke(WEATHER)
    assert isinstance(message, AIMessage)
    assert [call["name"] for call in message.tool_calls] == ["set_light"]
    assert isinstance(message.tool_calls[0]["args"]["on"], bool)


def test_bound_tools_can_be_forbidden(chat: ChatOpenAI) -> None:
    message = chat.bind_tools(TOOLS, tool_choice="none").invoke(WEATHER)
    assert isinstance(message, AIMessage)
    assert message.tool_calls == []
    assert message.content


def test_streamed_calls_add_up(chat: ChatOpenAI) -> None:
    chunks = list(chat.bind_tools(TOOLS).stream("What is the weather in Paris and Rome?"))
    total: Any = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    assert isinstance(total, AIMessage)
    assert [(call["name"], call["args"]) for call in total.tool_calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Rome"}),
    ]
    assert total.invalid_tool_calls == []


@pytest.mark.filterwarnings("ignore:Invalid schema")  # what LangChain adds to the refusal
def test_a_format_that_cannot_be_enforced_is_refused(chat: ChatOpenAI) -> None:
    wanted = {"title": "Odd", "type": "object", "properties": {"a": {"pattern": "(?=a)b"}}, "required": ["a"]}
    with pytest.raises(openai.BadRequestError) as caught:
        chat.with_structured_output(wanted, method="json_schema").invoke(ANNA)
    assert (caught.value.param or "").startswith("response_format")
