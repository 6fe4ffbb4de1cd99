from collections.abc import Sequence
from contextlib import aclosing
from queue import SimpleQueue
from typing import Any

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError, ContextLengthExceeded, EngineFailed, LlmaticError, QueueFull
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
    TokenPrompt,
)
from llmatic.engines.fake import FakeEngine

pytestmark = pytest.mark.anyio


def engine(**options: Any) -> FakeEngine:
    return FakeEngine(ModelSpec("m", "", engine="fake", parallel=1, max_queue=1, options=options))


async def say(text: str = "one two three", fake: FakeEngine | None = None, **more: Any) -> list[Event]:
    request = GenerationRequest("r", more.pop("prompt", TextPrompt(text)), **more)
    async with aclosing((fake or engine()).generate(request)) as events:
        return [event async for event in events]


def text(events: list[Event], index: int = 0) -> str:
    return "".join(e.text for e in events if isinstance(e, Delta) and e.index == index)


def reasons(events: list[Event]) -> list[str]:
    return [e.finish_reason for e in events if isinstance(e, Delta) and e.finish_reason]


async def test_it_repeats_and_counts_the_end_token() -> None:
    events = await say()
    assert events[0] == Started(3)
    assert text(events) == "one two three"
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.usage.n_completion_tokens == 4
    assert reasons(events) == ["stop"]


async def test_it_answers_the_last_user_message() -> None:
    messages = (
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c d"},
    )
    assert text(await say(prompt=ChatPrompt(messages))) == "c d"
    assert text(await say(prompt=TokenPrompt((5, 6)))) == "t5 t6"


@pytest.mark.parametrize(
    ("prediction", "counts"),
    [("", (0, 0)), ("one two three", (3, 0)), ("one two 3 4", (2, 2)), ("x one two three", (0, 4))],
)
async def test_it_counts_what_of_a_prediction_came_true(prediction: str, counts: tuple[int, int]) -> None:
    for n_choices in (1, 2):
        last = (await say(prediction=prediction, n_choices=n_choices))[-1]
        assert isinstance(last, Finished)
        usage = last.usage
        found = (usage.n_accepted_prediction_tokens, usage.n_rejected_prediction_tokens)
        assert found == tuple(n_choices * count for count in counts)


@pytest.mark.parametrize(("max_tokens", "expected"), [(0, ""), (1, "one"), (3, "one two three")])
async def test_max_tokens(max_tokens: int, expected: str) -> None:
    events = await say(max_tokens=max_tokens)
    assert text(events) == expected
    assert reasons(events) == ["length"]


async def test_stop_ignore_eos_echo_and_choices() -> None:
    assert text(await say(stop=("wo",))) == "one t"
    assert text(await say("x", ignore_eos=True, max_tokens=3)) == "x x x"
    assert text(await say("x y", echo=True, max_tokens=1)) == "x yx"
    events = await say(n_choices=2)
    assert [text(events, 0), text(events, 1)] == ["one two three"] * 2
    assert reasons(events) == ["stop", "stop"]


async def test_log_probabilities_are_constant() -> None:
    events = await say(sampling=SamplingParams(n_logprobs=2), max_tokens=1)
    [delta] = [e for e in events if isinstance(e, Delta)]
    assert [(t.data, t.logprob) for t in delta.logprobs[0].top] == [(b"one", -0.5), (b" alt1", -1.5)]
    assert isinstance(events[-1], Finished)
    assert events[-1].mean_logprobs == (-0.5,)


async def test_it_misbehaves_when_told_to() -> None:
    with pytest.raises(EngineFailed):
        await say(fake=engine(fail_after=1))
    with pytest.raises(ContextLengthExceeded):
        await say(max_tokens=5000)
    with pytest.raises(ConfigError, match="no option 'speed'"):
        engine(speed=1)
    with pytest.raises(ConfigError, match="gone"):
        engine(load_error="gone")


async def test_as_a_step_engine_every_request_ends_once() -> None:
    fake: StepEngine = engine(token_delay_s=0.001)
    seen: SimpleQueue[tuple[str, Event | LlmaticError]] = SimpleQueue()

    def on_step(events: Sequence[tuple[str, Event | LlmaticError]]) -> None:
        for event in events:
            seen.put(event)

    fake.start(on_step)
    for name in ("runs", "waits", "refused"):
        fake.submit(GenerationRequest(name, TextPrompt("x"), ignore_eos=True, max_tokens=4000))
    ends: dict[str, Event | LlmaticError] = {}
    while "refused" not in ends:
        name, event = seen.get(timeout=30)
        if isinstance(event, Finished | LlmaticError):
            ends[name] = event
    assert isinstance(ends["refused"], QueueFull)
    fake.cancel("runs")
    fake.cancel("unknown")
    await fake.close()
    rest = [seen.get() for _ in range(seen.qsize())]
    failed = [name for name, event in rest if isinstance(event, EngineFailed)]
    assert failed == ["waits"]
