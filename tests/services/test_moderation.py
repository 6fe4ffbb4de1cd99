"""Who moderates, and what the labels of classifiers count for."""

import pytest

from llmatic.config import ModelSpec, ModerationSpec
from llmatic.core.errors import InvalidRequest, ModelNotFound, Unavailable
from llmatic.registry import Registry
from llmatic.services.classifier_moderation import columns
from llmatic.services.guard_moderation import list_pattern, verdict_pattern
from llmatic.services.moderation import moderator

TOXIC = ModerationSpec(categories={"toxic": ("harassment", "hate"), "insult": ("harassment",), "fine": ()})
CHAT = ModelSpec("chat", "x", aliases=("gpt-4o",))
FIRST = ModelSpec("first", "x", moderation=TOXIC)
SECOND = ModelSpec("second", "x", moderation=TOXIC, aliases=("text-moderation-stable", "mine"))


def registry(*specs: ModelSpec) -> Registry:
    return Registry({spec.id: spec for spec in specs}, started=0)


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("second", "second"),
        ("mine", "second"),
        ("omni-moderation-latest", "first"),
        ("omni-moderation-2024-09-26", "first"),
        ("text-moderation-007", "first"),
        ("text-moderation-stable", "second"),
    ],
)
def test_names(name: str, model_id: str) -> None:
    assert moderator(registry(CHAT, FIRST, SECOND), name).id == model_id


def test_a_model_that_does_not_moderate_says_what_to_configure() -> None:
    with pytest.raises(
        InvalidRequest, match=r"'gpt-4o' does not moderate.*'moderation:'.*: first, second\."
    ) as no:
        moderator(registry(CHAT, FIRST, SECOND), "gpt-4o")
    assert no.value.param == "model"


def test_a_server_that_does_not_moderate_says_what_to_configure() -> None:
    with pytest.raises(ModelNotFound, match=r"'moderation:'.*docs/moderations\.md"):
        moderator(registry(CHAT), "omni-moderation-latest")
    with pytest.raises(InvalidRequest, match="'moderation:'"):
        moderator(registry(CHAT), "chat")


def test_other_names_are_unknown_models() -> None:
    with pytest.raises(ModelNotFound, match="`moderation` does not exist"):
        moderator(registry(FIRST), "moderation")


def test_labels_find_their_columns() -> None:
    assert columns(TOXIC, ("fine", "toxic", "other", "insult"), "m") == {"harassment": (1, 3), "hate": (1,)}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("toxic", "insults", "fine"),
         "models.m.moderation.categories: the model has no label 'insult'; did you mean 'insults'? "
         "Its labels are: toxic, insults, fine."),
        (("toxic", "a", "b"), "models.m.moderation.categories: the model has no label 'insult'; "
         "its labels are: toxic, a, b."),
    ],
)  # fmt: skip
def test_labels_that_the_model_does_not_have(labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(Unavailable) as wrong:
        columns(TOXIC, labels, "m")
    assert wrong.value.message == message


def test_a_classifier_is_not_asked_questions() -> None:
    with pytest.raises(Unavailable, match="'prompts' is for models that write"):
        columns(ModerationSpec(prompts={"hate": "{text}"}), ("a",), "m")


def test_patterns_of_answers() -> None:
    spec = ModerationSpec(
        {"S1": (), "A (b)": ()}, safe=("ok",), unsafe=("bad", "odd"), answer="Is: {verdict}\n* {categories}"
    )
    assert verdict_pattern(spec) == r"[ \t\r\n]{0,4}Is: (ok|bad|odd)"
    assert list_pattern(spec, tuple(spec.categories)) == (
        r"[ \t\r\n]{0,4}Is: (bad|odd)\n\* (S1|A \(b\))(,(S1|A \(b\))){0,1}"
    )
