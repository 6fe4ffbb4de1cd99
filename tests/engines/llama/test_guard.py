"""A guard's scores on a real engine, against probabilities read one token at a time without a grammar."""

from collections.abc import AsyncIterator
from math import exp
from pathlib import Path

import pytest

from llmatic.config import ModelSpec, ModerationSpec
from llmatic.core.types import Constraint, SamplingParams
from llmatic.engines.llama.engine import LlamaEngine
from llmatic.services import guard_moderation
from llmatic.services.guard_moderation import GuardModeration
from llmatic.services.long_texts import judge_whole
from llmatic.services.terms import Caller
from tests.engines.llama.asking import ask, opened
from tests.engines.llama.small_model import write_model

pytestmark = pytest.mark.anyio

N_LISTED = 100  # as many as an engine lists: of random weights every token is about as likely as any


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[LlamaEngine]:
    async with opened(write_model(tmp_path / "small.gguf"), context=512) as engine:
        yield engine


def chat(text: str, answer: str = "") -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{answer}"


async def likeliest(engine: LlamaEngine, prompt: str) -> dict[bytes, float]:
    """Token → probability of coming next."""
    sampling = SamplingParams(temperature=0, n_logprobs=N_LISTED)
    answer = await ask(engine, prompt, sampling=sampling, max_tokens=1)
    (token,) = answer.deltas[0].logprobs or ()
    return {top.data: exp(top.logprob) for top in token.top}


def letters(found: dict[bytes, float]) -> list[str]:
    """The letters among the likeliest tokens, likeliest first."""
    return [data.decode() for data in found if len(data) == 1 and data.isalpha() and data.isascii()]


def guard(engine: LlamaEngine, **moderation: object) -> GuardModeration:
    spec = ModelSpec("guard", "x", moderation=ModerationSpec(**moderation))  # type: ignore[arg-type]
    return GuardModeration(engine.generate, spec, engine.info, Caller(), "modr-1")


async def test_log_probabilities_are_the_models_own_also_under_a_grammar(engine: LlamaEngine) -> None:
    free = await likeliest(engine, "hello")
    sampling = SamplingParams(temperature=0, n_logprobs=N_LISTED)
    held = await ask(engine, "hello", sampling=sampling, constraint=Constraint("regex", "zebra"))
    assert held.texts == ["zebra"]
    first = next(delta.logprobs[0] for delta in held.deltas if delta.logprobs)
    assert {top.data: exp(top.logprob) for top in first.top} == pytest.approx(free)
    assert first.data == b"z"


@pytest.mark.parametrize("text", ["hello there", "what is this", "one two three " * 10])
async def test_scores(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(guard_moderation, "N_LOGPROBS", N_LISTED)
    first = await likeliest(engine, chat(text))
    s, u = letters(first)[:2]
    safe, unsafe = f"{s}ok", f"{u}bad"
    second = await likeliest(engine, chat(text, f"{unsafe}: "))
    c, d = letters(second)[:2]
    third = await likeliest(engine, chat(text, f"{unsafe}: {c}"))
    e, f = letters(third)[:2]
    judge = guard(
        engine,
        safe=(safe,),
        unsafe=(unsafe,),
        answer="{verdict}: {categories}",
        categories={f"{c}{e}": ("hate",), f"{c}{f}": ("sexual",), f"{d}zz": ("violence",)},
    )
    (scores,) = await judge.judge([text])

    def share(found: dict[bytes, float], one: str, other: str) -> float:
        return found[one.encode()] / (found[one.encode()] + found[other.encode()])

    p_unsafe, p_c, p_e = share(first, u, s), share(second, c, d), share(third, e, f)
    assert 0 < p_unsafe < 0.5
    # The first label of the list is that of `hate`: the likeliest ones were taken. The others may follow it.
    assert scores["hate"] == pytest.approx(p_unsafe * p_c * p_e, rel=2e-2)
    assert scores["sexual"] >= p_unsafe * p_c * (1 - p_e) * (1 - 2e-2)
    assert scores["violence"] >= p_unsafe * (1 - p_c) * (1 - 2e-2)
    assert scores["sexual"] + scores["violence"] + scores["hate"] <= 2 * p_unsafe
    verdict, listed = judge.usages
    assert verdict.n_prompt_tokens == listed.n_prompt_tokens
    assert listed.n_cached_tokens >= verdict.n_prompt_tokens // 64 * 64, "a long text is read once"


async def test_labels_that_are_the_verdict(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_moderation, "N_LOGPROBS", N_LISTED)
    first = await likeliest(engine, chat("hello"))
    s, u = letters(first)[:2]
    judge = guard(engine, safe=(f"{s}no",), unsafe=(f"{u}yes",), categories={f"{u}yes": ("hate", "violence")})
    (scores,) = await judge.judge(["hello"])
    expected = first[u.encode()] / (first[u.encode()] + first[s.encode()])
    assert scores == {"hate": pytest.approx(expected), "violence": pytest.approx(expected)}
    assert len(judge.usages) == 1


async def test_several_texts_and_long_ones(engine: LlamaEngine) -> None:
    judge = guard(engine, categories={"S1": ("hate",), "S2": ("violence",)})
    found = await judge_whole(["one", "two " * 500, "three"], 512, judge.judge)
    assert [set(scores) for scores in found] == [{"hate", "violence"}] * 3
    assert all(0 <= score <= 1 for scores in found for score in scores.values())
