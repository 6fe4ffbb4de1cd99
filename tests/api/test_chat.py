"""POST /chat/completions, through the official SDK and by hand."""

from typing import Any

import openai
import pytest

from llmatic.core.types import ChatPrompt, Delta, Finished, GenerationRequest, Started, Usage
from tests.api.conftest import Served
from tests.api.wire import events, shape
from tests.fakes import SPEC, logprob

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
TEXT = "Hello wörld!"

USAGE_SHAPE = {
    "prompt_tokens": None,
    "completion_tokens": None,
    "total_tokens": None,
    "prompt_tokens_details": {"cached_tokens": None, "audio_tokens": None},
    "completion_tokens_details": {
        "reasoning_tokens": None,
        "audio_tokens": None,
        "accepted_prediction_tokens": None,
        "rejected_prediction_tokens": None,
    },
}
CHUNK_KEYS = ["id", "object", "created", "model", "service_tier", "system_fingerprint", "choices"]


def test_sdk_reads_a_whole_reply(api: Served) -> None:
    reply = api.sdk().chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert reply.choices[0].message.content == TEXT
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == SPEC.id
    assert reply.system_fingerprint == "fp_test"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (7, 4, 11)
    assert reply.usage.prompt_tokens_details is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 2


def test_whole_reply_has_the_recorded_keys(api: Served) -> None:
    reply = api.chat().json()
    assert shape(reply) == {
        "id": None,
        "object": None,
        "created": None,
        "model": None,
        "choices": [
            {
                "index": None,
                "message": {"role": None, "content": None, "refusal": None, "annotations": []},
                "finish_reason": None,
            }
        ],
        "usage": USAGE_SHAPE,
        "service_tier": None,
        "system_fingerprint": None,
    }
    assert reply["id"].startswith("chatcmpl-")
    assert len(reply["id"]) == len("chatcmpl-") + 29


def test_sdk_reads_a_stream(api: Served) -> None:
    chunks = list(api.sdk().chat.completions.create(model=SPEC.id, messages=MESSAGES, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.anyio
async def test_async_sdk_reads_a_stream(api: Served) -> None:
    async with api.async_sdk() as client:
        stream = await client.chat.completions.create(model=SPEC.id, messages=MESSAGES, stream=True)
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        whole = await client.chat.completions.create(model=SPEC.id, messages=MESSAGES)
    assert "".join(parts) == whole.choices[0].message.content == TEXT


def test_stream_helper_puts_choices_together(api: Served) -> None:
    with api.sdk().chat.completions.stream(model=SPEC.id, messages=MESSAGES, n=3) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == [TEXT] * 3
    assert [choice.index for choice in final.choices] == [0, 1, 2]
    assert "content.done" in kinds


def test_stream_has_the_recorded_order(api: Served) -> None:
    text = api.chat(stream=True, stream_options={"include_usage": True}).text
    chunks = events(text)
    assert chunks.pop() == "[DONE]"
    assert all(list(chunk) == [*CHUNK_KEYS, "usage"] for chunk in chunks)
    assert [chunk["choices"] for chunk in chunks] == [
        [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "", "refusal": None},
                "finish_reason": None,
            }
        ],
        *(
            [{"index": 0, "delta": {"content": word}, "finish_reason": None}]
            for word in ("Hello", " wörld", "!")
        ),
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        [],
    ]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 5
    assert shape(chunks[-1]["usage"]) == USAGE_SHAPE
    assert chunks[-1]["usage"]["total_tokens"] == 11


def test_stream_without_usage_says_nothing_of_it(api: Served) -> None:
    chunks = events(api.chat(stream=True).text)
    assert all(list(chunk) == CHUNK_KEYS for chunk in chunks[:-1])


def test_stream_headers(api: Served) -> None:
    headers = api.chat(stream=True, model="gpt-4o-mini").headers
    assert headers["openai-model"] == SPEC.id
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["openai-version"] == "2020-10-01"
    assert headers["openai-processing-ms"].isdigit()
    assert headers["x-request-id"].startswith("req_")


def test_roles_of_all_choices_come_first(api: Served) -> None:
    chunks = events(api.chat(stream=True, n=3).text)
    assert [chunk["choices"][0]["index"] for chunk in chunks[:3]] == [0, 1, 2]
    assert all(chunk["choices"][0]["delta"].get("role") for chunk in chunks[:3])


def test_usage_on_every_chunk_if_asked_for(api: Served) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(api.chat(stream=True, stream_options=options).text)[:-1]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [0, 1, 2, 3, 4, 4]


def test_obfuscation_only_if_asked_for(api: Served) -> None:
    chunks = events(api.chat(stream=True, stream_options={"include_obfuscation": True}).text)[:-1]
    assert all(chunk["obfuscation"].isalpha() for chunk in chunks)


def test_logprobs_whole_and_streamed_are_equal(api: Served) -> None:
    whole = api.chat(logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]
    assert [token["token"] for token in whole["content"]] == ["Hello", " wörld", "!"]
    assert [len(token["top_logprobs"]) for token in whole["content"]] == [2, 2, 2]
    assert whole["content"][1]["bytes"] == list(" wörld".encode())
    chunks = events(api.chat(stream=True, logprobs=True, top_logprobs=2).text)[:-1]
    streamed = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"]]
    assert [part["content"][0] for part in streamed if part] == whole["content"]
    reply = api.sdk().chat.completions.create(model=SPEC.id, messages=MESSAGES, logprobs=True)
    assert reply.choices[0].logprobs is not None


def test_token_inside_a_character_is_escaped(api: Served) -> None:
    def script(request: GenerationRequest) -> Any:
        yield Started(1)
        yield Delta(0, "", 1, (logprob(b"\xc3"),))
        yield Delta(0, "ö", 1, (logprob(b"\xb6"),), "length")
        yield Finished(Usage(1, 2))

    api.pool.script = script
    content = api.chat(logprobs=True).json()["choices"][0]["logprobs"]["content"]
    assert [token["token"] for token in content] == ["\\xc3", "\\xb6"]
    assert [token["bytes"] for token in content] == [[0xC3], [0xB6]]


def test_messages_reach_the_engine_as_text(api: Served) -> None:
    parts = [{"type": "text", "text": "one, "}, {"type": "text", "text": "two"}]
    api.chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts, "name": "ann"},
            {"role": "assistant"},
        ]
    ).raise_for_status()
    prompt = api.pool.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert [dict(message) for message in prompt.messages] == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "one, two", "name": "ann"},
        {"role": "assistant", "content": ""},
    ]


def test_fields_reach_the_engine(api: Served) -> None:
    api.chat(
        temperature=0,
        top_p=0.5,
        top_k=40,
        min_p=0.1,
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.2,
        logit_bias={"5": -100},
        seed=-7,
        n=2,
        max_completion_tokens=9,
        min_tokens=3,
        ignore_eos=True,
        stop=["\n", "END"],
        chat_template_kwargs={"enable_thinking": False},
    ).raise_for_status()
    (request,) = api.pool.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0, 0.5, 40, 0.1)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1, -1)
    assert (sampling.repetition_penalty, sampling.logit_bias, sampling.seed) == (1.2, ((5, -100.0),), -7)
    assert (request.n_choices, request.max_tokens, request.min_tokens) == (2, 9, 3)
    assert (request.ignore_eos, request.stop) == (True, ("\n", "END"))
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.template_kwargs == {"enable_thinking": False}


def test_nulls_count_as_absent(api: Served) -> None:
    api.chat(stop=None, seed=None, max_tokens=None, stream=None, logprobs=None, n=None).raise_for_status()
    (request,) = api.pool.requests
    assert (request.stop, request.max_tokens, request.sampling.seed) == ((), None, None)


def test_both_limits_are_refused(api: Served) -> None:
    with pytest.raises(openai.BadRequestError, match="at the same time is not supported"):
        api.sdk().chat.completions.create(
            model=SPEC.id, messages=MESSAGES, max_tokens=1, max_completion_tokens=1
        )
