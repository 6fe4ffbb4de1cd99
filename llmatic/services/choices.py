"""Folds the events of a call into whole choices and picks the best of them.

The one path for replies that are not streamed: they are the same events, gathered. Pure; any thread.
"""

from dataclasses import dataclass, field

from llmatic.core.types import Delta, Finished, FinishReason, TokenLogprob, Usage
from llmatic.services.generation import Tagged, total


@dataclass(slots=True)
class Choice:
    """One answer, complete once `finish_reason` is set."""

    index: int
    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)


class Folding:
    """Gathers `n_generated` choices for each of `n_prompts` prompts, of which `n_returned` are returned."""

    def __init__(self, n_prompts: int, n_generated: int, n_returned: int) -> None:
        self._n_generated = n_generated
        self._n_returned = n_returned
        self._choices = [Choice(index) for index in range(n_prompts * n_generated)]
        self._finished: list[Finished | None] = [None] * n_prompts

    def add(self, events: list[Tagged]) -> None:
        """Take in a batch of events."""
        for prompt, event in events:
            if isinstance(event, Delta):
                choice = self._choices[prompt * self._n_generated + event.index]
                choice.texts.append(event.text)
                choice.logprobs.extend(event.logprobs)
                if event.finish_reason is not None:
                    choice.finish_reason = event.finish_reason
            else:
                self._finished[prompt] = event

    def usage(self) -> Usage:
        """Token counts of everything generated, also of choices that are not returned."""
        return total(finished.usage for finished in self._finished if finished is not None)

    def choices(self) -> list[Choice]:
        """The choices to return, prompt by prompt, numbered from 0; with best_of the likeliest come first."""
        if self._n_generated == self._n_returned:
            return self._choices
        kept: list[Choice] = []
        for prompt in range(len(self._finished)):
            kept.extend(self._best(prompt))
        for index, choice in enumerate(kept):
            choice.index = index
        return kept

    def _best(self, prompt: int) -> list[Choice]:
        finished = self._finished[prompt]
        means = finished.mean_logprobs if finished is not None else ()
        first = prompt * self._n_generated
        ranked = sorted(range(len(means)), key=lambda k: -means[k])
        return [self._choices[first + k] for k in ranked[: self._n_returned]]
