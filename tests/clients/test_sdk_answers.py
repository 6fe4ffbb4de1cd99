"""Answers that fit a form, reasoning and prefill, with the current official SDK."""

import json
import re
from typing import Annotated, Any, Literal

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

MODEL = "llmatic-tiny"
SAY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say this is a test"}]
ANNA: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Give me a JSON object with name Anna and age 31."}
]


class Person(BaseModel):
    name: str
    age: int


class Address(BaseModel):
    street: Annotated[str, Field(max_length=20)]
    kind: Literal["home", "work"]


class Contact(BaseModel):
    name: Annotated[str, Field(max_length=20)]
    born: Annotated[int, Field(ge=1900, le=2030)]
    addresses: Annotated[list[Address], Field(min_length=1, max_length=2)]
    nickname: Annotated[str, Field(max_length=10)] | None
    is_friend: bool


class Node(BaseModel):
    """A recursive model."""

    value: Annotated[int, Field(ge=0, le=9)]
    below: Annotated[list["Node"], Field(max_length=1)]


def schema(definition: dict[str, Any], strict: bool = False) -> Any:
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": definition, "strict": strict},
    }


def ask(client: openai.OpenAI, messages: list[ChatCompletionMessageParam], **fields: Any) -> str:
    body: Any = {"model": MODEL, "max_tokens": 400, "temperature": 0} | fields
    choice = client.chat.completions.create(messages=messages, **body).choices[0]
    assert choice.finish_reason == "stop"
    content: str = choice.message.content
    return content


def test_parse_gives_the_model(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(model=MODEL, messages=ANNA, response_format=Person, temperature=0)
    message = reply.choices[0].message
    assert message.parsed == Person(name="Anna", age=31)
    assert message.refusal is None


@pytest.mark.parametrize("seed", range(3))
def test_nested_models_parse_whatever_is_drawn(client: openai.OpenAI, seed: int) -> None:
    reply = client.chat.completions.parse(
        model=MODEL, messages=SAY, response_format=Contact, temperature=1.5, seed=seed, max_tokens=600
    )
    parsed = reply.choices[0].message.parsed
    assert isinstance(parsed, Contact)
    assert 1900 <= parsed.born <= 2030


@pytest.mark.parametrize("seed", range(2))
def test_recursive_models_parse(client: openai.OpenAI, seed: int) -> None:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=SAY,
        temperature=1,
        seed=seed,
        max_tokens=300,
        response_format=schema(Node.model_json_schema()),
    )
    choice = reply.choices[0]
    if choice.finish_reason == "length":  # a tree may grow and grow
        assert choice.message.content is not None
        assert len(choice.message.content) > 100
    else:
        Node.model_validate_json(choice.message.content or "")


def test_stream_helper_parses_on_the_way(client: openai.OpenAI) -> None:
    parts: list[Any] = []
    with client.chat.completions.stream(
        model=MODEL, messages=ANNA, response_format=Person, temperature=0
    ) as stream:
        for event in stream:
            if event.type == "content.delta":
                parts.append(event.parsed)
        final = stream.get_final_completion()
    assert len(parts) > 2
    assert final.choices[0].message.parsed == Person(name="Anna", age=31)


@pytest.mark.parametrize("response_format", [Person, Contact])
def test_an_answer_cut_off_is_a_length_error(client: openai.OpenAI, response_format: type[BaseModel]) -> None:
    with pytest.raises(openai.LengthFinishReasonError) as caught:
        client.chat.completions.parse(
            model=MODEL, messages=ANNA, response_format=response_format, max_tokens=4, temperature=0
        )
    assert caught.value.completion.choices[0].finish_reason == "length"


def test_json_object_is_an_object(client: openai.OpenAI) -> None:
    assert json.loads(ask(client, ANNA, response_format={"type": "json_object"})) == {
        "name": "Anna",
        "age": 31,
    }


def test_text_is_the_default_format(client: openai.OpenAI) -> None:
    assert ask(client, SAY, response_format={"type": "text"}) == ask(client, SAY)


def test_enums_and_anyof_hold_against_the_question(client: openai.OpenAI) -> None:
    definition = {
        "type": "object",
        "properties": {
            "mood": {"enum": ["negative", "positive"]},
            "score": {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 1, "maximum": 5}]},
        },
        "required": ["mood", "score"],
        "additionalProperties": False,
    }
    found = json.loads(ask(client, SAY, response_format=schema(definition, strict=True)))
    assert found["mood"] in ("negative", "positive")
    assert found["score"] in (None, 1, 2, 3, 4, 5)


def test_choices_are_each_held_to_the_schema(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=ANNA,
        n=3,
        seed=5,
        temperature=1.2,
        max_tokens=200,
        response_format=schema(Person.model_json_schema()),
    )
    assert len(reply.choices) == 3
    for choice in reply.choices:
        if choice.finish_reason == "stop":
            Person.model_validate_json(choice.message.content or "")


def test_constrained_text_has_log_probabilities(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=ANNA,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
        response_format=schema(Person.model_json_schema()),
    )
    choice = reply.choices[0]
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert b"".join(bytes(token.bytes or []) for token in tokens).decode() == choice.message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens)


def test_a_regular_expression_is_matched(client: openai.OpenAI) -> None:
    text = ask(client, SAY, extra_body={"regex": "[a-c]{2,4}-[0-9]{3}"})
    assert re.fullmatch("[a-c]{2,4}-[0-9]{3}", text)


def test_grammars_are_followed(client: openai.OpenAI) -> None:
    assert ask(client, SAY, extra_body={"grammar": 'root ::= "yes" | "no"'}) in ("yes", "no")
    lark = {"syntax": "lark", "definition": 'start: "left" | "right"'}
    assert ask(client, SAY, extra_body={"grammar": lark}) in ("left", "right")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": schema({"type": "object", "not": {}}, strict=True)}, "response_format"),
        ({"response_format": schema({"type": "string", "pattern": "(?=a)b"})}, "response_format"),
        ({"response_format": schema({"$ref": "#/nowhere"})}, "response_format"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"regex": "("}, "regex"),
        ({"grammar": "root ::= nothing"}, "grammar"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, SAY, extra_body=fields)
    assert caught.value.type == "invalid_request_error"
    assert (caught.value.param or "").startswith(param)
    assert caught.value.message


def test_an_assistants_last_message_is_continued(client: openai.OpenAI) -> None:
    whole = ask(client, SAY)
    assert whole == "This is a test"
    begun: list[ChatCompletionMessageParam] = [*SAY, {"role": "assistant", "content": "This is"}]
    rest = ask(client, begun)
    assert rest.strip() == "a test"
    stream = client.chat.completions.create(model=MODEL, messages=begun, temperature=0, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == rest


THINK: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Think before you answer."},
    {"role": "user", "content": "What is 2 + 3?"},
]


def test_reasoning_stands_apart_from_the_answer(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="thinker", messages=THINK, temperature=0)
    message: Any = reply.choices[0].message
    assert message.reasoning_content
    assert message.reasoning == message.reasoning_content
    assert message.content.startswith("2 + 3 =")
    assert "think>" not in message.reasoning_content + message.content
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    n_reasoning = reply.usage.completion_tokens_details.reasoning_tokens
    assert n_reasoning is not None
    assert 0 < n_reasoning < reply.usage.completion_tokens
    stream = client.chat.completions.create(model="thinker", messages=THINK, temperature=0, stream=True)
    deltas: list[Any] = [chunk.choices[0].delta for chunk in stream]
    streamed = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert streamed == message.reasoning_content
    assert "".join(delta.content or "" for delta in deltas) == message.content


def test_thinking_ends_at_its_budget(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="thinker", messages=THINK, temperature=0, extra_body={"thinking_budget_tokens": 3}
    )
    message: Any = reply.choices[0].message
    whole = client.chat.completions.create(model="thinker", messages=THINK, temperature=0)
    longer: Any = whole.choices[0].message
    assert 0 < len(message.reasoning_content) < len(longer.reasoning_content)
    assert message.content


def test_a_schema_holds_for_what_follows_the_thinking(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(
        model="thinker", messages=THINK, response_format=Contact, max_tokens=600, temperature=0
    )
    message: Any = reply.choices[0].message
    assert isinstance(message.parsed, Contact)
    assert "{" not in (message.reasoning_content or "")
