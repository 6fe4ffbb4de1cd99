"""The whole engine on a small model: refusals, cancellations, failures, the end."""

import asyncio
import gc
import random
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from llmatic.core.errors import ConfigError, EngineFailed, InvalidRequest, LlmaticError, QueueFull
from llmatic.core.types import (
    ChatPrompt,
    Constraint,
    Event,
    Finished,
    GenerationRequest,
    SamplingParams,
    TextPrompt,
    TokenPrompt,
)
from llmatic.engines.llama import create
from llmatic.engines.llama.backend import DecodeResult
from llmatic.engines.llama.engine import LlamaEngine
from llmatic.engines.llama.sequences import Sequence
from tests.engines.llama.asking import GREEDY, Answer, ask, ask_for, opened
from tests.engines.llama.small_model import spec_of, write_model

pytestmark = pytest.mark.anyio


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
        {"prompt": ChatPrompt(({"role": "user", "content": "x"},), reasoning_effort="high")},
        {"prompt": TextPrompt("x"), "constraint": Constraint("regex", "(", param="regex")},
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
        request = GenerationRequest(
            f"h{n}", prompt, n_choices=rng.randint(1, 4), max_tokens=30, ignore_eos=True
        )
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
            engine.submit(
                GenerationRequest(str(n), TextPrompt("hello"), GREEDY, max_tokens=20, ignore_eos=True)
            )
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


async def test_damaged_rows_fail_their_request_alone(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, runner = engine._loaded.backend, engine._loaded.runner
    honest, draw = backend.logits, runner._draw

    def poisoned(sequence: Sequence, row: int, is_shared: bool) -> None:
        factor = float("nan") if sequence.group.prompt[0] == ord("!") else 1.0
        monkeypatch.setattr(backend, "logits", lambda row: honest(row) * factor)
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
        patch.setattr(
            engine._loaded.backend, "decode", lambda *_: (_ for _ in ()).throw(EngineFailed("broken"))
        )
        with pytest.raises(EngineFailed, match="broken"):
            await ask(engine)
    assert (await ask(engine)).reasons == ["length"]


async def test_a_cache_that_lies_about_its_room(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
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
