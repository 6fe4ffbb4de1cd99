"""A draft is what the draft model would write alone, whatever was drafted and taken back before."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llmatic.core.errors import ConfigError
from llmatic.engines.llama.backend import Backend, DecodeResult
from llmatic.engines.llama.drafting import NOTHING, UNSURE, Kind
from llmatic.engines.llama.drafting.model import ModelDrafter, check_vocabulary
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from tests.engines.llama.small_model import write_model

Open = Callable[..., "Watched"]


class Watched(Backend):
    """Knows which tokens its slots hold."""

    def clear(self) -> None:
        super().clear()
        self.texts = [[] for _ in range(self.n_sequences)]

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], outputs: Sequence[int]
    ) -> DecodeResult:
        result = super().decode(tokens, positions, slots, outputs)
        if result is DecodeResult.DONE:
            for token, slot in zip(tokens, slots, strict=True):
                self.texts[slot].append(token)
        return result

    def trim(self, slot: int, n_tokens: int) -> None:
        super().trim(slot, n_tokens)
        del self.texts[slot][n_tokens:]

    def free(self, slot: int) -> None:
        super().free(slot)
        self.texts[slot].clear()

    texts: list[list[int]]


def open_small(path: Path, **changes: Any) -> Watched:
    options = Options(batch=256, ubatch=256)
    sizes: dict[str, Any] = {"n_context": 512, "n_sequences": 3, "n_threads": 1} | changes
    backend = Watched(Model(path, options, n_gpu_layers=0), options, **sizes)
    backend.clear()
    return backend


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return write_model(folder / "big.gguf", layers=3), write_model(folder / "small.gguf", layers=1)


@pytest.fixture
def open_(paths: tuple[Path, Path]) -> Iterator[Open]:
    opened: list[Watched] = []

    def open_it(which: int = 1, **changes: Any) -> Watched:
        opened.append(open_small(paths[which], **changes))
        return opened[-1]

    yield open_it
    for backend in opened:
        backend.close()
        backend.model.close()


def drafter_on(backend: Backend, **changes: Any) -> ModelDrafter:
    return ModelDrafter(backend, backend.n_vocab, **({"p_min": 0.0} | changes))


def written_alone(backend: Backend, text: list[int], n: int) -> list[int]:
    backend.clear()
    n_known, text, new = 0, list(text), list(text)
    for _ in range(n):
        positions = range(n_known, n_known + len(new))
        backend.decode(new, positions, [0] * len(new), [len(new) - 1])
        n_known += len(new)
        new = [int(backend.logits(0).argmax())]
        text += new
    return text[-n:]


def assert_likeliest(backend: Backend, text: list[int], draft: list[int]) -> None:
    """Each token is the likeliest after those before it, give or take what rounding makes of equals."""
    backend.clear()
    rows = [*text, *draft[:-1]]
    outputs = range(len(text) - 1, len(rows))
    backend.decode(rows, range(len(rows)), [0] * len(rows), outputs)
    for row, token in enumerate(draft):
        logits = backend.logits(row)
        assert logits[token] > logits.max() - 0.01


TEXTS = [list(b"one and two and"), list(b"three"), list(b"something else, longer than the others")]


def test_sequences_that_are_drafted_together_are_drafted_as_alone(open_: Open) -> None:
    alone, drafter = open_(), drafter_on(open_())
    drafts = drafter.draft([(key, text, 3 + key) for key, text in enumerate(TEXTS)])
    assert [d.tokens for d in drafts] == [written_alone(alone, t, 3 + key) for key, t in enumerate(TEXTS)]
    assert {d.kind for d in drafts} == {Kind.MODEL}


def test_what_the_big_model_did_not_accept_is_taken_back(open_: Open) -> None:
    alone, backend, dice = open_(), open_(), random.Random(5)
    drafter, texts = drafter_on(backend, n_catch_up=48), [list(text) for text in TEXTS]
    n_drafted = 0
    for _ in range(30):
        writing = dice.sample(range(3), dice.randrange(1, 4))
        drafts = drafter.draft([(key, texts[key], dice.randrange(1, 5)) for key in writing])
        for key, draft in zip(writing, drafts, strict=True):
            text = texts[key]
            if draft:
                assert_likeliest(alone, text, list(draft.tokens))
                held = [*text, *draft.tokens]  # the last only if it was asked for more and ended there
                assert held in backend.texts or held[:-1] in backend.texts
                n_drafted += 1
            text += [*draft.tokens[: dice.randrange(5)], dice.randrange(256)]
        for key in set(range(3)) - set(writing):
            texts[key] += [dice.randrange(256), dice.randrange(256)]
    assert n_drafted > 30


def test_asking_again_for_the_same_text_changes_nothing(open_: Open) -> None:
    drafter = drafter_on(open_())
    assert drafter.draft([(1, TEXTS[0], 5)]) == drafter.draft([(1, TEXTS[0], 5)])


def test_a_long_prompt_is_caught_up_over_several_calls_and_holds_up_nobody(open_: Open) -> None:
    alone, drafter, long = open_(), drafter_on(open_(), n_catch_up=16), list(b"many words " * 4)
    outcomes = [drafter.draft([(1, long, 2), (2, TEXTS[1], 2)]) for _ in range(5)]
    assert all(len(short) == 2 for _, short in outcomes)
    assert [bool(draft) for draft, _ in outcomes] == [False, False, False, True, True]
    assert outcomes[0][0] is NOTHING
    assert outcomes[-1][0].tokens == written_alone(alone, long, 2)


def test_a_draft_ends_where_the_model_is_unsure(open_: Open) -> None:
    backend = open_()
    text = TEXTS[0]
    draft = drafter_on(backend).draft([(1, text, 8)])[0].tokens
    backend.clear()
    backend.decode(text, range(len(text)), [0] * len(text), [len(text) - 1])
    logits = backend.logits(0).astype(float)
    share = float(np.exp(logits.max()) / np.exp(logits).sum())
    backend.clear()
    sure, unsure = drafter_on(backend, p_min=share * 0.99), drafter_on(backend, p_min=share * 1.01)
    assert sure.draft([(1, text, 1)])[0].tokens == draft[:1]
    sure.forget(1)
    assert unsure.draft([(1, text, 1)])[0] is UNSURE


def test_tokens_that_only_one_of_the_models_knows_are_not_drafted(open_: Open) -> None:
    alone, backend = open_(), open_()
    (token,) = written_alone(alone, TEXTS[0], 1)
    assert ModelDrafter(backend, token, p_min=0.0).draft([(1, TEXTS[0], 4)]) == [UNSURE]
    assert drafter_on(open_()).draft([(1, [backend.n_vocab], 4)]) == [NOTHING]


def test_the_end_of_the_turn_is_not_drafted(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_()
    first, second = written_alone(open_(), TEXTS[0], 2)
    assert first != second
    monkeypatch.setattr(backend.model.vocabulary, "eog", frozenset([second]))
    assert drafter_on(backend).draft([(1, TEXTS[0], 4)])[0].tokens == [first]


def test_more_sequences_than_slots_take_turns(open_: Open) -> None:
    alone, drafter = open_(), drafter_on(open_(n_sequences=2))
    assert [bool(d) for d in drafter.draft([(key, TEXTS[1], 1) for key in range(3)])] == [True, True, False]
    for key in (2, 1, 0):
        assert drafter.draft([(key, TEXTS[key], 2)])[0].tokens == written_alone(alone, TEXTS[key], 2)


def test_a_forgotten_key_may_come_back_with_another_text(open_: Open) -> None:
    alone, drafter = open_(), drafter_on(open_())
    drafter.draft([(1, TEXTS[0], 2)])
    drafter.forget(1)
    drafter.forget(1)
    assert drafter.draft([(1, TEXTS[2], 2)])[0].tokens == written_alone(alone, TEXTS[2], 2)


def test_a_text_that_outgrows_the_draft_models_context_is_given_up(open_: Open) -> None:
    drafter = drafter_on(open_(n_context=256, n_sequences=1))
    text = list(b"0123456789" * 30)
    for n in (60, 120, 180, 240, 255):
        draft = drafter.draft([(1, text[:n], 9)])[0]
    assert len(draft) == 2
    assert drafter.draft([(1, text[:257], 9)]) == [NOTHING]
    assert drafter.draft([(2, text[:9], 9)])[0]


def test_a_full_cache_drops_who_is_not_drafted_and_then_the_longest(open_: Open) -> None:
    drafter, texts = drafter_on(backend := open_(n_context=256)), [list(b"%d" % n * 200) for n in range(3)]
    assert drafter.draft([(0, texts[0][:120], 1)])[0]
    assert all(drafter.draft([(1, texts[1][:60], 1), (2, texts[2][:60], 1)]))
    assert all(drafter.draft([(1, texts[1][:90], 1), (2, texts[2][:110], 1)]))
    assert drafter.draft([(1, texts[1][:120], 1), (2, texts[2][:140], 1)]) == [NOTHING, NOTHING]
    assert sorted(map(len, backend.texts)) == [0, 0, 90]
    assert drafter.draft([(1, texts[1][:120], 1)])[0]


@pytest.mark.parametrize("result", [DecodeResult.ABORTED, DecodeResult.NO_ROOM])
@pytest.mark.parametrize("n_before", [0, 2])
def test_a_failed_batch_leaves_a_drafter_that_knows_what_it_holds(
    open_: Open, monkeypatch: pytest.MonkeyPatch, result: DecodeResult, n_before: int
) -> None:
    alone, backend = open_(), open_()
    drafter, decode, results = drafter_on(backend), backend.decode, itertools.count()
    monkeypatch.setattr(
        backend, "decode", lambda *rows: decode(*rows) if next(results) < n_before else result
    )
    assert len(drafter.draft([(1, TEXTS[0], 3)])[0]) == n_before
    monkeypatch.setattr(backend, "decode", decode)
    other = [*TEXTS[0], 7]
    assert drafter.draft([(1, other, 3)])[0].tokens == written_alone(alone, other, 3)
    assert [*other, *written_alone(alone, other, 2)] in backend.texts


def test_a_model_without_numbers_drafts_nothing(tmp_path: Path) -> None:
    path = write_model(tmp_path / "nan.gguf", nan=True)
    backend = open_small(path)
    assert not drafter_on(backend, p_min=0.1).draft([(1, TEXTS[0], 3)])[0]
    ModelDrafter(backend, 1).close()


def vocabulary(**changes: Any) -> Any:
    pieces = [b"%d" % n for n in range(300)]
    values: dict[str, Any] = {"pieces": pieces, "bos": 1, "eos": 2, "add_bos": True} | changes
    return SimpleNamespace(n_tokens=len(values["pieces"]), **values)


def test_models_of_one_family_are_a_pair(open_: Open) -> None:
    big, small = open_(0).model.vocabulary, open_(1).model.vocabulary
    assert check_vocabulary(big, small) == big.n_tokens
    padded = vocabulary(pieces=[*vocabulary().pieces, *[b""] * 128])
    assert check_vocabulary(vocabulary(), padded) == check_vocabulary(padded, vocabulary()) == 300
    assert check_vocabulary(vocabulary(add_bos=False), vocabulary(add_bos=False, bos=None)) == 300


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pieces": [b""] * 429}, "429 tokens and the model 300"),
        ({"bos": 7}, "BOS"),
        ({"add_bos": False}, "BOS"),
        ({"eos": 7}, "token 7"),
        ({"pieces": [*vocabulary().pieces[:-1], b"x"]}, "token 299 is b'x', the model's is b'299'"),
    ],
)
def test_others_are_not(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_vocabulary(vocabulary(), vocabulary(**changes))
