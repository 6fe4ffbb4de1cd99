"""The current official SDK against a real server and the embedded model, with strict response validation."""

import asyncio

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.clients.conftest import Server

MODEL = "llmatic-tiny"
SAY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say this is a test"}]


def test_models_are_listed_and_retrieved_alike(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert MODEL in listed
    assert client.models.retrieve(MODEL) == listed[MODEL]


def test_chat_answers_the_readme_example(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=SAY, temperature=0)
    content = reply.choices[0].message.content
    assert content is not None
    assert "this is a test" in content.lower()
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_streamed_text_equals_the_whole(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=SAY, temperature=0)
    stream = client.chat.completions.create(
        model=MODEL, messages=SAY, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    # How much of the prompt was cached differs: the first of the two computed it.
    counts = [usage.to_dict() for usage in (chunks[-1].usage, whole.usage) if usage is not None]
    for count in counts:
        del count["prompt_tokens_details"]
    assert len(counts) == 2
    assert counts[0] == counts[1]


def test_stream_helper_collects_the_same_message(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=SAY, temperature=0) as stream:
        final = stream.get_final_completion()
    assert "this is a test" in (final.choices[0].message.content or "").lower()


def test_completion_honours_prompts_n_and_usage(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model=MODEL, prompt=["one", "two"], n=2, max_tokens=3, seed=1, temperature=1
    )
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 12


def test_echo_and_logprobs_cover_prompt_and_completion(server: Server) -> None:
    # The first token has no log probability: null on OpenAI's wire, which the SDK's strict types deny.
    with openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
        reply = client.completions.create(
            model=MODEL, prompt="Say this is a test", echo=True, logprobs=1, max_tokens=1, temperature=0
        )
    choice = reply.choices[0]
    assert choice.text.startswith("Say this is a test")
    assert choice.logprobs is not None
    assert reply.usage is not None
    logprobs: list[float | None] = [*(choice.logprobs.token_logprobs or [])]
    assert logprobs[0] is None
    assert all(value is not None and value <= 0 for value in logprobs[1:])
    assert len(logprobs) >= reply.usage.prompt_tokens


def test_token_prompts_equal_their_text(client: openai.OpenAI) -> None:
    text = client.completions.create(
        model=MODEL, prompt="The capital of France is", max_tokens=8, temperature=0
    )
    again = client.completions.create(
        model=MODEL, prompt=["The capital of France is"], max_tokens=8, temperature=0
    )
    assert text.choices[0].text == again.choices[0].text
    from_ids = client.completions.create(model=MODEL, prompt=[40, 41, 42], max_tokens=4, temperature=0)
    assert from_ids.usage is not None
    assert from_ids.usage.prompt_tokens == 3


def test_equal_seeds_give_equal_text(client: openai.OpenAI) -> None:
    texts = {
        client.completions.create(model=MODEL, prompt="Hello", max_tokens=16, seed=7, temperature=1.5)
        .choices[0]
        .text
        for _ in range(3)
    }
    assert len(texts) == 1


def test_async_client_runs_many_at_once(server: Server) -> None:
    async def ask(client: openai.AsyncOpenAI, word: str) -> str:
        reply = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Say {word}"}], temperature=0
        )
        return reply.choices[0].message.content or ""

    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, "this is a test") for _ in range(24)))

    answers = asyncio.run(main())
    assert all("this is a test" in answer.lower() for answer in answers)


def test_tiers_cache_fields_and_a_prediction_change_no_text(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(model=MODEL, messages=SAY, temperature=0)
    text = plain.choices[0].message.content
    assert text is not None
    reply = client.chat.completions.create(
        model=MODEL,
        messages=SAY,
        temperature=0,
        service_tier="flex",
        prompt_cache_key="say-this",
        prompt_cache_retention="24h",
        prompt_cache_options={"mode": "implicit", "ttl": "30m"},
        prediction={"type": "content", "content": [{"type": "text", "text": text}]},
        extra_body={"cache_salt": "mine"},
    )
    assert reply.choices[0].message.content == text
    assert reply.service_tier == "flex"
    assert reply.usage is not None
    assert plain.usage is not None
    assert reply.usage.completion_tokens == plain.usage.completion_tokens
    details = reply.usage.completion_tokens_details
    assert details is not None
    assert details.accepted_prediction_tokens is not None
    assert details.accepted_prediction_tokens <= reply.usage.completion_tokens


def test_a_prompt_asked_again_is_found_in_the_cache(client: openai.OpenAI) -> None:
    def cached(salt: str) -> int:
        reply = client.completions.create(
            model=MODEL, prompt="word " * 200, max_tokens=1, temperature=0, extra_body={"cache_salt": salt}
        )
        assert reply.usage is not None
        assert reply.usage.prompt_tokens_details is not None
        return reply.usage.prompt_tokens_details.cached_tokens or 0

    assert cached("a") == 0
    assert cached("a") > 100
    assert cached("b") == 0


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"service_tier": 1}, "service_tier", "invalid_type"),
        ({"prompt_cache_key": ["k"]}, "prompt_cache_key", "invalid_type"),
        ({"prediction": {"type": "content", "content": 1}}, "prediction.content", "invalid_type"),
        ({"foo": 1}, None, None),
    ],
)
def test_bad_fields_are_refused_by_name(
    client: openai.OpenAI, fields: dict[str, object], param: str | None, code: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=SAY, extra_body=fields)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.request_id is not None


def test_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nope", messages=SAY)
    assert caught.value.code == "model_not_found"


def test_a_prompt_beyond_the_context_is_refused_with_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 9000}])
    assert caught.value.code == "context_length_exceeded"
    assert "maximum context length is" in caught.value.message
