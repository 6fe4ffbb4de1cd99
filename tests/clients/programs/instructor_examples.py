# mypy: disable-error-code="import-not-found,attr-defined"
"""What instructor's own examples do: extract models, in parts and many at a time, and fail as it fails."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import instructor
import openai
from instructor.core import IncompleteOutputException, InstructorRetryException
from pydantic import BaseModel, Field

from tests.clients.programs import examples

SDK = openai.OpenAI(base_url=examples.base_url(), api_key=examples.KEY, max_retries=0)
ANNA = [{"role": "user", "content": "Give me a JSON object with name Anna and age 31."}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris and Rome?"}]
ASK = {"model": examples.MODEL, "temperature": 0, "max_tokens": 400, "max_retries": 0}


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
    level: Literal[1, 2, 3]
    addresses: Annotated[list[Address], Field(min_length=1, max_length=2)]
    nickname: Annotated[str, Field(max_length=10)] | None
    is_friend: bool


class get_weather(BaseModel):
    """Get the weather of a city"""

    city: str


class Impossible(BaseModel):
    code: Annotated[str, Field(json_schema_extra={"pattern": "(unclosed"})]


def client(mode: Any) -> Any:
    return instructor.from_openai(SDK, mode=mode)


def tools() -> Any:
    return (
        client(instructor.Mode.TOOLS)
        .chat.completions.create(response_model=Person, messages=ANNA, **ASK)
        .model_dump()
    )


def json_schema() -> Any:
    made = client(instructor.Mode.JSON_SCHEMA).chat.completions
    return made.create(response_model=Person, messages=ANNA, **ASK).model_dump()


def nested_by_tools() -> Any:
    made = client(instructor.Mode.TOOLS).chat.completions
    return made.create(response_model=Contact, messages=ANNA, **ASK).model_dump()


def nested_by_json_schema() -> Any:
    made = client(instructor.Mode.JSON_SCHEMA).chat.completions
    return made.create(response_model=Contact, messages=ANNA, **ASK).model_dump()


def strict_tools() -> Any:
    made = client(instructor.Mode.TOOLS_STRICT).chat.completions
    return made.create(response_model=Contact, messages=ANNA, **ASK).model_dump()


def with_completion() -> Any:
    made = client(instructor.Mode.TOOLS).chat.completions
    person, completion = made.create_with_completion(response_model=Person, messages=ANNA, **ASK)
    choice = completion.choices[0]
    return {
        "person": person.model_dump(),
        "n_calls": len(choice.message.tool_calls),
        "finish_reason": choice.finish_reason,
        "total_tokens": completion.usage.total_tokens,
    }


def partial() -> Any:
    made = client(instructor.Mode.TOOLS).chat.completions
    return [part.model_dump() for part in made.create_partial(response_model=Person, messages=ANNA, **ASK)]


def partial_json_schema() -> Any:
    made = client(instructor.Mode.JSON_SCHEMA).chat.completions
    return [part.model_dump() for part in made.create_partial(response_model=Person, messages=ANNA, **ASK)]


def parallel() -> Any:
    made = client(instructor.Mode.PARALLEL_TOOLS).chat.completions
    return [
        call.model_dump()
        for call in made.create(response_model=Iterable[get_weather], messages=WEATHER, **ASK)
    ]


def cut_off() -> Any:
    try:
        client(instructor.Mode.TOOLS).chat.completions.create(
            response_model=Contact, messages=ANNA, **{**ASK, "max_tokens": 12}
        )
    except (IncompleteOutputException, InstructorRetryException) as error:
        return chain(error)


def refused() -> Any:
    made = client(instructor.Mode.JSON_SCHEMA).chat.completions
    try:
        made.create(response_model=Impossible, messages=ANNA, **ASK)
    except (openai.BadRequestError, InstructorRetryException) as error:
        return chain(error)


def chain(error: BaseException | None) -> list[str]:
    """The names of an error's class and of its causes'."""
    return [] if error is None else [type(error).__name__, *chain(error.__cause__)]


if __name__ == "__main__":
    examples.run(
        tools, json_schema, nested_by_tools, nested_by_json_schema, strict_tools, with_completion, partial,
        partial_json_schema, parallel, cut_off, refused,
    )  # fmt: skip
