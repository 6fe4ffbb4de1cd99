# mypy: ignore-errors
"""What applications of openai 0.28 do, with its own calls."""

import io

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


def embedding():
    texts = ["a red rose", "a green meadow"]
    whole = openai.Embedding.create(model="fake-embedder", input=texts)
    floats = openai.Embedding.create(engine="fake-embedder", input=texts, encoding_format="float")
    return {
        "vectors": [item["embedding"] for item in whole["data"]],
        "floats": [item["embedding"] for item in floats["data"]],
        "usage": whole["usage"].to_dict(),
    }


def embedding_of_tokens():
    return len(openai.Embedding.create(engine="fake-embedder", input=[[1, 2], [3]])["data"])


def embedding_refused():
    try:
        openai.Embedding.create(engine=examples.MODEL, input="x")
    except openai.error.PermissionError as error:
        return [error.http_status, error.user_message]


def edit():
    wanted = {"input": "hello world", "instruction": "Repeat the text."}
    by_model = openai.Edit.create(model=examples.MODEL, n=2, temperature=0, top_p=0.5, **wanted)
    by_engine = openai.Edit.create(engine=examples.MODEL, temperature=0, **wanted)
    return {
        "by_model": [choice.text for choice in by_model.choices],
        "by_engine": [choice.text for choice in by_engine.choices],
        "usage": by_engine.usage.to_dict(),
    }


def moderation():
    flagged = openai.Moderation.create("an insult")["results"][0]
    legacy = openai.Moderation.create(["a threat", "peace"], model="text-moderation-stable")
    return {"today": flagged.to_dict_recursive(), "legacy": legacy.to_dict_recursive()}


def files():
    made = openai.File.create(
        file=io.BytesIO(b'{"messages": []}'), purpose="fine-tune", user_provided_filename="train.jsonl"
    )
    found = openai.File.find_matching_files("train.jsonl", 16, "fine-tune")
    outcome = {
        "made": made.to_dict(),
        "retrieved": openai.File.retrieve(made.id).to_dict(),
        "listed": made.id in [file.id for file in openai.File.list().data],
        "found": [file["id"] for file in found],
        "content": openai.File.download(made.id).decode(),
        "deleted": openai.File.delete(made.id).deleted,
    }
    try:
        openai.File.retrieve(made.id)
    except openai.error.InvalidRequestError as error:
        return {**outcome, "gone": [error.http_status, error.param]}


if __name__ == "__main__":
    examples.run(
        lists, completion, completion_by_engine, chat, refused,
        function_call, function_call_streamed, function_named, function_never, function_result,
        embedding, embedding_of_tokens, embedding_refused, edit, moderation,
        files,
    )  # fmt: skip
