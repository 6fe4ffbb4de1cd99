from collections.abc import Sequence
from contextlib import aclosing
from queue import SimpleQueue
from typing import Any

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import (
    ConfigError,
    ContextLengthExceeded,
    EngineFailed,
    InvalidRequest,
    LlmaticError,
    QueueFull,
)
from llmatic.core.ports import EngineEvent, StepEngine
from llmatic.core.types import (
    CallDelta,
    ChatPrompt,
    Constraint,
    Delta,
    Event,
    Finished,
    GenerationRequest,
    SamplingParams,
    Started,
    TextPrompt,
    TokenPrompt,
    ToolUse,
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


@pytest.mark.parametrize(
    ("stop", "expected", "found"), [((), "one two three", ""), (("three", "two", "tw"), "one ", "tw")]
)
async def test_it_tells_which_stop_text_it_was(stop: tuple[str, ...], expected: str, found: str) -> None:
    events = await say(stop=stop)
    assert text(events) == expected
    assert [e.stop for e in events if isinstance(e, Delta) and e.finish_reason] == [found]


async def test_what_does_not_fit_is_shortened_if_asked_for() -> None:
    fake = FakeEngine(ModelSpec("m", "", engine="fake", context=5))
    events = await say(fake=fake, max_tokens=100, shortens=True)
    assert (text(events), reasons(events)) == ("one two", ["length"])
    with pytest.raises(ContextLengthExceeded):
        await say("a b c d e", fake=fake, max_tokens=100, shortens=True)


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
    seen: SimpleQueue[tuple[str, EngineEvent | LlmaticError]] = SimpleQueue()

    def on_step(events: Sequence[tuple[str, EngineEvent | LlmaticError]]) -> None:
        for event in events:
            seen.put(event)

    fake.start(on_step)
    for name in ("runs", "waits", "refused"):
        fake.submit(GenerationRequest(name, TextPrompt("x"), ignore_eos=True, max_tokens=4000))
    ends: dict[str, EngineEvent | LlmaticError] = {}
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


CALLS = [{"name": "f", "arguments": {"city": "Paris"}}, {"name": "g", "arguments": "{", "id": "own"}]


def chat(mode: Any = "auto", **fields: Any) -> ChatPrompt:
    definitions = tuple({"type": "function", "function": {"name": name}} for name in "fg")
    return ChatPrompt(({"role": "user", "content": "a b"},), tools=ToolUse(definitions, mode, **fields))


def called(events: list[Event]) -> list[CallDelta]:
    return [call for event in events if isinstance(event, Delta) for call in event.calls]


async def test_it_thinks_and_calls_as_it_is_told() -> None:
    events = await say(fake=engine(reasoning="hm ok", calls=CALLS), prompt=chat())
    assert "".join(e.reasoning for e in events if isinstance(e, Delta)) == "hm ok"
    made = called(events)
    assert [(call.index, call.name, call.id) for call in made if call.name] == [(0, "f", ""), (1, "g", "own")]
    assert "".join(call.arguments for call in made if call.index == 0) == '{"city":"Paris"}'
    assert (text(events), reasons(events)) == ("", ["tool_calls"])
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.usage.n_reasoning_tokens == 2


async def test_it_keeps_to_what_may_be_called() -> None:
    fake = engine(calls=CALLS, text="first")
    events = await say(fake=fake, prompt=chat(is_parallel=False))
    assert [call.name for call in called(events) if call.name] == ["f"]
    assert text(events) == "first"
    events = await say(fake=fake, prompt=chat("required", allowed=("g",)))
    assert [call.name for call in called(events) if call.name] == ["g"]
    assert not called(await say(fake=fake, prompt=ChatPrompt(({"role": "user", "content": "a"},))))


async def test_calls_and_thoughts_are_cut_off_like_text() -> None:
    fake = engine(calls=CALLS, reasoning="one two three")
    events = await say(fake=fake, prompt=chat(), max_tokens=5)
    assert (reasons(events), len(called(events))) == (["length"], 2)
    events = await say(fake=fake, prompt=chat(), max_tokens=2)
    assert (reasons(events), len(called(events))) == (["length"], 0)
    events = await say(fake=fake, prompt=chat(), reasoning_budget=1)
    assert "".join(e.reasoning for e in events if isinstance(e, Delta)) == "one"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"constraint": Constraint("regex", "a", param="regex")}, "regex"),
        ({"prompt": chat("required")}, "tool_choice"),
    ],
)
async def test_it_refuses_what_it_cannot_keep_to(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await say(**fields)
    assert refused.value.param == param
