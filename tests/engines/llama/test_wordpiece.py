"""Words into pieces, as BERT's own tokenizer makes them."""

from importlib.util import find_spec
from random import Random

import pytest

from llmatic.engines.llama import wordpiece
from llmatic.engines.llama.wordpiece import WordPiece
from scripts.bench.gguf_encoder import PACKAGE, minilm_folder

PIECES = {"▁un": 1, "▁like": 2, "like": 3, "ly": 4, "▁!": 5, "▁ä": 6, "▁a": 7, "▁A": 8, "▁": 9}


def tokens(text: str, **options: bool) -> list[int]:
    return WordPiece(PIECES, unknown=0, **options).tokenize(text)


def test_the_longest_piece_comes_first() -> None:
    assert tokens("Unlikely like!") == [1, 3, 4, 2, 5]
    assert tokens("unlikelyx") == [0]
    assert tokens(" \t\n") == []


def test_marks_of_the_file_are_text_in_a_text() -> None:
    assert tokens("un▁like") == [0]


def test_case_and_accents() -> None:
    assert tokens("Ä A\u0308 a") == [7, 7, 7]
    assert tokens("Ä a", strip_accents=False) == [6, 7]
    assert tokens("A a", lowercase=False) == [8, 7]


def test_a_word_too_long_is_unknown() -> None:
    assert tokens("un" + "like" * 24) == [1] + [3] * 24
    assert tokens("un" + "like" * 25) == [0]


def test_it_forgets_words_before_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "N_KNOWN_MAX", 3)
    cutter = WordPiece(PIECES, unknown=0)
    assert [cutter.tokenize(text) for text in ("un", "like", "x", "unlike", "un")] == [
        [1],
        [2],
        [0],
        [1, 3],
        [1],
    ]


def test_it_forgets_characters_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "N_KNOWN_MAX", 3)
    assert tokens("unlike! unlike!") == [1, 3, 5, 1, 3, 5]


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"needs {PACKAGE}")
def test_as_the_tokenizer_of_the_model() -> None:
    library = pytest.importorskip("tokenizers")
    folder = minilm_folder()
    other = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
    other.no_padding()
    other.no_truncation()
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    pieces = {(w[2:] if w.startswith("##") else "▁" + w): n for n, w in enumerate(words) if w not in special}
    cutter = WordPiece(pieces, unknown=100)
    random = Random(4)
    ranges = [(32, 127), (0, 0x250), (0x370, 0x400), (0x905, 0x97F), (0xAC00, 0xD7A3), (0x4E00, 0x9F00)]
    for _ in range(2000):
        text = "".join(chr(random.randrange(*random.choice(ranges))) for _ in range(random.randrange(40)))
        assert cutter.tokenize(text) == other.encode(text, add_special_tokens=False).ids, text
