"""The whole engine on a small model with random weights: what requests get, whatever they ask for."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmatic.core.errors import ConfigError, EngineFailed, InvalidRequest, LlmaticError, QueueFull
from llmatic.core.ports import StepEngine
from llmatic.core.types import (
    ChatPrompt,
    Delta,
    Event,
    Finished,
    GenerationRequest,
    SamplingParams,
    Started,
    TextPrompt,
    TokenLogprob,
    TokenPrompt,
)
from llmatic.engines.llama import create
from llmatic.engines.llama.engine import LlamaEngine
from llmatic.engines.llama.sequences import Sequence
from tests.engines.llama.small_model import spec_of, write_model

pytestmark = pytest.mark.anyio
GREEDY = SamplingParams(temperature=0)
EXACT = {"type_k": "f32", "type_v": "f32"}  # half precision lets neighbours in the batch tip a close decision


class Answer:
    """What a client has got in the end."""

    def __init__(self, events: list[Event], n_choices: int) -> None:
        assert isinstance(events[0], Started)
        assert isinstance(events[-1], Finished)
        deltas = [e for e in events[1:-1] if isinstance(e, Delta)]
        assert len(deltas) == len(events) - 2
        self.deltas = deltas
        self.finished = events[-1]
        self.usage = self.finished.usage
        self.texts = ["".join(d.text for d in deltas if d.index == n) for n in range(n_choices)]
        self.reasons = []
        for n in range(n_choices):
            own = [d for d in deltas if d.index == n]
            assert all(d.finish_reason is None for d in own[:-1])
            self.reasons.append(own[-1].finish_reason)
        assert sum(d.n_tokens for d in deltas) == self.usage.n_completion_tokens


async def ask(engine: LlamaEngine, prompt: str = "hello there", **fields: Any) -> Answer:
    fields = {"sampling": GREEDY, "max_tokens": 8, **fields}
    request = GenerationRequest(id=f"r{random.random()}", prompt=TextPrompt(prompt), **fields)
    return await ask_for(engine, request)


async def ask_for(engine: LlamaEngine, request: GenerationRequest) -> Answer:
    async with aclosing(engine.generate(request)) as events:
        return Answer([event async for event in events], request.n_choices)


@asynccontextmanager
async def opened(path: Path, **changes: object) -> AsyncIterator[LlamaEngine]:
    engine = LlamaEngine(spec_of(path, **changes))
    try:
        yield engine
    finally:
        await engine.close()


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
            if theirs.top[0].logprob - theirs.top[1].logprob < 0.02:
                break
            assert ours.token_id == theirs.token_id
            n_compared += 1
    assert n_compared > 10 * len(found)


async def test_many_requests_at_once_get_what_they_get_alone(model_path: Path) -> None:
    async with opened(model_path, parallel=8, context=2048, options=EXACT) as engine:
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


async def test_greedy_choices_are_equal(model_path: Path) -> None:
    async with opened(model_path, parallel=3, options=EXACT) as engine:
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


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": TokenPrompt((268,))},
        {"prompt": TokenPrompt((-1,))},
        {"prompt": TextPrompt("x" * 600)},
        {"prompt": TextPrompt("x"), "max_tokens": 512},
        {"prompt": TextPrompt("x"), "max_tokens": -5},
        {"prompt": TextPrompt("x"), "n_choices": 0},
        {"prompt": TextPrompt("x"), "sampling": SamplingParams(logit_bias=((268, 1.0),))},
        {"prompt": TextPrompt("x"), "sampling": SamplingParams(temperature=float("nan"))},
        {"prompt": ChatPrompt(({"role": "user"},))},
        {"prompt": ChatPrompt(())},
    ],
    ids=lambda fields: str(fields)[:60],
)
async def test_refused_requests_harm_nobody(engine: LlamaEngine, fields: dict[str, Any]) -> None:
    neighbour = asyncio.create_task(ask(engine, max_tokens=60, ignore_eos=True))
    if fields["prompt"] == ChatPrompt(()):
        await ask_for(engine, GenerationRequest(id="odd", max_tokens=1, **fields))
    else:
        with pytest.raises(InvalidRequest):
            await ask_for(engine, GenerationRequest(id="wrong", **fields))
    assert (await neighbour).reasons == ["length"]


async def test_the_context_can_be_filled_to_the_last_token(engine: LlamaEngine) -> None:
    answer = await ask(engine, max_tokens=None, ignore_eos=True)
    assert answer.usage.n_prompt_tokens + answer.usage.n_completion_tokens == 512


async def test_cancelling_at_any_moment(engine: LlamaEngine) -> None:
    rng = random.Random(1)

    async def hang_up(n: int) -> None:
        prompt = TextPrompt("word " * rng.randint(1, 40))
        request = GenerationRequest(f"h{n}", prompt, n_choices=rng.randint(1, 4), max_tokens=30, ignore_eos=True)
        n_events = rng.randint(0, 12)
        async with aclosing(engine.generate(request)) as events:
            async for _ in events:
                n_events -= 1
                if n_events <= 0:
                    return

    await asyncio.gather(*(hang_up(n) for n in range(40)))
    await ask(engine)
    engine._loaded.runner.scheduler.check_integrity()
    assert engine.stats()["sequences_running"] == engine.stats()["requests_live"] == 0
    assert engine._ids == set()


async def test_a_full_queue_is_a_429(model_path: Path) -> None:
    async with opened(model_path, parallel=1, max_queue=1) as engine:
        results = await asyncio.gather(
            *(ask(engine, max_tokens=50, ignore_eos=True) for _ in range(8)), return_exceptions=True
        )
        refused = [r for r in results if isinstance(r, QueueFull)]
        assert len(refused) == 6
        assert all(r.retry_after_s is not None and r.retry_after_s >= 1 for r in refused)
        assert sum(isinstance(r, Answer) for r in results) == 2


async def test_closing_fails_what_runs(model_path: Path) -> None:
    engine = LlamaEngine(spec_of(model_path))
    running = [asyncio.create_task(ask(engine, max_tokens=None, ignore_eos=True)) for _ in range(5)]
    while not engine.stats()["sequences_running"]:
        await asyncio.sleep(0)
    await engine.close()
    await engine.close()
    for task in running:
        with pytest.raises(EngineFailed):
            await task
    with pytest.raises(EngineFailed):
        await ask(engine)


async def test_steps_deliver_all_their_events_at_once(model_path: Path) -> None:
    batches: list[list[tuple[str, Event | LlmaticError]]] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_step(events: Any) -> None:
        batches.append(list(events))
        if sum(isinstance(e, Finished | LlmaticError) for batch in batches for _, e in batch) == 3:
            loop.call_soon_threadsafe(ended.set)

    async with opened(model_path) as engine:
        engine.start(on_step)
        for n in range(2):
            engine.submit(GenerationRequest(str(n), TextPrompt("hello"), GREEDY, max_tokens=20, ignore_eos=True))
        engine.submit(GenerationRequest("bad", TokenPrompt((999,))))
        with pytest.raises(ValueError, match="in use"):
            engine.submit(GenerationRequest("1", TextPrompt("again")))
        await ended.wait()
        steps, began = engine.heartbeat()
        assert steps >= 20
        assert began is None or began > 0
    assert max(len({i for i, _ in batch}) for batch in batches) >= 2


async def test_a_model_of_nans_is_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="damaged"):
        create(spec_of(write_model(tmp_path / "nan.gguf", nan=True)))


async def test_damaged_rows_fail_their_request_alone(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, runner = engine._loaded.backend, engine._loaded.runner
    honest, draw = backend.logits, runner._draw

    def poisoned(sequence: Sequence, row: int, is_shared: bool) -> None:
        factor = float("nan") if sequence.group.prompt[0] == ord("!") else 1.0
        backend.logits = lambda row: honest(row) * factor  # type: ignore[method-assign]
        draw(sequence, row, is_shared)

    monkeypatch.setattr(runner, "_draw", poisoned)
    good, bad = await asyncio.gather(
        ask(engine, "hello", max_tokens=90), ask(engine, "!", max_tokens=90), return_exceptions=True
    )
    assert isinstance(good, Answer)
    assert isinstance(bad, EngineFailed)


async def test_a_failing_step_fails_the_requests_and_the_engine_lives(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine._loaded.backend, "decode", lambda *_: (_ for _ in ()).throw(EngineFailed("broken")))
        with pytest.raises(EngineFailed, match="broken"):
            await ask(engine)
    assert (await ask(engine)).reasons == ["length"]


async def test_a_cache_that_lies_about_its_room(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmatic.engines.llama.backend import DecodeResult

    backend, runner = engine._loaded.backend, engine._loaded.runner
    honest = backend.decode

    def narrow(tokens: Any, positions: Any, slots: Any, outputs: Any) -> DecodeResult:
        if len(runner.scheduler.running) > 1:
            return DecodeResult.NO_ROOM
        return honest(tokens, positions, slots, outputs)

    monkeypatch.setattr(backend, "decode", narrow)
    answers = await asyncio.gather(*(ask(engine, max_tokens=20) for _ in range(3)))
    assert [a.reasons for a in answers] == [["length"]] * 3


async def test_a_broken_template_is_told(tmp_path: Path) -> None:
    async with opened(write_model(tmp_path / "m.gguf", template="{% if %}")) as engine:
        assert not engine.info.has_chat_template
        assert engine.info.chat_template_error
        with pytest.raises(InvalidRequest, match="cannot chat"):
            await ask_for(engine, GenerationRequest("c", ChatPrompt(({"role": "user", "content": "x"},))))


async def test_a_configured_template_takes_precedence(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", template=None)
    async with opened(path, chat_template="chatml") as engine:
        assert engine.info.has_chat_template
    with pytest.raises(ConfigError):
        create(spec_of(path, chat_template="{% if %}"))


async def test_memory_of_requests_is_given_back(engine: LlamaEngine) -> None:
    await asyncio.gather(*(ask(engine, n_choices=3) for _ in range(10)))
    gc.collect()
    assert engine._bridge._inboxes == {}
    assert engine._loaded.runner._live == {}
