"""The whole engine on a small model: whatever is shared, saved, paused or guessed, the text stays the same."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from llmatic.core.errors import ConfigError
from llmatic.core.types import Adapter, Priority, SamplingParams, TokenLogprob
from llmatic.engines.llama.drafting.controller import Controller
from llmatic.engines.llama.drafting.model import ModelDrafter
from llmatic.engines.llama.engine import LlamaEngine
from tests.engines.llama.asking import GREEDY, Answer, ask, opened
from tests.engines.llama.small_adapter import write_adapter
from tests.engines.llama.small_model import write_model

pytestmark = pytest.mark.anyio
EXACT = {"type_k": "f32", "type_v": "f32"}
PLAIN = {**EXACT, "cache_ram": 0, "speculation": "off"}
SYSTEM = "You are a helpful and rather long-winded assistant that repeats itself. "
PROMPTS = [
    *(SYSTEM + f"Question {n}: what is {n} times {n}?" for n in range(5)),
    *("the cat the cat the cat " * n for n in (2, 3, 4)),
    *(SYSTEM[:40] + f"and then {n}" for n in range(3)),
    "short",
]
WAYS: dict[str, dict[str, object]] = {
    "shared": {"context": 2048, "options": EXACT},
    "kept": {"context": 2048, "options": {**EXACT, "cache_kept": 0.5, "cache_ram": 0}},
    "kept and saved": {"context": 700, "options": {**EXACT, "cache_kept": 0.3}},
    "split": {"context": 6 * 256, "options": {**EXACT, "kv_unified": False}},
    "paused": {"context": 300, "options": EXACT},
    "paused without saving": {"context": 300, "options": {**EXACT, "cache_ram": 0}},
    "not guessed": {"context": 2048, "options": {**EXACT, "speculation": "off"}},
    "small gaps": {"context": 2048, "options": {**EXACT, "gap_target": "1ms"}},
}


async def choose(engine: LlamaEngine, prompt: str) -> list[TokenLogprob]:
    """The greedy tokens that follow, with their runners-up."""
    answer = await ask(engine, prompt, sampling=replace(GREEDY, n_logprobs=2), max_tokens=40, ignore_eos=True)
    return [entry for delta in answer.deltas for entry in delta.logprobs]


def n_alike(found: list[TokenLogprob], wanted: list[TokenLogprob]) -> int:
    """How many tokens are equal, up to the first so close a call that rounding may tip it."""
    n = 0
    for ours, theirs in zip(found, wanted, strict=True):
        if theirs.top[0].logprob - theirs.top[1].logprob < 0.03:
            break
        assert ours.token_id == theirs.token_id
        n += 1
    return n


@pytest.fixture(scope="module")
def plain(model_path: Path) -> list[list[TokenLogprob]]:
    """Every prompt by itself, with nothing shared, saved or guessed."""

    async def run() -> list[list[TokenLogprob]]:
        async with opened(model_path, parallel=1, context=512, options=PLAIN) as engine:
            return [await choose(engine, prompt) for prompt in PROMPTS]

    return asyncio.run(run())


@pytest.mark.parametrize("way", WAYS)
async def test_the_text_is_that_of_a_plain_run(
    way: str, model_path: Path, plain: list[list[TokenLogprob]]
) -> None:
    async with opened(model_path, parallel=6, **WAYS[way]) as engine:
        for _ in range(2):  # cold, then warm
            found = await asyncio.gather(*(choose(engine, prompt) for prompt in PROMPTS))
            n = sum(n_alike(some, others) for some, others in zip(found, plain, strict=True))
            assert n > 10 * len(PROMPTS)
        stats = engine.stats()
        assert stats["cells_used"] == stats["sequences_running"] == stats["sequences_waiting"] == 0
        if "paused" in way:
            assert stats["preemptions_total"] > 0
        if way == "not guessed":
            assert stats["drafted_total"] == 0
        elif way == "shared":
            assert stats["accepted_total"] > 0
        assert stats["cache_hits_total"] > 0


async def cached(engine: LlamaEngine, prompt: str, **fields: object) -> int:
    return (await ask(engine, prompt, **fields)).usage.n_cached_tokens


@pytest.mark.parametrize("options", [{}, {"cache_kept": 0.5, "cache_ram": 0}, {"kv_unified": False}])
async def test_cached_tokens_are_those_that_were_not_computed(
    model_path: Path, options: dict[str, object]
) -> None:
    async with opened(model_path, context=1024, options=options) as engine:
        first = await ask(engine, SYSTEM)
        assert first.usage.n_cached_tokens == 0
        n_computed = engine.stats()["tokens_computed_total"]
        again = await ask(engine, SYSTEM)
        assert again.texts == first.texts
        assert again.usage.n_cached_tokens == again.usage.n_prompt_tokens - 1
        assert engine.stats()["tokens_computed_total"] == n_computed
        longer = await ask(engine, SYSTEM + first.texts[0] + " and more of it")
        assert longer.usage.n_cached_tokens >= again.usage.n_prompt_tokens - 1
        assert await cached(engine, "Quite another beginning. " + SYSTEM) < 16


async def test_salts_share_nothing(model_path: Path) -> None:
    async with opened(model_path) as engine:
        await ask(engine, SYSTEM, cache_salt="a")
        assert await cached(engine, SYSTEM, cache_salt="b") == 0
        assert await cached(engine, SYSTEM) == 0
        assert await cached(engine, SYSTEM, cache_salt="a") > 40


@pytest.mark.parametrize("kept", [0, 0.5])
async def test_saved_prompts_survive_a_restart(model_path: Path, tmp_path: Path, kept: float) -> None:
    options = {"cache_disk": "10MB", "cache_dir": str(tmp_path), "cache_kept": kept}
    async with opened(model_path, options=options) as engine:
        first = await ask(engine, SYSTEM)
        await ask(
            engine,
            "This one is kept in memory only, whatever happens to be there.",
            cache_retention="in_memory",
        )
    async with opened(model_path, options=options) as engine:
        again = await ask(engine, SYSTEM)
        assert again.texts == first.texts
        assert again.usage.n_cached_tokens > 40
        assert await cached(engine, "This one is kept in memory only, whatever happens to be there.") < 16
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        data = bytearray(file.read_bytes())
        data[-10] ^= 255
        file.write_bytes(data)
    async with opened(model_path, options=options) as engine:
        damaged = await ask(engine, SYSTEM)
        assert damaged.texts == first.texts
        assert damaged.usage.n_cached_tokens == 0


async def test_adapters_of_each_request(model_path: Path, tmp_path: Path) -> None:
    paths = [write_adapter(tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2)]
    sets: list[tuple[Adapter, ...]] = [
        (),
        (Adapter(str(paths[0])),),
        (Adapter(str(paths[1]), 0.5),),
        (Adapter(str(paths[0])), Adapter(str(paths[1]))),
    ]
    async with opened(model_path, parallel=8, context=1024, options=EXACT) as engine:

        async def answer(adapters: tuple[Adapter, ...]) -> Answer:
            return await ask(engine, SYSTEM, adapters=adapters, max_tokens=20, ignore_eos=True)

        alone = [await answer(adapters) for adapters in sets]
        assert len({a.texts[0] for a in alone}) == len(sets)
        assert all(a.usage.n_cached_tokens == 0 for a in alone), "shared across adapters"
        together = await asyncio.gather(*(answer(adapters) for adapters in [*sets, *reversed(sets)]))
        for found, wanted in zip(together, [*alone, *reversed(alone)], strict=True):
            assert found.texts[0][:8] == wanted.texts[0][:8]
        assert engine.stats()["adapters_loaded"] == 2


async def test_urgent_requests_go_before_batch_work_that_runs(model_path: Path) -> None:
    async with opened(model_path, parallel=2, context=1024) as engine:
        ended: list[str] = []

        async def one(name: str, priority: Priority, max_tokens: int) -> Answer:
            answer = await ask(
                engine, f"{name} says " * 8, priority=priority, max_tokens=max_tokens, ignore_eos=True
            )
            ended.append(name)
            return answer

        batch = [asyncio.create_task(one(f"batch {n}", Priority.BATCH, 150)) for n in range(3)]
        while engine.stats()["sequences_running"] < 2:
            await asyncio.sleep(0)
        await one("urgent", Priority.DEFAULT, 5)
        answers = await asyncio.gather(*batch)
        assert ended[0] == "urgent"
        assert [a.usage.n_completion_tokens for a in answers] == [150] * 3
        assert engine.stats()["preemptions_total"] >= 1


async def entries(engine: LlamaEngine, prompt: str) -> list[tuple[int, float | None]]:
    params = SamplingParams(temperature=1.0, seed=11, n_logprobs=0)
    answer = await ask(engine, prompt, sampling=params, max_tokens=30, ignore_eos=True)
    return [(e.token_id, e.logprob) for d in answer.deltas for e in d.logprobs]


async def test_deterministic_answers_are_equal_to_the_last_bit(model_path: Path) -> None:
    async with opened(model_path, parallel=6, context=6 * 256, deterministic=True) as engine:
        alone = [await entries(engine, prompt) for prompt in PROMPTS]
        for _ in range(2):
            assert await asyncio.gather(*(entries(engine, prompt) for prompt in PROMPTS)) == alone
        assert engine.stats()["cache_hits_total"] > 0
    async with opened(model_path, parallel=6, context=6 * 256, deterministic=True) as engine:
        assert await asyncio.gather(*(entries(engine, prompt) for prompt in reversed(PROMPTS))) == alone[::-1]


async def test_the_fingerprint_names_the_mode(model_path: Path) -> None:
    found = set()
    for changes in ({}, {"deterministic": True}, {"options": {"type_k": "f32"}}, {"chat_template": "chatml"}):
        async with opened(model_path, **changes) as engine:
            found.add(engine.info.fingerprint)
    assert len(found) == 4


async def test_a_prediction_is_counted(model_path: Path) -> None:
    letters = replace(GREEDY, logit_bias=tuple((token, 100.0) for token in b"abcdefg"))
    fields = {"sampling": letters, "max_tokens": 40, "ignore_eos": True}
    async with opened(model_path) as engine:
        plain = await ask(engine, "tell me", **fields)
        right = await ask(engine, "tell me", **fields, prediction=plain.texts[0])
        assert right.texts == plain.texts
        assert right.usage.n_accepted_prediction_tokens > 10
        wrong = await ask(engine, "tell me", **fields, prediction="zq" * 40)
        assert wrong.texts == plain.texts
        assert wrong.usage.n_accepted_prediction_tokens == 0


def eager(cost: Callable[[int], float], draft_cost: Callable[[int], float] | None) -> Controller:
    """As if rows and drafts cost next to nothing."""
    return Controller(lambda rows: 1 + rows / 100, draft_cost=draft_cost and (lambda rows: 0.01))


async def test_guesses_do_not_change_what_a_seed_gives(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By lookup, by a draft model that always agrees, and by one that never does."""
    monkeypatch.setattr("llmatic.engines.llama.speculation.Controller", eager)
    monkeypatch.setattr("llmatic.engines.llama.extras.ModelDrafter", partial(ModelDrafter, p_min=0.0))
    stranger = write_model(tmp_path / "stranger.gguf", layers=1)
    params = SamplingParams(temperature=0.7, top_p=0.9, presence_penalty=0.2, seed=3)
    ways: list[dict[str, object]] = [
        {"options": PLAIN},
        {"options": EXACT},
        {"options": EXACT, "draft": "twin", "draft_source": str(model_path)},
        {"options": {**EXACT, "speculation": "draft"}, "draft": "other", "draft_source": str(stranger)},
    ]
    found, n_accepted = [], []
    for way in ways:
        async with opened(model_path, parallel=4, context=1024, **way) as engine:
            asked = (
                ask(engine, prompt, sampling=sampling, max_tokens=40, ignore_eos=True)
                for prompt in ("the cat the cat the cat the", "to be or not to be")
                for sampling in (GREEDY, params)
            )
            found.append([answer.texts[0][:5] for answer in await asyncio.gather(*asked)])
            n_accepted.append(engine.stats()["accepted_total"])
    assert found[1:] == found[:1] * 3
    assert n_accepted[0] == 0
    assert n_accepted[2] > 20


async def test_a_draft_model_of_another_vocabulary_is_refused(model_path: Path) -> None:
    tiny = Path(__file__).parents[3] / "models" / "llmatic-tiny.gguf"
    with pytest.raises(ConfigError, match="same vocabulary"):
        async with opened(model_path, draft="tiny", draft_source=str(tiny)):
            pass
    with pytest.raises(ConfigError, match="needs a model to draft"):
        async with opened(model_path, options={"speculation": "draft"}):
            pass
