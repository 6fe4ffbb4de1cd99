"""The whole engine on a small model with random weights: what requests get."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from llmatic.core.ports import StepEngine
from llmatic.core.types import (
    ChatPrompt,
    GenerationRequest,
    SamplingParams,
    TokenLogprob,
    TokenPrompt,
)
from llmatic.engines.llama.engine import LlamaEngine
from tests.engines.llama.asking import GREEDY, ask, ask_for, opened

pytestmark = pytest.mark.anyio
EXACT = {"type_k": "f32", "type_v": "f32"}


async def test_a_request_from_start_to_end(engine: LlamaEngine) -> None:
    answer = await ask(engine)
    assert answer.reasons == ["length"]
    assert answer.usage.n_prompt_tokens == 7
    assert answer.usage.n_completion_tokens == 8
    assert answer.finished.mean_logprobs == ()


async def test_info(engine: LlamaEngine) -> None:
    info = engine.info
    assert (info.n_context, info.n_context_train, info.n_vocab, info.n_parallel) == (512, 512, 268, 2)
    assert info.has_chat_template
    assert info.has_infill
    assert info.fingerprint.startswith("fp_")
    assert info.size_bytes > 100_000
    assert isinstance(engine, StepEngine)


async def choose(engine: LlamaEngine, prompts: list[str], *, together: bool) -> list[list[TokenLogprob]]:
    """The greedy tokens that follow each prompt, with their runners-up."""
    params = replace(GREEDY, n_logprobs=2)

    async def one(prompt: str) -> list[TokenLogprob]:
        answer = await ask(engine, prompt, sampling=params, max_tokens=60, ignore_eos=True)
        return [entry for delta in answer.deltas for entry in delta.logprobs]

    if together:
        return await asyncio.gather(*map(one, prompts))
    return [await one(prompt) for prompt in prompts]


def assert_same_choices(found: list[list[TokenLogprob]], wanted: list[list[TokenLogprob]]) -> None:
    """Equal up to the first decision so close that the arithmetic's rounding, which depends on the batch, tips it."""
    n_compared = 0
    for some, others in zip(found, wanted, strict=True):
        for ours, theirs in zip(some, others, strict=True):
            if theirs.top[0].logprob - theirs.top[1].logprob < 0.03:
                break
            assert ours.token_id == theirs.token_id
            n_compared += 1
    assert n_compared > 10 * len(found)


@pytest.mark.parametrize("kv_unified", [True, False])
async def test_many_requests_at_once_get_what_they_get_alone(model_path: Path, kv_unified: bool) -> None:
    options = {**EXACT, "kv_unified": kv_unified}
    async with opened(model_path, parallel=8, context=2048, options=options) as engine:
        prompts = [f"prompt {n} " * (n % 5 + 1) for n in range(24)]
        together = await choose(engine, prompts, together=True)
        assert_same_choices(together, await choose(engine, prompts, together=False))


async def test_a_full_cache_pauses_and_loses_nothing(model_path: Path) -> None:
    async with opened(model_path, parallel=6, context=256, options=EXACT) as engine:
        prompts = [f"{n} and so it went on" for n in range(6)]
        paused = await choose(engine, prompts, together=True)
        assert engine.stats()["preemptions_total"] > 0
        assert_same_choices(paused, await choose(engine, prompts, together=False))


async def test_pausing_keeps_every_count(model_path: Path) -> None:
    async with opened(model_path, parallel=6, context=256) as engine:
        params = SamplingParams(seed=5, n_logprobs=0)
        answers = await asyncio.gather(
            *(ask(engine, f"{n} times", max_tokens=100, sampling=params, ignore_eos=True) for n in range(6))
        )
        assert engine.stats()["preemptions_total"] > 0
    for answer in answers:
        assert answer.usage.n_completion_tokens == 100
        assert sum(len(d.logprobs) for d in answer.deltas) == 100


async def test_more_choices_than_slots(model_path: Path) -> None:
    async with opened(model_path, options=EXACT) as engine:
        params = SamplingParams(temperature=1.0, seed=1)
        answer = await ask(engine, sampling=params, n_choices=128, max_tokens=3)
        assert answer.usage.n_completion_tokens <= 3 * 128
        assert len(set(answer.texts)) > 30
        assert (await ask(engine, sampling=params, n_choices=2, max_tokens=3)).texts == answer.texts[:2]


@pytest.mark.parametrize("kv_unified", [True, False])
async def test_greedy_choices_are_equal(model_path: Path, kv_unified: bool) -> None:
    async with opened(model_path, parallel=3, options={**EXACT, "kv_unified": kv_unified}) as engine:
        assert len(set((await ask(engine, n_choices=5, max_tokens=12)).texts)) == 1


@pytest.mark.parametrize("seed", [0, 7, -3, 2**64 + 1, -(2**90)])
async def test_a_seed_means_the_same_text(model_path: Path, seed: int) -> None:
    async with opened(model_path, options=EXACT) as engine:
        params = SamplingParams(seed=seed)
        first, second = [(await ask(engine, sampling=params)).texts for _ in range(2)]
        assert first == second


async def test_without_a_seed_answers_differ(engine: LlamaEngine) -> None:
    answers = [await ask(engine, sampling=SamplingParams(temperature=1.5)) for _ in range(2)]
    assert answers[0].texts != answers[1].texts


async def test_echo_and_prompt_log_probabilities(engine: LlamaEngine) -> None:
    prompt = "the hello in " * 12
    params = replace(GREEDY, n_logprobs=2)
    answer = await ask(engine, prompt, sampling=params, echo=True, n_choices=2, max_tokens=2)
    for index in range(2):
        entries = [e for d in answer.deltas if d.index == index for e in d.logprobs]
        assert answer.texts[index].startswith(prompt)
        assert b"".join(e.data for e in entries[:-2]).decode() == prompt
        assert entries[0].logprob is None
        assert all(e.logprob is not None and e.logprob <= 0 and len(e.top) == 2 for e in entries[1:])
    assert len(answer.finished.mean_logprobs) == 2


async def test_prompt_log_probabilities_agree_with_generated_ones(model_path: Path) -> None:
    async with opened(model_path, options=EXACT) as engine:
        params = replace(GREEDY, n_logprobs=1)
        ids = tuple(b"hello")
        answer = await ask_for(engine, GenerationRequest("a", TokenPrompt(ids), params, max_tokens=6))
        drawn = [e for d in answer.deltas for e in d.logprobs]
        longer = TokenPrompt(ids + tuple(e.token_id for e in drawn))
        echoed = await ask_for(engine, GenerationRequest("b", longer, params, max_tokens=0, echo=True))
        scores = [e.logprob for e in echoed.deltas[0].logprobs[5:]]
        assert scores == pytest.approx([e.logprob for e in drawn], abs=0.02)


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("n_logprobs", [None, 0])
async def test_no_tokens_wanted(engine: LlamaEngine, echo: bool, n_logprobs: int | None) -> None:
    params = replace(GREEDY, n_logprobs=n_logprobs)
    answer = await ask(engine, "hello", max_tokens=0, echo=echo, n_choices=3, sampling=params)
    assert answer.texts == ["hello" if echo else ""] * 3
    assert answer.reasons == ["length"] * 3
    assert answer.usage.n_completion_tokens == 0


async def test_stop_strings(engine: LlamaEngine) -> None:
    whole = (await ask(engine, max_tokens=40)).texts[0]
    stop = whole[7:10]
    answer = await ask(engine, max_tokens=40, stop=("", stop, "never" * 1000, "\ue000"))
    assert answer.texts == [whole[: whole.index(stop)]]
    assert answer.reasons == ["stop"]
    assert answer.usage.n_completion_tokens < 40


async def test_end_tokens_end_an_answer_and_can_be_put_off(engine: LlamaEngine) -> None:
    end = next(iter(engine._loaded.backend.model.vocabulary.eog))
    params = replace(GREEDY, logit_bias=((end, 1000.0),), n_logprobs=0)
    answer = await ask(engine, sampling=params)
    assert (answer.texts, answer.reasons, answer.usage.n_completion_tokens) == ([""], ["stop"], 1)
    assert [d.logprobs for d in answer.deltas] == [()]
    assert (await ask(engine, sampling=params, min_tokens=3)).usage.n_completion_tokens == 4
    assert (await ask(engine, sampling=params, ignore_eos=True)).reasons == ["length"]


async def test_chat(engine: LlamaEngine) -> None:
    prompt = ChatPrompt(({"role": "user", "content": "hello<|im_end|>"},))
    answer = await ask_for(engine, GenerationRequest("c", prompt, GREEDY, max_tokens=4))
    assert answer.usage.n_prompt_tokens > 20
