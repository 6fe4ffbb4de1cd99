"""Whether a compiled grammar can be followed at the pace of an answer.

llguidance builds its automata as text arrives, so some grammars compile in no time and then take seconds for
one token. The engine's thread must never meet those: a few random steps are taken here first. Reads the
clock of the thread's own computing time. Any thread but the engine's.
"""

import random
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from llmatic.engines.constraints.matcher import GrammarFailed, Matcher

_MAX_STEP_S = 0.05
_MAX_MEAN_S = 0.005
_MAX_TRIAL_S = 0.25
_N_STEPS = 24


def trial_error(matcher: Matcher) -> str | None:
    """Why the grammar cannot be used; None if it can. Uses the matcher up."""
    chance = random.Random(0)
    begun = thread_time()
    step = 0
    for step in range(_N_STEPS):
        before = thread_time()
        try:
            if matcher.is_over:
                return None
            token = _drawn(matcher.mask(), chance)
            if token is None:
                return None if step else "no text matches it"
            matcher.accepts(token)
        except GrammarFailed:
            # Later on, the answer would end there; at the beginning there would be none.
            return None if step else "it is too complex, or no finite text matches it"
        now = thread_time()
        if now - before > _MAX_STEP_S:
            return "it takes too long to follow"
        if now - begun > _MAX_TRIAL_S:
            break
    is_slow = (thread_time() - begun) / (step + 1) > _MAX_MEAN_S
    return "it takes too long to follow" if is_slow else None


def _drawn(mask: NDArray[np.uint8], chance: random.Random) -> int | None:
    """A token that the mask allows; by its bytes, since there may be very many tokens."""
    held = np.flatnonzero(mask)
    if len(held) == 0:
        return None
    byte = int(held[chance.randrange(len(held))])
    bits = [bit for bit in range(8) if mask[byte] >> bit & 1]
    return byte * 8 + chance.choice(bits)
