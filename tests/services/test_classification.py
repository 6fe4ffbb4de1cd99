import re

import pytest

from llmatic.core.errors import EngineFailed, InvalidRequest
from llmatic.services.classification import (
    balanced,
    classification_prompt,
    label_constraint,
    label_limit,
    label_set,
    normal_label,
    read_label,
)

EXAMPLES = [["A happy moment", "positive"], ["I am sad.", "NEGATIVE"], ["I am awesome", " Positive"]]


def test_labels_have_a_normal_form() -> None:
    assert [normal_label(label) for label in ("positive", "POSITIVE", " Positive\n")] == ["Positive"] * 3
    assert normal_label("very\t \nbad") == "Very bad"
    assert normal_label("éclair") == "Éclair"
    assert normal_label("日本語") == "日本語"
    assert normal_label("5 stars") == "5 stars"


def test_labels_are_those_given_or_those_of_the_examples_each_once() -> None:
    assert label_set(None, EXAMPLES) == ("Positive", "Negative")
    assert label_set(["neutral", "NEUTRAL", "negative"], EXAMPLES) == ("Neutral", "Negative")


@pytest.mark.parametrize(
    ("labels", "examples", "param"),
    [
        (["a", " "], [["x", "a"], ["y", "a"]], "labels[1]"),
        (["a", ""], [["x", "a"], ["y", "a"]], "labels[1]"),
        (None, [["x", "a"], ["y", "\n"]], "examples[1][1]"),
        (["Positve", "Negatve"], EXAMPLES, "labels"),
    ],
)
def test_labels_that_cannot_be_chosen_are_refused(
    labels: list[str] | None, examples: list[list[str]], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        label_set(labels, examples)
    assert refused.value.param == param


def test_every_label_has_its_turn() -> None:
    assert balanced([5, 0, 1, 2, 3, 4], ["a", "a", "a", "b", "c", "a"]) == (5, 3, 4, 0, 1, 2)
    assert balanced([], []) == ()


def test_the_prompt_has_openais_form_with_the_best_example_last() -> None:
    examples = [("I am\nsad.", "Negative"), ("A happy moment ", "Positive")]
    assert classification_prompt("It\r\nrains", examples, ["Positive", "Negative", "Neutral"]) == (
        "Please classify a piece of text into the following categories: Positive, Negative, Neutral.\n"
        "\n"
        "Text: A happy moment\n"
        "Category: Positive\n"
        "---\n"
        "Text: I am sad.\n"
        "Category: Negative\n"
        "---\n"
        "Text: It rains\n"
        "Category:"
    )


@pytest.mark.parametrize(
    "labels", [("Pos", "Positive", "Pos it"), ("A|b", "A", "C.*", "[x]{2}"), ("日本語", "Ñandú", "a/b\\c")]
)
def test_the_constraint_matches_the_labels_and_nothing_else(labels: tuple[str, ...]) -> None:
    constraint = label_constraint(labels, param="labels")
    assert (constraint.kind, constraint.param) == ("regex", "labels")
    for label in labels:
        assert re.fullmatch(constraint.source, f" {label}\n")
        assert len(f" {label}\n".encode()) <= label_limit(labels)
    for other in (*labels, " x\n", " \n", f" {labels[0]}", f" {labels[0]}{labels[1]}\n"):
        assert not re.fullmatch(constraint.source, other)


def test_what_is_no_label_is_a_failure_of_the_engine() -> None:
    assert read_label(" Pos", ("Pos", "Positive")) == "Pos"
    with pytest.raises(EngineFailed):
        read_label(" Posit", ("Pos", "Positive"))
