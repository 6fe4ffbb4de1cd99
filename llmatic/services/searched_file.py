"""Files of texts that are searched: which of a file's texts a model should look at.

Owns the choice by words (BM25), which comes before the ranking by a model where a file has more texts than
are to be ranked. Holds no more than the chosen ones in memory. Never opens a file. Pure; any thread, and best
one of its own.
"""

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any, Final

import orjson

from llmatic.core.errors import InvalidRequest
from llmatic.services.jsonl import lines_of

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_WORDS: Final = 32
MAX_LABELS: Final = 200

# How much a word's repetition counts, and how much a text's length: the usual constants of BM25.
_REPEATED, _BY_LENGTH = 1.2, 0.75
_WORD = re.compile(r"\w+")
# From here on scripts write words without spaces between them.
_FIRST_UNSPACED = "\u2e80"

Chunks = Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Document:
    """A line of the file. `number`: its place among the file's lines, from 0."""

    number: int
    text: str
    label: str | None = None
    metadata: Any = None


@dataclass(slots=True)
class Chosen:
    """The chosen texts in the file's order, and every label of the file as it is written, each once."""

    documents: list[Document]
    labels: list[str] = field(default_factory=list)


def choose(chunks: Chunks, query: str, count: int, wants: Callable[[Document], bool]) -> Chosen:
    """At most `count` of the documents that are wanted: those nearest to the query by its words.

    `chunks` is called up to twice, each time for the whole file. If few documents hold a word of the query,
    the first of the file fill up. Raises InvalidRequest for lines that are no documents and for too many
    labels.
    """
    words = query_words(query)
    statistics = _Statistics(words)
    labels: dict[str, None] = {}
    first: list[Document] = []
    n_wanted = 0
    for document in _documents(chunks()):
        if document.label is not None and not document.label.isspace():
            labels[document.label] = None
            if len(labels) > MAX_LABELS:
                raise InvalidRequest(f"The file has more than {MAX_LABELS} labels.", param="file")
        if wants(document):
            n_wanted += 1
            statistics.add(document.text)
            if n_wanted <= count:
                first.append(document)
    if n_wanted > count:
        wanted = filter(wants, _documents(chunks()))
        best = heapq.nlargest(
            count, ((statistics.score(document.text), -document.number, document) for document in wanted)
        )
        first = [document for _, _, document in sorted(best, key=lambda item: -item[1])]
    return Chosen(first, list(labels))


def query_words(query: str) -> tuple[str, ...]:
    """What is looked for in the texts: words, and pairs of characters where words are not told apart."""
    found: dict[str, None] = {}
    for word in _WORD.findall(query.casefold()):
        if max(word) < _FIRST_UNSPACED or len(word) < 3:
            found[word] = None
        else:
            found |= dict.fromkeys(word[k : k + 2] for k in range(len(word) - 1))
    return tuple(found)[:MAX_WORDS]


class _Statistics:
    """In how many texts each word is, and how long texts are."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._n_with = [0] * len(words)
        self._n_texts = 0
        self._n_characters = 0

    def add(self, text: str) -> None:
        folded = text.casefold()
        self._n_texts += 1
        self._n_characters += len(text)
        for k, word in enumerate(self._words):
            self._n_with[k] += word in folded

    def score(self, text: str) -> float:
        folded = text.casefold()
        average = self._n_characters / self._n_texts or 1.0
        damping = _REPEATED * (1.0 - _BY_LENGTH + _BY_LENGTH * len(text) / average)
        total = 0.0
        for word, n_with in zip(self._words, self._n_with, strict=True):
            if n := folded.count(word):
                rarity = log(1.0 + (self._n_texts - n_with + 0.5) / (n_with + 0.5))
                total += rarity * n * (_REPEATED + 1.0) / (n + damping)
        return total


def _documents(chunks: Iterable[bytes]) -> Iterator[Document]:
    for number, (at, line) in enumerate(lines_of(chunks)):
        try:
            found = orjson.loads(line)
            text, label = found["text"], found.get("label")
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise InvalidRequest(f"Line {at} of the file has no field 'text'.", param="file") from None
        yield Document(
            number, text, label if isinstance(label, str) and label else None, found.get("metadata")
        )
