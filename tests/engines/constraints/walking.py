"""Answers drawn at random through the real masks, as a model with random weights draws them."""

import json
import random
from typing import Any

import llguidance
import numpy as np

from llmatic.core.types import Constraint
from llmatic.engines.constraints.compiler import Compiled, Compiler
from llmatic.engines.constraints.grammars import constraint_rules
from llmatic.engines.llama.vocabulary import Vocabulary

# What brings a JSON value to its end soonest, best first.
_CLOSERS = (b'"', b"]", b"}", b"null", b"n", b"nu", b"u", b"ul", b"l", b",", b"0", b"e")


class Walker:
    """One vocabulary, and compiled constraints over it."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: llguidance.LLTokenizer) -> None:
        self.n_vocab = vocabulary.n_tokens
        self.tokenizer = tokenizer
        self.compiler = Compiler(tokenizer, vocabulary.n_tokens)
        self._pieces = vocabulary.pieces
        self._ends = vocabulary.eog
        ids = {piece: token for token, piece in reversed(list(enumerate(vocabulary.pieces)))}
        self._closers = [ids[closer] for closer in _CLOSERS if closer in ids]

    def compile(self, kind: str, source: str, **more: Any) -> Compiled:
        """The constraint alone, as the whole answer."""
        constraint = Constraint(kind, source, **{"name": "test", **more})  # type: ignore[arg-type]
        return self.compile_rules(constraint_rules(constraint, "v"), param=constraint.param)

    def compile_rules(self, rules: str, *, param: str = "response_format", start: str = "v") -> Compiled:
        return self.compiler.compile(f"%llguidance {{}}\nstart: {start}\n{rules}", param=param)

    def accepts(self, compiled: Compiled, text: str) -> bool:
        """Whether the text is a whole answer."""
        matcher = compiled.start()
        tokens = self.tokenizer.tokenize_str(text)
        return all(matcher.accepts(token) for token in tokens) and matcher.is_complete

    def walk(self, compiled: Compiled, seed: int, *, n_free: int = 60, n_most: int = 4000) -> bytes | None:
        """A random answer, hurried to its end after `n_free` tokens; None if it found none in `n_most`."""
        chance = random.Random(seed)
        matcher = compiled.start()
        answer = b""
        for n_tokens in range(n_most):
            if matcher.is_over:
                return answer
            bits = np.unpackbits(matcher.mask(), bitorder="little")[: self.n_vocab]
            is_hurried = n_tokens >= n_free
            if is_hurried and matcher.is_complete:
                return answer
            allowed = np.flatnonzero(bits)
            closers = [token for token in self._closers if bits[token]] if is_hurried else []
            token = closers[0] if closers and chance.random() < 0.9 else int(chance.choice(allowed))
            if token in self._ends:
                assert matcher.is_complete
                return answer
            assert matcher.accepts(token)
            answer += self._pieces[token]
        return None


def read(answer: bytes) -> Any:
    """Strictly parsed: UTF-8, one JSON value, finite numbers."""

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} in an answer")

    def finite(text: str) -> float:
        value = float(text)
        assert abs(value) != float("inf"), text
        return value

    text = answer.decode("utf-8")
    value = json.loads(text, parse_constant=refuse, parse_float=finite)
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value
