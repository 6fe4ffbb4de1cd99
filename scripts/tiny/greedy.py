"""Answers of an exported file under llama.cpp: the most probable token each time. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_ENDS = frozenset((0, 2))  # <|endoftext|> and <|im_end|>

Generate = Callable[[str], str]


def with_llama(path: Path, n_predict: int) -> Generate:
    """A function from prompt to answer, without the token that ends it."""
    import llama_cpp

    llm = llama_cpp.Llama(str(path), n_ctx=2048, n_threads=1, verbose=False, seed=0)

    def generate(prompt: str) -> str:
        ids = llm.tokenize(prompt.encode(), add_bos=False, special=True)
        out: list[int] = []
        llm.reset()
        for token in llm.generate(ids, temp=0.0, repeat_penalty=1.0):
            if token in _ENDS or len(out) >= n_predict:
                break
            out.append(token)
        return llm.detokenize(out, special=True).decode("utf-8", "replace")

    return generate
