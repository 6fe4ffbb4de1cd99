"""Plain words of a vocabulary, each one token: prompts of an exact length, answers that can be forced.

Text of such words is read back as the same tokens, as the text of a trained model mostly is. Opens the file's
vocabulary only, not its weights.
"""

import ctypes
import os
import random
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from scripts.bench.problem import Problem

_WORD = re.compile(r" [a-z]{3,9}")
N_WORDS = 4096
N_FORCED = 64
BIAS = 100
_PIECE_BYTES = 64


@dataclass(frozen=True)
class Words:
    """Words with the space before them, and their token ids, in the order of the ids."""

    texts: tuple[str, ...]
    ids: tuple[int, ...]

    def prose(self, rng: random.Random, n_words: int) -> str:
        """So many random words; as many tokens."""
        return "".join(rng.choices(self.texts, k=n_words))

    @cached_property
    def forced(self) -> dict[str, int]:
        """A `logit_bias` under which a model writes words only: every token comes as text at once."""
        return {str(token): BIAS for token in self.ids[:: max(1, len(self.ids) // N_FORCED)][:N_FORCED]}


@lru_cache
def words_of(model: Path) -> Words:
    """The words of the model's vocabulary, at most N_WORDS; raises Problem if there are too few."""
    import llama_cpp

    from llmatic.engines.llama.log import silence

    silence()
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    handle = llama_cpp.llama_model_load_from_file(os.fsencode(model), parameters)
    if not handle:
        raise Problem(f"{model} has no vocabulary that llama.cpp can read")
    try:
        found = list(_find(llama_cpp, llama_cpp.llama_model_get_vocab(handle)))
    finally:
        llama_cpp.llama_model_free(handle)
    if len(found) < N_FORCED:
        raise Problem(f"{model} has only {len(found)} words that are one token")
    texts, ids = zip(*found, strict=True)
    return Words(texts, ids)


def _find(llama_cpp: Any, vocabulary: Any) -> Any:
    piece = ctypes.create_string_buffer(_PIECE_BYTES)
    read = (llama_cpp.llama_token * 4)()
    n_found = 0
    for token in range(llama_cpp.llama_vocab_n_tokens(vocabulary)):
        size = llama_cpp.llama_token_to_piece(vocabulary, token, piece, _PIECE_BYTES, 0, False)
        raw = piece.raw[: max(0, size)]
        if not _WORD.fullmatch(raw.decode("ascii", errors="replace")):
            continue
        doubled = raw + raw  # read as itself also behind another word
        if llama_cpp.llama_tokenize(vocabulary, doubled, len(doubled), read, 4, False, False) != 2:
            continue
        if read[0] == read[1] == token:
            n_found += 1
            yield raw.decode("ascii"), token
            if n_found == N_WORDS:
                return
