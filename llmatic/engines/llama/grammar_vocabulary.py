"""A model's vocabulary as grammars see it.

Owns the tokenizer that constraints are compiled for, and how a text of markup is written in a grammar. Any
thread while the model is loaded: the tokenizer calls llama.cpp's.
"""

import json
import re

import llguidance

from llmatic.engines.llama.vocabulary import Vocabulary

_SPECIAL = b"\xff"  # llguidance's sign of a token that is no text


def grammar_tokenizer(vocabulary: Vocabulary) -> llguidance.LLTokenizer:
    """The tokens as bytes; control tokens are none, and tokens that no answer may contain are empty."""
    hidden = set(vocabulary.hidden)
    tokens = [
        _SPECIAL + vocabulary.markup(token).encode()
        if token in vocabulary.control or token in vocabulary.eog
        else (b"" if token in hidden else piece)
        for token, piece in enumerate(vocabulary.pieces)
    ]
    vocab_address, tokenize_address = vocabulary.addresses
    make = llguidance.LLTokenizer.from_llamacpp  # type: ignore[attr-defined]
    tokenizer: llguidance.LLTokenizer = make(
        tokens=tokens,
        vocab_ptr=vocab_address,
        tokenize_fptr=tokenize_address,
        eos_token=sorted(vocabulary.eog) or None,
        slices=None,
    )
    return tokenizer


class Markup:
    """Writes texts as Lark expressions: control tokens by their ids, all else as strings."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        ids = {vocabulary.markup(token): token for token in sorted(vocabulary.control, reverse=True)}
        ids.pop("", None)
        self._ids = ids
        texts = sorted(ids, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, texts)) + ")") if texts else None

    def __call__(self, text: str) -> str:
        """`<[7]> "name"`; the empty string is `""`."""
        pieces = [text] if self._pattern is None else self._pattern.split(text)
        written = [
            f"<[{self._ids[piece]}]>" if piece in self._ids else json.dumps(piece)
            for piece in pieces
            if piece
        ]
        return " ".join(written) or '""'
