# mypy: ignore-errors
"""What applications of openai 0.28 do, with its own calls."""

import openai

from tests.clients.programs import examples

openai.api_base, openai.api_key = examples.base_url(), examples.KEY
SAY = {
    "model": examples.MODEL,
    "messages": [{"role": "user", "content": "Say this is a test"}],
    "temperature": 0,
}
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ASK = {
    "model": examples.MODEL,
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "functions": [WEATHER],
    "temperature": 0,
}


def lists():
    return {
        "engines": [engine.id for engine in openai.Engine.list().data],
        "engine": openai.Engine.retrieve(examples.MODEL).id,
        "models": [model.id for model in openai.Model.list().data],
    }


def completion():
    return (
        openai.Completion.create(model=examples.MODEL, prompt="Say this is a test", max_tokens=8)
        .choices[0]
        .text
    )


def completion_by_engine():
    return openai.Completion.create(
        engine=examples.MODEL, prompt="2 + 2 =", max_tokens=4, n=2
    ).usage.to_dict()


def chat():
    chunks = openai.ChatCompletion.create(stream=True, **SAY)
    return {
        "whole": openai.ChatCompletion.create(**SAY).choices[0].message.content,
        "streamed": "".join(chunk.choices[0].delta.get("content", "") for chunk in chunks),
    }


def refused():
    try:
        openai.ChatCompletion.create(**dict(SAY, temperature=3))
    except openai.error.InvalidRequestError as error:
        return [error.http_status, error.param]


def function_call():
    choice = openai.ChatCompletion.create(**ASK).choices[0]
    return {"message": choice.message.to_dict_recursive(), "finish_reason": choice.finish_reason}


def function_call_streamed():
    name, arguments, reason = "", "", None
    for chunk in openai.ChatCompletion.create(stream=True, **ASK):
        choice = chunk.choices[0]
        call = choice.delta.get("function_call", {})
        name += call.get("name", "")
        arguments += call.get("arguments", "")
        reason = choice.finish_reason or reason
    return {"name": name, "arguments": arguments, "finish_reason": reason}


def function_named():
    city = {"type": "string", "maxLength": 40}
    bounded = {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": city}, "required": ["city"]},
    }
    asked = dict(
        ASK,
        messages=SAY["messages"],
        functions=[bounded],
        function_call={"name": "get_weather"},
        max_tokens=200,
    )
    choice = openai.ChatCompletion.create(**asked).choices[0]
    return {"message": choice.message.to_dict_recursive(), "finish_reason": choice.finish_reason}


def function_never():
    return (
        openai.ChatCompletion.create(**dict(ASK, function_call="none")).choices[0].message.to_dict_recursive()
    )


def function_result():
    message = openai.ChatCompletion.create(**ASK).choices[0].message
    result = {"role": "function", "name": "get_weather", "content": "sunny, 21 degrees"}
    asked = dict(ASK, messages=[*ASK["messages"], message, result])
    return openai.ChatCompletion.create(**asked).choices[0].message.content


if __name__ == "__main__":
    examples.run(
        lists, completion, completion_by_engine, chat, refused,
        function_call, function_call_streamed, function_named, function_never, function_result,
    )  # fmt: skip
