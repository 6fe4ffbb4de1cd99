"""POST /completions, through the official SDK and by hand."""

from collections.abc import Iterable
from typing import Any

import openai
import pytest

from llmatic.core.types import (
    Delta,
    Finished,
    GenerationRequest,
    InfillPrompt,
    Started,
    TextPrompt,
    TokenPrompt,
    Usage,
)
from tests.api.conftest import Served
from tests.api.wire import events, shape
from tests.fakes import SPEC, Step, logprob

TEXT = "Hello wörld!"


def numbered(request: GenerationRequest) -> Iterable[Step]:
    """Each choice says which prompt it continues and which it is; later choices are likelier."""
    assert isinstance(request.prompt, TextPrompt)
    yield Started(5)
    for index in reversed(range(request.n_choices)):
        yield Delta(index, f"{request.prompt.text}{index}", 1, (), "stop")
    yield Finished(Usage(5, request.n_choices), tuple(-1.0 / (k + 1) for k in range(request.n_choices)))


def usage(n_prompt: int, n_completion: int, n_cached: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_completion,
        "total_tokens": n_prompt + n_completion,
        "prompt_tokens_details": {"cached_tokens": n_cached},
    }


def test_sdk_reads_a_whole_reply(api: Served) -> None:
    reply = api.sdk().completions.create(model=SPEC.id, prompt="Hi")
    assert reply.choices[0].text == TEXT
    assert reply.usage is not None
    assert reply.usage.total_tokens == 11


def test_whole_reply_has_the_recorded_keys(api: Served) -> None:
    assert shape(api.completion().json()) == {
        "id": None,
        "object": None,
        "created": None,
        "model": None,
        "choices": [{"text": None, "index": None, "logprobs": None, "finish_reason": None}],
        "usage": shape(usage(0, 0)),
        "system_fingerprint": None,
    }


def test_stream_has_the_recorded_order(api: Served) -> None:
    chunks = events(api.completion(stream=True, stream_options={"include_usage": True}).text)
    assert chunks.pop() == "[DONE]"
    assert [chunk["choices"] for chunk in chunks] == [
        [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": None}],
        [{"text": " wörld", "index": 0, "logprobs": None, "finish_reason": None}],
        [{"text": "!", "index": 0, "logprobs": None, "finish_reason": None}],
        [{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        [],
    ]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 4
    assert chunks[-1]["usage"] == usage(7, 4, 2)


def test_sdk_streams_what_it_reads_whole(api: Served) -> None:
    # Not strict: the SDK's own type has no null in finish_reason, which OpenAI sends in every chunk.
    with openai.OpenAI(base_url=api.base_url, api_key="none", max_retries=0) as client:
        parts = client.completions.create(model=SPEC.id, prompt=["a", "b"], n=2, stream=True)
        texts = dict.fromkeys(range(4), "")
        for chunk in parts:
            texts[chunk.choices[0].index] += chunk.choices[0].text
        whole = client.completions.create(model=SPEC.id, prompt=["a", "b"], n=2)
    assert list(texts.values()) == [choice.text for choice in whole.choices] == [TEXT] * 4


def test_choices_are_numbered_prompt_by_prompt(api: Served) -> None:
    api.pool.script = numbered
    reply = api.completion(prompt=["a", "b"], n=2).json()
    assert [(choice["index"], choice["text"]) for choice in reply["choices"]] == [
        (0, "a0"),
        (1, "a1"),
        (2, "b0"),
        (3, "b1"),
    ]
    assert reply["usage"] == usage(10, 4)


def test_best_of_returns_the_likeliest_and_counts_all(api: Served) -> None:
    api.pool.script = numbered
    reply = api.completion(prompt=["a", "b"], n=2, best_of=4).json()
    assert [choice["text"] for choice in reply["choices"]] == ["a3", "a2", "b3", "b2"]
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2, 3]
    assert all(choice["logprobs"] is None for choice in reply["choices"])
    assert reply["usage"]["completion_tokens"] == 8
    assert {request.sampling.n_logprobs for request in api.pool.requests} == {0}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("text", [TextPrompt("text")]),
        ("", [TextPrompt("")]),
        (["a", "b"], [TextPrompt("a"), TextPrompt("b")]),
        ([1, 2.0], [TokenPrompt((1, 2))]),
        ([[1], [2, 3]], [TokenPrompt((1,)), TokenPrompt((2, 3))]),
    ],
)
def test_prompts(api: Served, prompt: Any, expected: list[Any]) -> None:
    api.completion(prompt=prompt).raise_for_status()
    assert [request.prompt for request in api.pool.requests] == expected


def test_defaults(api: Served) -> None:
    api.http.post("/v1/completions", json={"model": SPEC.id}).raise_for_status()
    (request,) = api.pool.requests
    assert request.prompt == TextPrompt("<|endoftext|>")
    assert (request.max_tokens, request.n_choices, request.echo) == (16, 1, False)
    assert request.sampling.temperature == 1


def test_suffix_makes_a_gap_to_fill(api: Served) -> None:
    api.completion(prompt="def f():", suffix="\nf()").raise_for_status()
    assert api.pool.requests[0].prompt == InfillPrompt("def f():", "\nf()")
    assert api.completion(prompt="a", suffix="").is_success
    assert api.pool.requests[1].prompt == TextPrompt("a")


@pytest.mark.parametrize("stream", [False, True])
def test_echo_with_suffix_repeats_the_prefix(api: Served, stream: bool) -> None:
    reply = api.completion(prompt="def f():", suffix="\nf()", echo=True, stream=stream)
    assert not api.pool.requests[0].echo
    if stream:
        text = "".join(choice["text"] for chunk in events(reply.text)[:-1] for choice in chunk["choices"])
    else:
        text = reply.json()["choices"][0]["text"]
    assert text == "def f():" + TEXT


def test_logprobs_of_an_echoed_prompt(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        assert request.echo
        yield Started(2)
        yield Delta(0, "Hö", 0, (logprob("H", None), logprob("ö", n_top=1)))
        yield Delta(0, "!", 1, (logprob("!", n_top=1),), "length")
        yield Finished(Usage(2, 1), (-0.5,))

    api.pool.script = script
    choice = api.completion(prompt=[1, 2], echo=True, logprobs=1, max_tokens=1).json()["choices"][0]
    assert choice["text"] == "Hö!"
    assert choice["logprobs"] == {
        "tokens": ["H", "ö", "!"],
        "token_logprobs": [None, -0.5, -0.5],
        "top_logprobs": [None, {"ö": -0.5}, {"!": -0.5}],
        "text_offset": [0, 1, 2],
    }


def test_offsets_go_on_from_the_prompt_and_from_chunk_to_chunk(api: Served) -> None:
    whole = api.completion(prompt="döt", logprobs=0).json()["choices"][0]["logprobs"]
    assert whole["text_offset"] == [3, 8, 14]
    assert whole["top_logprobs"] == [{word: -0.5} for word in ("Hello", " wörld", "!")]
    chunks = events(api.completion(prompt="döt", logprobs=0, stream=True).text)[:-1]
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [part["text_offset"][0] for part in parts if part] == [3, 8, 14]


def test_chosen_token_is_always_among_the_top(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(1)
        likely = logprob("likely", -0.1, n_top=1)
        chosen = logprob("chosen", -3.0)
        yield Delta(0, "chosen", 1, (type(chosen)(9, b"chosen", -3.0, likely.top),), "stop")
        yield Finished(Usage(1, 1), (-3.0,))

    api.pool.script = script
    choice = api.completion(logprobs=1).json()["choices"][0]
    assert choice["logprobs"]["top_logprobs"] == [{"likely": -0.1, "chosen": -3.0}]


def test_token_inside_a_character_is_written_as_bytes(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(1)
        yield Delta(0, "", 1, (logprob(b"\xe2\x80"),))
        yield Delta(0, "\u2019s", 2, (logprob(b"\x99"), logprob("s")), "length")
        yield Finished(Usage(1, 3))

    api.pool.script = script
    logprobs = api.completion(logprobs=0, prompt="it").json()["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["bytes:\\xe2\\x80", "bytes:\\x99", "s"]
    assert logprobs["text_offset"] == [2, 2, 3]


@pytest.mark.parametrize("path", ["/v1/engines/org/fake-1/completions", "/engines/org%2Ffake-1/completions"])
def test_engine_in_the_path(api: Served, path: str) -> None:
    reply = api.http.post(path, json={"prompt": "Hi"})
    assert reply.json()["choices"][0]["text"] == TEXT
    assert api.pool.model_ids == [SPEC.id]


def test_engine_chat_in_the_path(api: Served) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    reply = api.http.post("/engines/gpt-4o-mini/chat/completions", json=body)
    assert reply.json()["choices"][0]["message"]["content"] == TEXT


def test_many_prompts_run_side_by_side(api: Served) -> None:
    reply = api.completion(prompt=[f"p{k}" for k in range(150)]).json()
    assert [choice["index"] for choice in reply["choices"]] == list(range(150))
    assert len({request.id for request in api.pool.requests}) == 150
