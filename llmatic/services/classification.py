"""What /classifications asks a model and how it reads the label: labels, examples, prompt.

Owns the normal form of labels and the form of the prompt, which is that of OpenAI's own classifications. The
answer is held to the labels by a constraint, so it is always one of them. Pure; any thread.
"""

import re
from collections.abc import Iterable, Sequence

from llmatic.core.errors import EngineFailed, InvalidRequest
from llmatic.core.types import Constraint

LABEL_END = "\n"

_AFTER_EXAMPLE = "---"


def normal_label(label: str) -> str:
    """As OpenAI had labels: the first letter large, all others small; white space is one space."""
    return " ".join(label.split()).capitalize()


def label_set(labels: Sequence[str] | None, examples: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The labels to choose from, in normal form, each once: those given or else those of the examples.

    `examples`: pairs of a text and its label. Raises InvalidRequest for a label without text, and if no
    example has one of the labels.
    """
    if labels is None:
        param, given = "examples", [label for _, label in examples]
    else:
        param, given = "labels", list(labels)
    normal = [normal_label(label) for label in given]
    if "" in normal:
        at = f"labels[{normal.index('')}]" if labels is not None else f"examples[{normal.index('')}][1]"
        raise InvalidRequest(f"Invalid '{at}': a label must have text.", param=at)
    found = tuple(dict.fromkeys(normal))
    if labels is not None and not any(normal_label(label) in found for _, label in examples):
        raise InvalidRequest("None of the 'examples' has one of the 'labels'.", param=param)
    return found


def balanced(order: Iterable[int], labels_of: Sequence[str]) -> tuple[int, ...]:
    """`order` (indexes, best first) in rounds: the best example of every label, then every second best.

    So where not all fit into a prompt, no label goes without an example.
    """
    counts: dict[str, int] = {}
    rounds: dict[int, list[int]] = {}
    for index in order:
        turn = counts.get(labels_of[index], 0)
        counts[labels_of[index]] = turn + 1
        rounds.setdefault(turn, []).append(index)
    return tuple(index for turn in sorted(rounds) for index in rounds[turn])


def classification_prompt(query: str, examples: Sequence[tuple[str, str]], labels: Sequence[str]) -> str:
    """The text that ends where the label begins.

    `examples`: pairs of a text and its label, best first; in the prompt the best comes last, next to the
    query. Every text is one line.
    """
    parts = [f"Please classify a piece of text into the following categories: {', '.join(labels)}.", ""]
    for text, label in reversed(examples):
        parts += [f"Text: {_line(text)}", f"Category: {label}", _AFTER_EXAMPLE]
    parts += [f"Text: {_line(query)}", "Category:"]
    return "\n".join(parts)


def label_constraint(labels: Sequence[str], *, param: str) -> Constraint:
    """What holds the model to one of the labels; a refusal names `param`."""
    return Constraint("regex", f" (?:{'|'.join(map(re.escape, labels))}){LABEL_END}", param=param)


def label_limit(labels: Sequence[str]) -> int:
    """So many tokens hold any of the labels, however they are cut into tokens: none is less than a byte."""
    return max(len(f" {label}{LABEL_END}".encode()) for label in labels)


def read_label(text: str, labels: Sequence[str]) -> str:
    """The label that the model wrote. Raises EngineFailed if the engine has not held it to the labels."""
    label = text.strip()
    if label not in labels:
        raise EngineFailed("The model wrote none of the labels.")
    return label


def _line(text: str) -> str:
    return " ".join(text.splitlines()).strip()
