"""The whole engine with small models that see and hear."""

import asyncio
import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp as C
import pytest

from llmatic.core.errors import ContextLengthExceeded, EngineFailed, InvalidRequest
from llmatic.core.types import Adapter, ChatPrompt, GenerationRequest, Media, SamplingParams, TokenLogprob
from llmatic.engines.llama.engine import LlamaEngine
from llmatic.engines.llama.media import pictures
from llmatic.engines.llama.media.projector import Opened, Projector
from llmatic.engines.llama.media.rows import Expansion, Kind
from tests.engines.llama.asking import GREEDY, Answer, ask, ask_for, opened
from tests.engines.llama.media.conftest import Seeing
from tests.engines.llama.small_adapter import write_adapter
from tests.engines.llama.small_vision import N_ROWS, N_SOUND_ROWS, picture, sound
from tests.engines.llama.test_engine_sharing import n_alike

pytestmark = pytest.mark.anyio
EXACT = {"type_k": "f32", "type_v": "f32"}
KINDS = ("mlp", "gemma3", "qwen2vl_merger")
_numbers = itertools.count()


def request(media: Sequence[Media], text: str = "what is this?", **fields: Any) -> GenerationRequest:
    parts = [{"type": "media", "index": n} for n in range(len(media))]
    return conversation(
        [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], media, **fields
    )


def conversation(
    messages: Sequence[dict[str, Any]], media: Sequence[Media], **fields: Any
) -> GenerationRequest:
    fields = {"sampling": GREEDY, "max_tokens": 16, "ignore_eos": True, **fields}
    return GenerationRequest(f"q{next(_numbers)}", ChatPrompt(tuple(messages), media=tuple(media)), **fields)


async def look(
    engine: LlamaEngine, media: Sequence[Media], text: str = "what is this?", **fields: Any
) -> Answer:
    return await ask_for(engine, request(media, text, **fields))


def tokens_of(answer: Answer) -> list[TokenLogprob]:
    return [entry for delta in answer.deltas for entry in delta.logprobs]


@pytest.mark.parametrize("kind", KINDS)
async def test_equal_pictures_are_computed_once_and_others_are_told_apart(
    kind: str, seeing: dict[str, Seeing]
) -> None:
    model = seeing[kind]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        first = await look(engine, [picture(1)])
        assert first.usage.n_image_tokens >= 12
        assert first.usage.n_cached_tokens == 0
        again = await look(engine, [picture(1)])
        assert again.texts == first.texts
        assert again.usage.n_cached_tokens == first.usage.n_prompt_tokens - 1
        other = await look(engine, [picture(2)])
        assert other.texts != first.texts
        assert other.usage.n_cached_tokens < other.usage.n_prompt_tokens - other.usage.n_image_tokens
        assert engine._loaded.media.n_encoded == 2
        assert engine._loaded.media.n_found == 1


async def test_what_a_picture_takes_counts_as_prompt(seeing: dict[str, Seeing]) -> None:
    model = seeing["mlp"]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        assert engine.info.has_vision
        assert not engine.info.has_audio
        without = await look(engine, [])
        one, two = await look(engine, [picture(1)]), await look(engine, [picture(1), picture(2)])
        assert one.usage.n_prompt_tokens == without.usage.n_prompt_tokens + N_ROWS
        assert (two.usage.n_prompt_tokens, two.usage.n_image_tokens) == (
            without.usage.n_prompt_tokens + 2 * N_ROWS,
            2 * N_ROWS,
        )
        assert (without.usage.n_image_tokens, one.usage.n_audio_tokens) == (0, 0)


async def test_sounds_are_heard(seeing: dict[str, Seeing]) -> None:
    model = seeing["both"]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        assert engine.info.has_vision
        assert engine.info.has_audio
        first, other = await look(engine, [sound(1)]), await look(engine, [sound(2)])
        assert first.texts != other.texts
        assert first.usage.n_audio_tokens == N_SOUND_ROWS
        again = await look(engine, [sound(1)])
        assert again.texts == first.texts
        assert again.usage.n_cached_tokens == first.usage.n_prompt_tokens - 1
        both = await look(engine, [picture(1), sound(1)])
        assert (both.usage.n_image_tokens, both.usage.n_audio_tokens) == (N_ROWS, N_SOUND_ROWS)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_conversation_that_grows_reuses_its_pictures(kind: str, seeing: dict[str, Seeing]) -> None:
    model = seeing[kind]
    media = [picture(1)]
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "media", "index": 0}]}]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        n_before = 0
        for turn in range(4):
            answer = await ask_for(engine, conversation(messages, media))
            if turn:
                assert answer.usage.n_cached_tokens >= n_before
            n_before = answer.usage.n_prompt_tokens - 1
            messages.append({"role": "assistant", "content": answer.texts[0]})
            media.append(picture(10 + turn))
            parts = [{"type": "text", "text": "and this? "}, {"type": "media", "index": len(media) - 1}]
            messages.append({"role": "user", "content": parts})
        assert engine._loaded.media.n_encoded == 4


@pytest.mark.parametrize("options", [{}, {"kv_unified": False}, {"cache_kept": 0.4}, {"gap_target": "1ms"}])
@pytest.mark.parametrize("kind", KINDS)
async def test_texts_among_many_are_those_of_one_alone(
    kind: str, options: dict[str, Any], seeing: dict[str, Seeing]
) -> None:
    model = seeing[kind]
    sampling = replace(GREEDY, n_logprobs=2)
    asked = [request([picture(n % 3)], "look " * n, sampling=sampling) for n in range(5)]
    asked += [request([picture(1), picture(n)], "both?", sampling=sampling) for n in range(2)]
    asked += [request([], "just text " * n, sampling=sampling) for n in range(4)]
    extra = {"projector": str(model.projector), "options": {**EXACT, **options}}
    async with opened(model.path, parallel=1, context=512, **extra) as engine:
        alone = [tokens_of(await ask_for(engine, one)) for one in asked]
    async with opened(model.path, parallel=4, context=2048, **extra) as engine:
        for _ in range(2):
            again = [replace(one, id=f"{one.id}/{next(_numbers)}") for one in asked]
            found = await asyncio.gather(*(ask_for(engine, one) for one in again))
            n = sum(n_alike(tokens_of(a), b) for a, b in zip(found, alone, strict=True))
            assert n > 5 * len(asked)
        stats = engine.stats()
        assert stats["cells_used"] == stats["sequences_running"] == stats["sequences_waiting"] == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_paused_and_computed_again(kind: str, seeing: dict[str, Seeing]) -> None:
    model = seeing[kind]
    async with opened(model.path, parallel=4, context=256, projector=str(model.projector)) as engine:
        asked = [look(engine, [picture(n)], f"{n} is what?", max_tokens=60) for n in range(6)]
        answers = await asyncio.gather(*asked)
        assert all(answer.reasons == ["length"] for answer in answers)
        assert engine.stats()["preemptions_total"] > 0


@pytest.mark.parametrize("kind", KINDS)
async def test_states_that_are_saved_as_a_whole_come_back_with_their_pictures(
    kind: str, seeing: dict[str, Seeing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(C, "llama_model_is_hybrid", lambda _: True)  # their states are not cut into blocks
    model, sampling = seeing[kind], replace(GREEDY, n_logprobs=2)
    extra = {"projector": str(model.projector), "options": EXACT, "parallel": 4}
    asked = [request([picture(n)], "what?" * n, sampling=sampling, max_tokens=60) for n in range(5)]
    async with opened(model.path, context=2048, **extra) as engine:
        alone = [tokens_of(await ask_for(engine, one)) for one in asked]
    async with opened(model.path, context=256, **extra) as engine:
        again = [replace(one, id=f"{one.id}/again") for one in asked]
        found = await asyncio.gather(*(ask_for(engine, one) for one in again))
        assert engine.stats()["preemptions_total"] > 0
        assert engine.stats()["cache_restored_total"] > 0
    assert sum(n_alike(tokens_of(a), b) for a, b in zip(found, alone, strict=True)) > 50


@pytest.mark.parametrize("kind", KINDS)
async def test_choices_share_the_picture(kind: str, seeing: dict[str, Seeing]) -> None:
    model = seeing[kind]
    async with opened(model.path, parallel=4, context=1024, projector=str(model.projector)) as engine:
        answer = await look(engine, [picture(1)], n_choices=3)
        assert len(set(answer.texts)) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_deterministic_answers_do_not_depend_on_the_neighbours(
    kind: str, seeing: dict[str, Seeing]
) -> None:
    model = seeing[kind]
    extra = {"projector": str(model.projector), "deterministic": True, "parallel": 4, "context": 2048}
    sampling = SamplingParams(temperature=1.0, seed=5)
    async with opened(model.path, **extra) as engine:
        alone = (await look(engine, [picture(1)], sampling=sampling)).texts
        others = [look(engine, [picture(n % 2)], "x" * 9 * n, sampling=sampling) for n in range(4)]
        same = [look(engine, [picture(1)], sampling=sampling) for _ in range(3)]
        answers = await asyncio.gather(*others, *same)
        assert [answer.texts for answer in answers[-3:]] == [alone] * 3
        await look(engine, [picture(2)])  # whatever the others leave behind is done by now
        assert engine.stats()["cache_ram_bytes"] == 0
        for _ in range(2):
            await look(engine, [], "a text is kept for others, if it is long enough")
        assert engine.stats()["cache_ram_bytes"] > 0


async def test_adapters_change_what_is_said_of_a_picture(tmp_path: Path, seeing: dict[str, Seeing]) -> None:
    model = seeing["mlp"]
    adapter = Adapter(str(write_adapter(tmp_path / "a.gguf")), 3.0)
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        plain = await look(engine, [picture(1)])
        asked = [look(engine, [picture(1)], adapters=adapters) for adapters in ((), (adapter,)) * 2]
        first, changed, second, again = await asyncio.gather(*asked)
        assert first.texts == second.texts == plain.texts
        assert changed.texts == again.texts != plain.texts
        assert engine._loaded.media.n_encoded == 1


async def test_a_penalty_on_repetition_and_guesses_see_only_text(seeing: dict[str, Seeing]) -> None:
    model = seeing["mlp"]
    draft = {"draft": "d", "draft_source": str(model.path), "options": {"speculation": "draft"}}
    sampling = SamplingParams(temperature=0, repetition_penalty=1.3)
    text = "the cat the cat the cat the cat"
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        plain = await look(engine, [picture(1)], text, sampling=sampling, max_tokens=40)
    async with opened(model.path, projector=str(model.projector), context=1024, **draft) as engine:
        found = await look(engine, [picture(1)], text, sampling=sampling, max_tokens=40)
    assert len(found.texts[0]) == len(plain.texts[0])


class SlowEncoding:
    """Holds up every encoding until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()
        self.n_begun = 0
        encode = Projector.encode

        def slow(projector: Projector, opened: Opened, digest: bytes, kind: Kind) -> Expansion:
            self.n_begun += 1
            self.has_begun.set()
            self.may_go_on.wait(30)
            return encode(projector, opened, digest, kind)

        monkeypatch.setattr(Projector, "encode", slow)


async def test_text_is_written_while_a_picture_is_encoded(
    seeing: dict[str, Seeing], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seeing["mlp"]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        slow = SlowEncoding(monkeypatch)
        waiting = asyncio.create_task(look(engine, [picture(1)]))
        await asyncio.to_thread(slow.has_begun.wait, 30)
        assert (await ask(engine, max_tokens=20, ignore_eos=True)).reasons == ["length"]
        assert (await look(engine, [])).reasons == ["length"]
        assert not waiting.done()
        slow.may_go_on.set()
        assert (await waiting).reasons == ["length"]


async def test_who_hangs_up_while_a_picture_is_encoded_has_no_other_encoded(
    seeing: dict[str, Seeing], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seeing["mlp"]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        slow = SlowEncoding(monkeypatch)
        waiting = asyncio.create_task(look(engine, [picture(n) for n in range(5)]))
        await asyncio.to_thread(slow.has_begun.wait, 30)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        slow.may_go_on.set()
        assert (await look(engine, [picture(9)])).reasons == ["length"]
        assert slow.n_begun == 2


async def test_closing_while_a_picture_is_encoded_ends_the_request(
    seeing: dict[str, Seeing], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seeing["mlp"]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        slow = SlowEncoding(monkeypatch)
        waiting = asyncio.create_task(look(engine, [picture(1), picture(2)]))
        await asyncio.to_thread(slow.has_begun.wait, 30)
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        slow.may_go_on.set()
        await closing
        with pytest.raises(EngineFailed):
            await waiting


async def test_an_encoder_that_fails_fails_one_request(
    seeing: dict[str, Seeing], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = seeing["mlp"]

    def broken(*_: object) -> Expansion:
        raise RuntimeError("out of order")

    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(Projector, "encode", broken)
            with pytest.raises(EngineFailed, match="could not be read"):
                await look(engine, [picture(1)])
        assert "out of order" in caplog.text
        assert (await look(engine, [picture(1)])).reasons == ["length"]


@pytest.mark.parametrize(
    ("media", "message", "param"),
    [
        ([Media("image", b"nonsense")], "unsupported image", "messages.[0].content.[0].image_url"),
        (
            [picture(1), Media("image", picture(2).data[:99])],
            "unsupported",
            "messages.[0].content.[1].image_url",
        ),
        ([sound(1)], "input_audio is only supported by certain models", "messages.[0].content.[0].type"),
        (
            [picture(1, width=5000, height=9000)],
            "too large: 5000 x 9000",
            "messages.[0].content.[0].image_url",
        ),
    ],
    ids=["nonsense", "truncated", "sound", "large"],
)
async def test_refusals_name_the_part_at_fault(
    media: list[Media], message: str, param: str, seeing: dict[str, Seeing]
) -> None:
    model = seeing["mlp"]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        with pytest.raises(InvalidRequest, match=message) as caught:
            await look(engine, media)
        assert caught.value.param == param
        assert (await look(engine, [picture(1)])).reasons == ["length"]


async def test_a_model_without_a_projector_refuses_in_the_words_of_openai(engine: LlamaEngine) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await look(engine, [picture(1)])
    assert caught.value.message == "Invalid content type. image_url is only supported by certain models."
    assert caught.value.param == "messages.[0].content.[0].type"
    assert caught.value.type == "invalid_request_error"


async def test_what_is_shown_has_no_text_to_echo(seeing: dict[str, Seeing]) -> None:
    model = seeing["mlp"]
    async with opened(model.path, projector=str(model.projector), context=1024) as engine:
        answer = await look(engine, [picture(1)], "what is this?", echo=True)
        assert "what is this?" in answer.texts[0]
        with pytest.raises(InvalidRequest, match="no log probabilities") as caught:
            await look(engine, [picture(1)], echo=True, sampling=replace(GREEDY, n_logprobs=1))
        assert caught.value.param == "echo"


async def test_more_pictures_than_fit_are_refused_before_any_is_encoded(seeing: dict[str, Seeing]) -> None:
    model = seeing["mlp"]
    async with opened(model.path, projector=str(model.projector), context=256) as engine:
        with pytest.raises(ContextLengthExceeded, match="resulted in 256 tokens or more"):
            await look(engine, [picture(n) for n in range(20)])
        assert engine._loaded.media.n_encoded == 0
        with pytest.raises(ContextLengthExceeded):
            await look(engine, [picture(n) for n in range(15)])


async def test_a_picture_that_cannot_be_computed_at_once_is_refused(seeing: dict[str, Seeing]) -> None:
    model = seeing["gemma3"]
    options = {"ubatch": N_ROWS - 1}
    async with opened(model.path, projector=str(model.projector), options=options) as engine:
        with pytest.raises(InvalidRequest, match="takes 16 tokens that must be computed at once"):
            await look(engine, [picture(1)])
        assert (await look(engine, [])).reasons == ["length"]


async def test_low_detail_takes_fewer_tokens_where_the_model_lets_them_vary(
    seeing: dict[str, Seeing], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seeing["qwen2vl_merger"]
    monkeypatch.setattr(pictures, "LOW_SIDE", 128)
    large = picture(1, width=600, height=700)
    extra = {"context": 1024, "options": {"image_max_tokens": 400, "batch": 64}}
    async with opened(model.path, projector=str(model.projector), **extra) as engine:
        high, low = await look(engine, [large]), await look(engine, [replace(large, detail="low")])
        assert 300 < high.usage.n_image_tokens <= 400
        assert 40 < low.usage.n_image_tokens < 70
