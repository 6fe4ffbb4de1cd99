"""Tokens that probably follow, guessed cheaply so that one step of the model can confirm several at once.

`lookup` copies from the prompt, from what was written and from OpenAI's `prediction`; `model` asks a small
model; `controller` says how many tokens are worth a row. Nothing here decides what is written: a drafted
token counts only where the big model's own sampler draws the same one. Here are the words they share.
Runs on the engine's thread, except that `Material` is built where prompts are prepared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Where a draft comes from; each kind has its own record of how often it is right.

    COPY follows a long match with earlier text, GUESS a short one. CERTAIN is what nothing else can come
    instead of: a grammar leaves no choice.
    """

    PREDICTION = 0
    COPY = 1
    GUESS = 2
    MODEL = 3
    CERTAIN = 4


@dataclass(frozen=True, slots=True)
class Draft:
    """Token ids that may follow a sequence, in order. False if there are none."""

    tokens: Sequence[int]
    kind: Kind

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def from_prediction(self) -> bool:
        """Whether usage counts its tokens as accepted or rejected prediction tokens."""
        return self.kind is Kind.PREDICTION


NOTHING = Draft((), Kind.GUESS)
UNSURE = Draft((), Kind.MODEL)
MODEL_OFFER = Draft((), Kind.MODEL)
"""Stands for a draft that the draft model will write once its size is known; it is not UNSURE."""
