"""`moderation:` of a model: what may stand there, and one sentence for every mistake."""

import re
from pathlib import Path

import pytest

from llmatic.config import ModerationSpec, load_settings
from llmatic.config.moderation import MODERATION
from llmatic.core.errors import ConfigError
from llmatic.workers.wire import spec_from_wire, to_plain

DOCS = (Path(__file__).parents[2] / "docs" / "moderations.md").read_text(encoding="utf-8")
CLASSIFIER = """\
models:
  toxic-bert:
    engine: sentence
    source: hf:org/toxic-bert
    moderation:
      threshold: 0.4
      thresholds:
        violence: 0.25
        hate:
      categories:
        toxic: [harassment, harassment]
        threat: [harassment/threatening, violence]
        neutral: []
"""
GUARD = """\
models:
  guard:
    source: /data/guard.gguf
    moderation:
      safe: Safe
      unsafe: [Unsafe, Controversial]
      answer: "Safety: {verdict}\\nCategories: {categories}"
      separator: ", "
      prompt: "Judge this: {text}"
      template_kwargs: {enable_thinking: false}
      categories:
        Violent: [violence]
  asking:
    base: guard
    moderation:
      prompts:
        hate: "Is this hateful? {text}"
  same:
    base: guard
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def refusal(tmp_path: Path, section: str) -> str:
    text = f"models:\n  m:\n    source: /x.gguf\n    moderation:\n      {section}\n"
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text), {})
    return caught.value.message.removeprefix(f"{tmp_path}/")


def test_a_classifier(tmp_path: Path) -> None:
    spec = load_settings(write(tmp_path, CLASSIFIER), {}).models["toxic-bert"].moderation
    assert spec == ModerationSpec(
        categories={
            "toxic": ("harassment",),
            "threat": ("harassment/threatening", "violence"),
            "neutral": (),
        },
        threshold=0.4,
        thresholds={"violence": 0.25},
    )
    assert [spec.threshold_of(category) for category in ("violence", "hate")] == [0.25, 0.4]


def test_a_guard_and_what_builds_upon_it(tmp_path: Path) -> None:
    models = load_settings(write(tmp_path, GUARD), {}).models
    guard = ModerationSpec(
        categories={"Violent": ("violence",)},
        safe=("Safe",),
        unsafe=("Unsafe", "Controversial"),
        answer="Safety: {verdict}\nCategories: {categories}",
        separator=", ",
        prompt="Judge this: {text}",
        template_kwargs={"enable_thinking": False},
    )
    assert models["guard"].moderation == models["same"].moderation == guard
    assert models["asking"].moderation == ModerationSpec(prompts={"hate": "Is this hateful? {text}"})


def test_a_worker_is_told_all_of_it(tmp_path: Path) -> None:
    spec = load_settings(write(tmp_path, GUARD), {}).models["guard"]
    assert spec_from_wire(to_plain(spec)) == spec


def test_a_variable_holds_the_whole_section(tmp_path: Path) -> None:
    variable = {"LLMATIC_MODELS__TOXIC_BERT__MODERATION": "{categories: {toxic: [hate]}}"}
    spec = load_settings(write(tmp_path, CLASSIFIER), variable).models["toxic-bert"].moderation
    assert spec == ModerationSpec(categories={"toxic": ("hate",)})


@pytest.mark.parametrize("section", ["", "{}", "threshold:"])
def test_nothing_said_is_no_moderation(tmp_path: Path, section: str) -> None:
    text = f"models:\n  m:\n    source: /x.gguf\n    moderation:\n      {section}\n"
    assert load_settings(write(tmp_path, text), {}).models["m"].moderation is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("catgories: {}", "config.yaml:5: unknown key 'catgories' under models.m.moderation; "
         "did you mean 'categories'?"),
        ("threshold: 0.5", "config.yaml:5: models.m.moderation needs 'categories:', which says what the model's "
         "labels mean, such as {toxic: [harassment]}, or 'prompts:'"),
        ("categories: [hate]", "config.yaml:5: models.m.moderation.categories must be a mapping from the model's "
         "labels to lists of categories, not a list"),
        ("categories: {toxic: hate}", "config.yaml:5: models.m.moderation.categories.toxic must be a list of "
         "categories, not the text 'hate'"),
        ("categories: {toxic: [harasment]}", "config.yaml:5: models.m.moderation.categories: 'harasment' is no "
         "category; did you mean 'harassment'?"),
        ("categories: {toxic: [1]}", "config.yaml:5: every entry of models.m.moderation.categories.toxic must be "
         "text, not the number 1 (put it in quotes)"),
        ("categories: {' x': [hate]}", "config.yaml:5: models.m.moderation.categories: the label ' x' is empty or "
         "has white space at an end"),
        ("{threshold: 2, categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.threshold must be a number "
         "from 0 to 1, not the number 2"),
        ("{thresholds: {hat: 0.1}, categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.thresholds: "
         "'hat' is no category; did you mean 'hate'?"),
        ("{thresholds: 0.1, categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.thresholds must be a "
         "mapping from categories, not the number 0.1"),
        ("{safe: [], categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.safe must not be empty"),
        ("{safe: ' no', categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.safe: ' no' must not begin "
         "or end with white space"),
        ("{safe: unsafe, categories: {x: [hate]}}", "config.yaml:5: models.m.moderation: 'unsafe' is a word for "
         "both 'safe' and 'unsafe'"),
        ("{safe: no, categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.safe must be text, not no "
         "(put it in quotes)"),
        ("{separator: '', categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.separator must be text in "
         "quotes, not the text ''"),
        ("{answer: 'x {categories}', categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.answer must be "
         "text that ends with {verdict} or has it and, after some more text, ends with {categories}"),
        ("{answer: '{verdict}{categories}', categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.answer "
         "must be text that ends with {verdict} or has it and, after some more text, ends with {categories}"),
        ("{answer: '{verdict}', categories: {x: [hate]}}", "config.yaml:5: models.m.moderation: 'x' can never be in "
         "the answer, which has no {categories}"),
        ("{prompt: 'Is it bad?', categories: {x: [hate]}}", "config.yaml:5: models.m.moderation.prompt must hold "
         "{text}, which stands for the text to judge"),
        ("prompts: {hate: 'Is it bad?'}", "config.yaml:5: models.m.moderation.prompts.hate must hold {text}, which "
         "stands for the text to judge"),
        ("{prompts: {hate: '{text}'}, categories: {x: [hate]}}", "config.yaml:5: models.m.moderation has both "
         "'categories' and 'prompts', which ask for a verdict in different ways"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, section: str, message: str) -> None:
    assert refusal(tmp_path, section) == message


def test_every_key_is_explained() -> None:
    assert [key for key in MODERATION if not re.search(rf"^\|.*`{key}`", DOCS, re.MULTILINE)] == []


def test_the_documented_examples_are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    assert len(examples) == 3
    specs = [spec for text in examples for spec in load_settings(write(tmp_path, text), {}).models.values()]
    assert [spec.id for spec in specs] == ["toxic-bert", "llama-guard", "qwen-guard", "shield"]
    for spec in specs:
        assert spec.moderation is not None
        assert len(spec.moderation.categories) >= 5 or spec.moderation.prompts
