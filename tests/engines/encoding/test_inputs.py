from collections.abc import Sequence
from typing import Any

import pytest

from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.engines.encoding.backend import Item
from llmatic.engines.encoding.inputs import MIN_HEAD, WHOLE_PER_HEAD, Frame, InputReader
from llmatic.engines.encoding.options import EncoderOptions
from llmatic.engines.encoding.vocabularies import ForeignVocabulary

CLS, SEP = 101, 102
BERT = Frame((CLS,), (SEP,), (CLS,), (SEP,), (SEP,), (0, 0, 0, 1, 1))


class Letters:
    """One token a letter: its place in the alphabet."""

    n_vocab = 200

    def __init__(self, frame: Frame = BERT) -> None:
        self.frame = frame
        self.lengths: list[int] = []

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        self.lengths += [len(text) for text in texts]
        return [[ord(letter) - 96 for letter in text if letter.isalpha()] for text in texts]


def reader(
    n_context: int = 8,
    frame: Frame = BERT,
    prompts: dict[str, str] | None = None,
    vocabulary: ForeignVocabulary | None = None,
    **options: Any,
) -> InputReader:
    return InputReader(
        Letters(frame),
        EncoderOptions(**options),
        model_id="m",
        n_context=n_context,
        prompts=prompts or {},
        vocabulary=vocabulary,
    )


def embed(*texts: str, **more: Any) -> EncodeRequest:
    return EncodeRequest("1", "embed", texts, **more)


def ids(*inputs: tuple[int, ...], **more: Any) -> EncodeRequest:
    return EncodeRequest("1", "embed", token_ids=inputs, **more)


def test_special_tokens_come_around_each_text() -> None:
    assert reader().read(embed("ab", "", "c"), 0, 3) == [
        Item([CLS, 1, 2, SEP]),
        Item([CLS, SEP]),
        Item([CLS, 3, SEP]),
    ]


def test_a_range_of_the_inputs() -> None:
    assert reader().read(embed("a", "b", "c"), 1, 2) == [Item([CLS, 2, SEP])]


def test_an_empty_text_of_a_model_without_special_tokens_is_the_filler() -> None:
    bare = reader(frame=Frame(filler=9))
    assert bare.read(embed("", "a"), 0, 2) == [Item([9]), Item([1])]


@pytest.mark.parametrize(("input_type", "token"), [("query", 17), ("document", 4), (None, 24)])
def test_prompts_by_input_type(input_type: Any, token: int) -> None:
    prompts = {"query": "q: ", "document": "d: ", "default": "x: "}
    read = reader(prompts=prompts, token_vocabulary="own")
    assert read.read(embed("a", input_type=input_type), 0, 1) == [Item([CLS, token, 1, SEP])]
    assert read.read(ids((1,), input_type=input_type), 0, 1) == [Item([CLS, token, 1, SEP])]


def test_a_text_too_long_is_refused_in_openais_words() -> None:
    words = (
        r"^This model's maximum context length is 8 tokens, however you requested 12 tokens \(12 in your prompt; 0 "
        r"for the completion\). Please reduce your prompt; or completion length.$"
    )
    assert len(reader().read(embed("a" * 6), 0, 1)[0].ids) == 8
    with pytest.raises(ContextLengthExceeded, match=words) as refused:
        reader().read(embed("a" * 10), 0, 1)
    assert refused.value.param is None
    with pytest.raises(ContextLengthExceeded, match=r"It is input\[2\] that is too long\.$"):
        reader().read(embed("a", "a", "a" * 10), 1, 3)


def test_or_truncated_where_the_registry_or_the_request_says_so() -> None:
    cut = [Item([CLS, *[1] * 6, SEP])]
    assert reader(too_long="truncate").read(embed("a" * 10), 0, 1) == cut
    assert reader().read(embed("a" * 10, too_long="truncate"), 0, 1) == cut
    with pytest.raises(ContextLengthExceeded):
        reader(too_long="truncate").read(embed("a" * 10, too_long="refuse"), 0, 1)


def test_of_a_text_far_too_long_only_the_beginning_is_read() -> None:
    tokenizer = Letters()
    read = InputReader(tokenizer, EncoderOptions(), model_id="m", n_context=8, prompts={}).read
    huge = "a" * (10 * MIN_HEAD)
    with pytest.raises(
        ContextLengthExceeded, match=rf"requested more than {MIN_HEAD + 2} tokens .* input\[1\]"
    ):
        read(embed("a", huge), 0, 2)
    assert read(embed(huge, "b", too_long="truncate"), 0, 2) == [
        Item([CLS, *[1] * 6, SEP]),
        Item([CLS, 2, SEP]),
    ]
    with pytest.raises(ContextLengthExceeded, match=r"more than .* The query \('query'\)"):
        read(rank(huge, "b"), 0, 1)
    assert max(tokenizer.lengths) == MIN_HEAD


def test_a_long_text_of_few_tokens_is_read_to_its_end() -> None:
    assert reader().read(embed("a" + " " * 2 * MIN_HEAD + "b"), 0, 1) == [Item([CLS, 1, 2, SEP])]


# pairs


def rank(query: str, *texts: str, **more: Any) -> EncodeRequest:
    return EncodeRequest("1", "rank", texts, query=query, param="documents", **more)


def test_pairs_carry_type_ids() -> None:
    assert reader().read(rank("ab", "c", ""), 0, 2) == [
        Item([CLS, 1, 2, SEP, 3, SEP], [0, 0, 0, 0, 1, 1]),
        Item([CLS, 1, 2, SEP, SEP], [0, 0, 0, 0, 1]),
    ]


def test_pairs_of_a_model_without_types() -> None:
    frame = Frame((5,), (6,), (5,), (6, 6), (6,))
    assert reader(frame=frame).read(rank("a", "b"), 0, 1) == [Item([5, 1, 6, 6, 2, 6])]


def test_of_a_pair_only_the_text_is_truncated() -> None:
    assert reader().read(rank("ab", "cdefg", too_long="truncate"), 0, 1)[0].ids == [
        CLS,
        1,
        2,
        SEP,
        3,
        4,
        5,
        SEP,
    ]
    with pytest.raises(ContextLengthExceeded, match=r"requested 10 tokens .* It is documents\[1\]"):
        reader().read(rank("ab", "c", "cdefg"), 0, 2)


@pytest.mark.parametrize("length", [5, 6, 20])
def test_a_query_that_leaves_no_room_is_too_long_even_so(length: int) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"The query \('q'\) is too long"):
        reader().read(rank("a" * length, "b", too_long="truncate", query_param="q"), 0, 1)


# token ids


def test_token_ids_are_refused_where_nobody_says_what_they_mean() -> None:
    with pytest.raises(
        InvalidRequest, match=r"'options\.token_vocabulary'.*check_embedding_ctx_length=False"
    ) as refused:
        reader().read(ids((1, 2)), 0, 1)
    assert refused.value.param == "input"


def test_own_token_ids_get_their_special_tokens_unless_they_have_them() -> None:
    read = reader(token_vocabulary="own").read
    request = ids((1, 2), (CLS, 1, 2, SEP), (CLS, 1), (CLS, SEP), (CLS,), (1, SEP))
    found = [list(item.ids) for item in read(request, 0, 6)]
    assert found == [
        [CLS, 1, 2, SEP],
        [CLS, 1, 2, SEP],
        [CLS, CLS, 1, SEP],
        [CLS, SEP],
        [CLS, CLS, SEP],
        [CLS, 1, SEP, SEP],
    ]


def test_own_token_ids_are_truncated_between_their_special_tokens() -> None:
    read = reader(token_vocabulary="own", too_long="truncate").read
    assert read(ids((CLS, *[7] * 20, SEP)), 0, 1) == [Item([CLS, *[7] * 6, SEP])]


@pytest.mark.parametrize("wrong", [200, -1])
def test_ids_outside_the_vocabulary_name_the_setting(wrong: int) -> None:
    with pytest.raises(
        InvalidRequest, match=rf"Token id {wrong} is not .* 200 tokens.*options\.token_vocabulary"
    ):
        reader(token_vocabulary="own").read(ids((1, wrong)), 0, 1)


def test_foreign_ids_become_text_first() -> None:
    letters = ForeignVocabulary("abc", "m", lambda: lambda tokens: "".join("xyz"[token] for token in tokens))
    read = reader(vocabulary=letters, token_vocabulary="abc", prompts={"query": "q"}).read
    assert read(ids((0, 1), (2,)), 0, 2) == [Item([CLS, 24, 25, SEP]), Item([CLS, 26, SEP])]
    assert read(ids((0,), input_type="query"), 0, 1) == [Item([CLS, 17, 24, SEP])]


@pytest.mark.parametrize("task", ["embed", "rank"])
def test_of_one_endless_word_no_more_is_read_than_may_matter(task: str) -> None:
    """Spaces are no tokens here: the text would fit, if it were read to its end."""
    letters = Letters()
    own = InputReader(letters, EncoderOptions(), model_id="m", n_context=8, prompts={})
    endless = "a" + " " * (MIN_HEAD * 50)
    pair = EncodeRequest("1", "rank", ("b",), query=endless)
    request = embed(endless) if task == "embed" else pair
    with pytest.raises(ContextLengthExceeded, match=f"A text of {len(endless)} characters is too long"):
        own.read(request, 0, 1)
    assert max(letters.lengths) == MIN_HEAD * WHOLE_PER_HEAD
    if task == "embed":
        assert own.read(embed(endless, too_long="truncate"), 0, 1) == [Item([CLS, 1, SEP])]


def test_a_long_text_that_fits_is_read_to_its_end() -> None:
    long = "a" + " " * (MIN_HEAD * WHOLE_PER_HEAD - 2) + "b"
    assert reader().read(embed(long), 0, 1) == [Item([CLS, 1, 2, SEP])]
