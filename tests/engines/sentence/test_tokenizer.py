from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from llmatic.engines.encoding.inputs import Frame
from llmatic.engines.sentence.tokenizer import FastTokenizer

WORDS = {"a": 0, "b": 1, "<s>": 2, "</s>": 3, "?": 4}


def made(single: str | None, pair: str = "", *, has_types: bool = False) -> FastTokenizer:
    library = Tokenizer(WordLevel(WORDS, unk_token="?"))
    library.pre_tokenizer = Whitespace()
    if single is not None:
        library.post_processor = TemplateProcessing(
            single=single, pair=pair, special_tokens=[("<s>", 2), ("</s>", 3)]
        )
    library.enable_truncation(2)
    library.enable_padding(length=7)
    return FastTokenizer(library.to_str(), n_vocab=5, has_types=has_types, filler=4)


def test_the_frames_are_those_of_the_library() -> None:
    tokenizer = made("<s> $A </s>", "<s> $A </s> </s> $B </s>")
    assert tokenizer.frame == Frame((2,), (3,), (2,), (3, 3), (3,), None, 4)


def test_type_ids() -> None:
    tokenizer = made("<s> $A </s>", "<s>:0 $A:0 </s>:0 $B:1 </s>:1", has_types=True)
    assert tokenizer.frame.pair_types == (0, 0, 0, 1, 1)


def test_a_library_without_special_tokens() -> None:
    assert made(None).frame == Frame(filler=4)


def test_contents_have_no_special_tokens_and_are_never_cut_or_filled() -> None:
    tokenizer = made("<s> $A </s>", "<s> $A </s> $B </s>")
    assert tokenizer.tokenize(["a b a b a b", "b", "", "z"]) == [[0, 1, 0, 1, 0, 1], [1], [], [4]]
    assert tokenizer.tokenize(["b a"]) == [[1, 0]]
    assert tokenizer.tokenize([]) == []


@pytest.mark.usefixtures("minilm_folder")
def test_what_the_real_one_makes_is_what_transformers_makes(minilm_folder: Path) -> None:
    from transformers import AutoTokenizer

    right = AutoTokenizer.from_pretrained(minilm_folder, local_files_only=True)
    text = right.backend_tokenizer.to_str()
    tokenizer = FastTokenizer(text, n_vocab=30522, has_types=True, filler=0)
    frame = tokenizer.frame
    for words in ("Hello, wörld!", "", "naïve 日本語 🙂", "[SEP] in text", "don't\tstop\n\n"):
        assert [*frame.before, *tokenizer.tokenize([words])[0], *frame.after] == right(words)["input_ids"]
    query, text = tokenizer.tokenize(["who?", "me, of course"])
    ids = [*frame.pair_before, *query, *frame.pair_between, *text, *frame.pair_after]
    assert ids == right("who?", "me, of course")["input_ids"]
