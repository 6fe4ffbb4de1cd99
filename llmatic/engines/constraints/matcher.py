"""Where one answer stands in its grammar.

Owns the state of the match. Not safe for two threads at once; the engine's thread uses it.
"""

import llguidance
import numpy as np
from llguidance.numpy import fill_next_token_bitmask
from numpy.typing import NDArray


class GrammarFailed(Exception):
    """The grammar became too complex to follow, or was given a token that it does not allow."""


class Matcher:
    """Follows the tokens of one answer. Owns `state`.

    `mask` and `forced` refer to the token that comes next.
    """

    __slots__ = ("_bits", "_n_vocab", "_state")

    def __init__(self, state: llguidance.LLMatcher, n_vocab: int) -> None:
        """`n_vocab`: ids of the vocabulary."""
        self._state = state
        self._n_vocab = n_vocab
        self._bits = np.zeros((1, (n_vocab + 31) // 32), np.int32)

    def copy(self) -> "Matcher":
        """Another one at the same place."""
        return Matcher(self._state.deep_copy(), self._n_vocab)

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        return self._state.is_accepting()

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow. Raises GrammarFailed."""
        if not self._state.is_stopped():
            return False
        if self._state.is_error():
            raise GrammarFailed(self._state.get_error())
        return True

    def accepts(self, token: int) -> bool:
        """Take the token if the grammar allows it; else leave everything as it is. Raises GrammarFailed."""
        if self._state.try_consume_tokens([token]) == 1:
            return True
        if self._state.is_error():
            raise GrammarFailed(self._state.get_error())
        return False

    def mask(self) -> NDArray[np.uint8]:
        """One bit per id, the lowest bit of the first byte for id 0; valid until the next call.

        Raises GrammarFailed.
        """
        fill_next_token_bitmask(self._state, self._bits)
        if self._state.is_error():
            raise GrammarFailed(self._state.get_error())
        mask: NDArray[np.uint8] = self._bits.view(np.uint8)[0]
        return mask

    def forced(self) -> list[int]:
        """The tokens that must come next, if there is only one way to go on."""
        return self._state.compute_ff_tokens()
