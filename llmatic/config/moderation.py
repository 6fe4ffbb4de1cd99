"""`moderation:` of a model: what its own labels mean in OpenAI's categories.

Owns the section's keys, defaults and checks. Which labels a model has is known once it is loaded, so labels
are not judged here. Never reads a file. Any thread.
"""

from collections.abc import Callable, Mapping
from typing import Any

from llmatic.config import readers
from llmatic.config.keys import nearest, read_section
from llmatic.config.readers import Field
from llmatic.config.settings import LISTED, TEXT, VERDICT, ModerationSpec
from llmatic.config.tree import Items, Node, Scalar, Table, describe, fail, is_null
from llmatic.core.moderation import CATEGORIES


def read_moderation(node: Node, name: str) -> ModerationSpec | None:
    """The section `name`; None if there is nothing in it. Raises ConfigError."""
    values = read_section(node, name, MODERATION)
    if not values:
        return None
    spec = ModerationSpec(**values)
    if spec.prompts and spec.categories:
        fail(
            node.at, f"{name} has both 'categories' and 'prompts', which ask for a verdict in different ways"
        )
    if not (spec.prompts or spec.categories):
        fail(
            node.at,
            f"{name} needs 'categories:', which says what the model's labels mean, such as "
            "{toxic: [harassment]}, or 'prompts:'",
        )
    listed = sorted({*spec.categories} - {*spec.unsafe})
    if listed and LISTED not in spec.answer:
        fail(node.at, f"{name}: '{listed[0]}' can never be in the answer, which has no {LISTED}")
    both = sorted({*spec.safe} & {*spec.unsafe})
    if both:
        fail(node.at, f"{name}: '{both[0]}' is a word for both 'safe' and 'unsafe'")
    return spec


def _words(node: Node, name: str) -> tuple[str, ...]:
    """One text, or a list of them."""
    nodes = node.items if isinstance(node, Items) else (node,)
    if not nodes:
        fail(node.at, f"{name} must not be empty")
    found = tuple(_word(item, name) for item in nodes)
    return tuple(dict.fromkeys(found))


def _word(node: Node, name: str) -> str:
    word = readers.text(node, name)
    if word != word.strip():
        fail(node.at, f"{name}: '{word}' must not begin or end with white space")
    return word


def _spaced(node: Node, name: str) -> str:
    """Text that may be white space."""
    if not isinstance(node, Scalar) or node.kind != "str" or not node.text:
        readers.refuse(node, name, "text in quotes")
    return node.text


def _categories(node: Node, name: str) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(node, Table):
        readers.refuse(node, name, "a mapping from the model's labels to lists of categories")
    found: dict[str, tuple[str, ...]] = {}
    for label, value in node.values.items():
        if not label or label != label.strip():
            fail(node.keys[label], f"{name}: the label '{label}' is empty or has white space at an end")
        if not isinstance(value, Items):
            fail(value.at, f"{name}.{label} must be a list of categories, not {describe(value)}")
        for item in value.items:
            _check_category(readers.text(item, f"every entry of {name}.{label}"), item, name)
        found[label] = tuple(dict.fromkeys(item.text for item in value.items if isinstance(item, Scalar)))
    return found


def _by_category(read: Callable[[Node, str], Any]) -> readers.Read:
    """A mapping from categories to what `read` reads."""

    def read_all(node: Node, name: str) -> Mapping[str, Any]:
        if not isinstance(node, Table):
            readers.refuse(node, name, "a mapping from categories")
        for category in node.values:
            _check_category(category, Scalar(node.keys[category], category, "str"), name)
        items = {key: value for key, value in node.values.items() if not is_null(value)}
        return {category: read(value, f"{name}.{category}") for category, value in items.items()}

    return read_all


def _check_category(category: str, node: Node, name: str) -> None:
    if category not in CATEGORIES:
        fail(node.at, f"{name}: '{category}' is no category; {nearest(category, CATEGORIES)}")


def _prompt(node: Node, name: str) -> str:
    value = readers.text(node, name)
    if TEXT not in value:
        fail(node.at, f"{name} must hold {TEXT}, which stands for the text to judge")
    return value


def _answer(node: Node, name: str) -> str:
    value = readers.text(node, name)
    before, _, after = value.partition(VERDICT)
    is_last = after == "" or (after.endswith(LISTED) and len(after) > len(LISTED))
    if (
        VERDICT not in value
        or not is_last
        or value.count(LISTED) + value.count(VERDICT) > 2
        or LISTED in before
    ):
        fail(
            node.at,
            f"{name} must be text that ends with {VERDICT} or has it and, after some more text, ends with "
            f"{LISTED}",
        )
    return value


MODERATION = {
    "categories": Field("categories", _categories),
    "threshold": Field("threshold", readers.real(0, 1)),
    "thresholds": Field("thresholds", _by_category(readers.real(0, 1))),
    "safe": Field("safe", _words),
    "unsafe": Field("unsafe", _words),
    "answer": Field("answer", _answer),
    "separator": Field("separator", _spaced),
    "prompt": Field("prompt", _prompt),
    "prompts": Field("prompts", _by_category(_prompt)),
    "template_kwargs": Field("template_kwargs", readers.mapping),
}
