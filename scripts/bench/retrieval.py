"""A small retrieval test without foreign data: find the paragraph that a few words were taken from.

Owns the pairs, made of the project's own pages and docstrings, and the two figures. Deterministic; reads
those files and nothing else.
"""

import ast
import math
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MIN_WORDS, MAX_WORDS = 16, 110
N_QUERY_WORDS, MIN_LETTERS = 5, 4
_SENTENCE = re.compile(r"(?<=[.!?:;])\s+")
_WORD = re.compile(r"[A-Za-z][a-z]+")
_MARKS = re.compile(r"[*_#>|`]|\]\([^)]*\)|\[")
_CODE = re.compile(r"^```.*?^```|^    .*?$", re.MULTILINE | re.DOTALL)


def pairs(root: Path = ROOT, *, limit: int = 1000) -> tuple[list[str], list[str]]:
    """(queries, documents): each query is five words of one sentence of the document at its place."""
    rng = random.Random(5)
    queries: list[str] = []
    documents: list[str] = []
    for paragraph in dict.fromkeys(_paragraphs(root)):
        if not MIN_WORDS <= len(paragraph.split()) <= MAX_WORDS:
            continue
        sentence = max(_SENTENCE.split(paragraph), key=len)
        words = [word for word in dict.fromkeys(_WORD.findall(sentence)) if len(word) >= MIN_LETTERS]
        if len(words) < N_QUERY_WORDS:
            continue
        places = sorted(rng.sample(range(len(words)), N_QUERY_WORDS))
        queries.append(" ".join(words[place] for place in places))
        documents.append(paragraph)
    return queries[:limit], documents[:limit]


def figures(queries: Any, documents: Any) -> dict[str, float]:
    """Recall@1 and nDCG@10 of unit vectors, shapes [n, size]; the right document has the query's number."""
    scores = queries @ documents.T
    own = scores.diagonal()[:, None]
    ranks: Sequence[int] = (scores > own).sum(axis=1).tolist()
    return figures_of_ranks(ranks)


def figures_of_ranks(ranks: Sequence[int]) -> dict[str, float]:
    """The same from the number of documents that stand before the right one."""
    gains = [1 / math.log2(rank + 2) if rank < 10 else 0.0 for rank in ranks]
    return {"recall@1": sum(rank == 0 for rank in ranks) / len(ranks), "nDCG@10": sum(gains) / len(gains)}


def _paragraphs(root: Path) -> Iterator[str]:
    for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        text = _CODE.sub("", page.read_text(encoding="utf-8"))
        for block in re.split(r"\n\s*\n|\n(?=[*-] )", text):
            if not block.lstrip().startswith(("|", "#")):
                yield _plain(block)
    for source in sorted((root / "llmatic").rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield _plain(ast.get_docstring(node) or "")


def _plain(text: str) -> str:
    return " ".join(_MARKS.sub(" ", text).split()).removeprefix("- ")
