"""Exact-match scores on held-out examples: greedy decoding of the GGUF, or of the network itself."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.progress import track
from tokenizers import Tokenizer

from .data.completions import plain
from .data.example import Example
from .data.mixture import ALL_TASKS, conversation, with_system
from .greedy import Generate, with_llama
from .model import Tiny
from .rendering import question_and_answer
from .vocabulary import END_OF_TEXT, IM_END

HELD_OUT = "held out"
_N_PREDICT = 200


@dataclass(frozen=True, slots=True)
class Score:
    """How many of a task's answers were right to the letter."""

    task: str
    right: int
    total: int
    failures: tuple[tuple[str, str, str], ...]


def _with_torch(model: Tiny, tokenizer: Tokenizer) -> Generate:
    def generate(prompt: str) -> str:
        out = model.greedy(tokenizer.encode(prompt).ids, _N_PREDICT, frozenset((END_OF_TEXT, IM_END)))
        return tokenizer.decode(out, skip_special_tokens=False)

    return generate


def generator(path: Path, model: Tiny, tokenizer: Tokenizer) -> Generate:
    """A function from prompt to answer: the exported file under llama.cpp where that is installed."""
    return (
        with_llama(path, _N_PREDICT)
        if importlib.util.find_spec("llama_cpp")
        else _with_torch(model, tokenizer)
    )


def held_out(n_examples: int) -> list[Example]:
    """`n_examples` examples of each task that has one right answer, from a seed that no training uses."""
    rng = Random(HELD_OUT)
    examples: list[Example] = []
    for maker, *_ in ALL_TASKS:
        if maker is not plain:
            examples += [with_system(rng, maker(rng)) for _ in range(n_examples)]
    return examples + [conversation(rng, rng.randint(2, 6)) for _ in range(n_examples)]


def evaluate(generate: Generate, n_examples: int) -> list[Score]:
    """Scores of every task in the order of the mixture."""
    results: dict[str, list[tuple[str, str, str]]] = {}
    for example in track(held_out(n_examples), description="evaluating"):
        prompt, expected = question_and_answer(example)
        results.setdefault(example.task, []).append((prompt, expected, generate(prompt)))
    return [
        Score(task, sum(e == a for _, e, a in rows), len(rows), tuple(r for r in rows if r[1] != r[2]))
        for task, rows in results.items()
    ]
