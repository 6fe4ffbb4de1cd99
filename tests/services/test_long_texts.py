"""Texts that are longer than what the model reads at once."""

import random
from collections.abc import Sequence

import pytest

from llmatic.core.errors import ContextLengthExceeded
from llmatic.services.long_texts import Scores, judge_whole, windows


class Reader:
    """Reads so many characters at once; the score of a category is 1 if its name is read in one piece."""

    def __init__(self, n_characters: int) -> None:
        self.n_characters = n_characters
        self.n_refused = 0
        self.read: list[str] = []

    async def judge(self, texts: Sequence[str]) -> list[Scores]:
        if max(map(len, texts)) > self.n_characters:
            self.n_refused += 1
            raise ContextLengthExceeded("Too long.")
        self.read += texts
        return [{"fear": float("fear" in text), "joy": float("joy" in text)} for text in texts]


@pytest.mark.anyio
async def test_texts_that_fit_are_judged_as_they_are() -> None:
    reader = Reader(100)
    found = await judge_whole(["joy " * 20, "fear", ""], 20, reader.judge)
    assert reader.read == ["joy " * 20, "fear", ""]
    assert found == [{"fear": 0, "joy": 1}, {"fear": 1, "joy": 0}, {"fear": 0, "joy": 0}]


@pytest.mark.anyio
@pytest.mark.parametrize("place", [0, 500, 990, 1500, 2995])
async def test_nothing_is_missed_wherever_it_stands(place: int) -> None:
    text = ("na " * 1000)[:place] + "fear" + ("na " * 1000)[place:]
    reader = Reader(100)
    (found,) = await judge_whole([text], 20, reader.judge)
    assert found == {"fear": 1, "joy": 0}
    assert reader.n_refused == 0, "the windows are made small enough at once"


@pytest.mark.anyio
async def test_what_has_more_tokens_than_thought_is_cut_again() -> None:
    reader = Reader(100)
    dense = "字" * 300 + "fear" + "字" * 300
    found = await judge_whole(["short"] * 9 + [dense] + ["joy"] * 9, 200, reader.judge)
    assert [scores["fear"] for scores in found] == [0] * 9 + [1] + [0] * 9
    assert [scores["joy"] for scores in found] == [0] * 10 + [1] * 9
    assert reader.read.count("short") == 9, "none is judged twice"
    assert reader.n_refused < 12


@pytest.mark.anyio
async def test_a_model_that_reads_nothing_is_not_asked_forever() -> None:
    reader = Reader(3)
    with pytest.raises(ContextLengthExceeded):
        await judge_whole(["some words"], 20, reader.judge)
    assert reader.n_refused == 2


def test_windows_overlap_and_cover_everything() -> None:
    generator = random.Random(5)
    for _ in range(300):
        letters = [chr(0x4E00 + n) for n in range(generator.randrange(1, 800))]  # each stands there once
        text = "".join(" " if generator.random() < 0.2 else letter for letter in letters)
        size = generator.randrange(8, 200)
        found = windows(text, size)
        assert all(0 < len(piece) <= size for piece in found)
        end = 0
        for piece in found:
            place, letter = next((k, c) for k, c in enumerate(piece) if c != " ")
            begin = text.index(letter) - place
            assert begin <= max(0, end - size // 8), "neighbours share an eighth"
            end = begin + len(piece)
        assert end == len(text)
