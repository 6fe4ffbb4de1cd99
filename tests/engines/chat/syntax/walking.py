"""Random answers that a grammar allows, byte by byte, control tokens among them."""

import json
import random
import re
from collections.abc import Sequence

import llguidance
import numpy as np
from llguidance.numpy import fill_next_token_bitmask

from llmatic.engines.chat.syntax import CallSyntax, Function, Mark
from llmatic.engines.constraints.budget import parser_limits

END = 256
_MOST_BYTES = 4000


class Bytes:
    """A vocabulary of bytes and of control tokens with the given texts."""

    def __init__(self, controls: Sequence[str] = ()) -> None:
        self._controls = {text: END + 1 + n for n, text in enumerate(controls)}
        self.texts = [bytes([n]) for n in range(256)] + [b"</s>", *(text.encode() for text in controls)]
        self._pattern = re.compile(
            "|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or r"\Z\A."
        )
        tokens = [*self.texts[:END], *(b"\xff" + text for text in self.texts[END:])]
        self.tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Plain(tokens)), slices=[])

    def mark(self, text: str) -> str:
        """See Mark."""
        parts = []
        at = 0
        for found in self._pattern.finditer(text):
            parts += [json.dumps(text[at : found.start()], ensure_ascii=False)] if found.start() > at else []
            parts.append(f"<[{self._controls[found[0]]}]>")
            at = found.end()
        parts += [json.dumps(text[at:], ensure_ascii=False)] if text[at:] else []
        return " ".join(parts)

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, controls where they stand."""
        ids: list[int] = []
        at = 0
        for found in self._pattern.finditer(text):
            ids += [*text[at : found.start()].encode(), self._controls[found[0]]]
            at = found.end()
        return [*ids, *text[at:].encode()]

    def matcher(self, lark: str) -> llguidance.LLMatcher:
        """At the beginning of an answer."""
        grammar = llguidance.LLMatcher.grammar_from_lark(lark)
        matcher = llguidance.LLMatcher(self.tokenizer, grammar, limits=parser_limits())
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def allows(self, lark: str, text: str) -> bool:
        """Whether the grammar allows exactly this text."""
        matcher = self.matcher(lark)
        ids = self.ids(text)
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


class _Plain:
    eos_token_id = END
    bos_token_id = None

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self.tokens = tokens
        self.special_token_ids = list(range(END, len(tokens)))

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def grammar_of(
    syntax: CallSyntax, functions: Sequence[Function], mark: Mark, opener: str, *, is_parallel: bool = True
) -> str:
    """A whole grammar of what follows `opener`."""
    sections = syntax.sections(functions, mark, prefix="calls_", is_parallel=is_parallel)
    assert all(re.match(r"calls_|CALLS_|\s*$", line) for line in sections.rules.split("\n")), sections.rules
    return f"%llguidance {{}}\nstart: {dict(sections.bodies)[opener]}\n{sections.rules}\n"


def walk(vocabulary: Bytes, lark: str, chance: random.Random, closers: Sequence[str]) -> str | None:
    """An answer that the grammar allows, drawn at random; None: it became too long.

    `closers`: texts tried often, so that strings end.
    """
    matcher = vocabulary.matcher(lark)
    written: list[int] = []
    bits = np.zeros((1, (len(vocabulary.texts) + 31) // 32), np.int32)
    while len(written) < _MOST_BYTES:
        assert not matcher.is_error(), matcher.get_error()
        if matcher.is_stopped() or (matcher.is_accepting() and chance.random() < 0.5):
            return b"".join(vocabulary.texts[n] for n in written if n != END).decode()
        if chance.random() < 0.15:
            ids = vocabulary.ids(chance.choice(closers))
            n = matcher.try_consume_tokens(ids)
            written += ids[:n]
            continue
        fill_next_token_bitmask(matcher, bits)
        allowed = [
            n for n in np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")) if n != END
        ]
        likely = [n for n in allowed if n < 128] or allowed
        token = int(chance.choice(likely if chance.random() < 0.95 else allowed))
        assert matcher.try_consume_tokens([token]) == 1, matcher.get_error()
        written.append(token)
    return None
