"""Probabilities of verdicts, against sums made by hand."""

from math import log
from typing import Any

import pytest

from llmatic.core.types import TokenLogprob, TopLogprob
from llmatic.services.guard_verdict import Form, label_probabilities, unsafe_probability, word_probabilities

LLAMA = Form((b"safe",), (b"unsafe",))
QWEN = Form((b"Safe",), (b"Unsafe", b"Controversial"), b"Safety: ", b"\nCategories: ", b", ")
LAST = {"…": 1e-12}  # what is not listed is less likely than that
LABELS = [b"S1", b"S2", b"S10", b"S11"]


def written(*steps: dict[str, float]) -> list[TokenLogprob]:
    """An answer: of every step the first token was taken; its and the others' probabilities are listed."""
    tokens = []
    for step in steps:
        top = [TopLogprob(hash(text), text.encode(), log(p)) for text, p in (step | LAST).items()]
        likeliest = tuple(sorted(top, key=lambda one: -one.logprob))
        tokens.append(TokenLogprob(top[0].token_id, top[0].data, top[0].logprob, likeliest))
    return tokens


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # The words share what the rest of the vocabulary leaves them.
        ([{"safe": 0.6, "unsafe": 0.2, "I": 0.2}], 0.25),
        # A word that is not listed among the likeliest is as good as impossible.
        ([{"safe": 0.99, "I": 0.01}], 1e-12),
        # Words that are both not: the one that was taken is as likely as any other, at most.
        ([{"safe": 1e-15, "I": 0.9, "You": 0.1}], 0.5),
        # A word in several tokens: its beginning decides, also beside the whole word.
        ([{"un": 0.6, "safe": 0.3, "unsafe": 0.1}, {"safe": 1.0}], 0.7),
        ([{"safe": 0.3, "un": 0.6, "unsafe": 0.1}], 0.7),
        # White space before the verdict, in a token of its own or within the verdict's.
        ([{"\n\n": 0.9, "safe": 0.1}, {"unsafe": 0.5, "safe": 0.5}], 0.5),
        ([{" safe": 0.5, "unsafe": 0.1, " unsafe": 0.2, "\n": 0.2}], 0.375),
        ([{"safe": 0.5, " unsafe": 0.5}], 0.5),
        # What ends the word may be part of its token.
        ([{"unsafe\n": 0.25, "safe<|end|>": 0.5, "safely": 0.25}], 1 / 3),
    ],
)
def test_verdicts(steps: list[dict[str, float]], expected: float) -> None:
    assert unsafe_probability(written(*steps), LLAMA) == pytest.approx(expected)


def test_a_verdict_after_other_words() -> None:
    answer = written(
        {"Safety": 1.0}, {":": 1.0}, {" Safe": 0.5, " Unsafe": 0.2, " Contro": 0.1, "Unsafe": 0.2}
    )
    assert unsafe_probability(answer, QWEN) == pytest.approx(0.375)


def test_words_that_begin_alike_are_told_apart_where_they_part() -> None:
    form = Form((b"not harmful",), (b"not harmless",))
    answer = written({"not": 1.0}, {" harm": 0.9, " good": 0.1}, {"ful": 0.6, "less": 0.2})
    assert unsafe_probability(answer, form) == pytest.approx(0.25)


def test_what_is_no_verdict_has_no_probability() -> None:
    assert unsafe_probability([], LLAMA) is None
    assert unsafe_probability(written({"I": 1.0}), LLAMA) is None
    assert unsafe_probability(written({"Risk: safe": 1.0}), QWEN) is None


def labels(*steps: dict[str, float], form: Form = LLAMA, of: list[bytes] = LABELS) -> dict[str, Any]:
    found = label_probabilities(written(*steps), form, of)
    return {label.decode(): pytest.approx(value) for label, value in found.items()}


UNSAFE = ({"unsafe": 1.0}, {"\n": 1.0})


def test_labels_of_whole_numbers() -> None:
    # As Llama 3 writes them: S and a number in one token each.
    found = labels(*UNSAFE, {"S": 1.0}, {"2": 0.5, "1": 0.25, "10": 0.2, "7": 0.05})
    assert found == {"S1": 0.25 / 0.95, "S2": 0.5 / 0.95, "S10": 0.2 / 0.95, "S11": 0.25 / 0.95}


def test_a_longer_token_of_its_own_tells_a_label_from_its_beginning() -> None:
    found = labels(*UNSAFE, {"S": 1.0}, {"10": 0.4, "1": 0.3, "11": 0.1, "2": 0.2})
    assert found == {"S1": 0.3, "S2": 0.2, "S10": 0.4, "S11": 0.1}


def test_labels_digit_by_digit() -> None:
    found = labels(*UNSAFE, {"S": 1.0}, {"1": 0.8, "2": 0.2}, {"0": 0.5, "1": 0.1, ",": 0.3, "<|end|>": 0.1})
    assert found == {"S1": 0.32, "S2": 0.2, "S10": 0.4, "S11": 0.08}


def test_a_label_that_others_begin_with_ends_with_the_answer() -> None:
    assert labels(*UNSAFE, {"S": 1.0}, {"1": 0.8, "2": 0.2})["S1"] == 0.8


def test_a_label_may_come_second() -> None:
    found = labels(
        *UNSAFE,
        {"S1": 0.75, "S2": 0.25},
        {",": 0.8, "<|end|>": 0.2},
        {"S2": 0.5, "S1": 0.5},
        of=[b"S1", b"S2"],
    )
    # S2 is first, or second after S1 and a comma; S1 is not counted twice.
    assert found == {"S1": 0.75, "S2": 0.25 + 0.75 * 0.8 * 0.5}


def test_a_comma_in_one_token_with_what_follows() -> None:
    steps = [{"S1": 0.5, "S2": 0.5}, {",S": 0.5, ",": 0.25, "<|end|>": 0.25}, {"2": 1.0}]
    found = labels(*UNSAFE, *steps, of=[b"S1", b"S2"])
    assert found == {"S1": 0.5, "S2": 0.5 + 0.5 * 0.75}


def test_labels_of_words() -> None:
    of = [b"Violent", b"Non-violent Illegal Acts", b"Violent Extremism"]
    head = ({"Safety:": 1.0}, {" Unsafe": 1.0}, {"\n": 1.0}, {"Categories:": 1.0})
    found = labels(
        *head, {" Violent": 0.6, " Non": 0.2, " Other": 0.2}, {" Ext": 0.25, ",": 0.7}, form=QWEN, of=of
    )
    assert found == {
        "Violent": 0.75 * 0.75,
        "Non-violent Illegal Acts": 0.25,
        "Violent Extremism": 0.75 * 0.25,
    }


def test_an_answer_without_a_list_lists_nothing() -> None:
    assert set(label_probabilities(written({"safe": 1.0}), LLAMA, LABELS).values()) == {0.0}
    assert set(label_probabilities(written({"unsafe": 1.0}), LLAMA, LABELS).values()) == {0.0}


def test_an_answer_that_was_cut_off() -> None:
    found = label_probabilities(written(*UNSAFE, {"S": 1.0}), LLAMA, LABELS)
    assert set(found.values()) == {1.0}, "nothing tells them apart"


def test_impossible_tokens_are_no_trouble() -> None:
    token = TokenLogprob(1, b"safe", float("-inf"), ())
    found = word_probabilities([token], 0, {b"safe": "safe", b"unsafe": "unsafe"})
    assert not any(found.values())
    assert unsafe_probability([token], LLAMA) is None
