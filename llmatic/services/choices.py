"""Folds the events of a call into whole choices and picks the best of them.

The one path for replies that are not streamed: they are the same events, gathered. Pure; any thread.
"""

from dataclasses import dataclass, field
from typing import Literal

from llmatic.core.types import CallDelta, Delta, Finished, FinishReason, TokenLogprob, Usage
from llmatic.services.generation import Tagged, total

Part = Literal["reasoning", "text", "call"]


@dataclass(slots=True)
class ChoiceCall:
    """A call that an answer makes. `id`: the model's own, or empty; `arguments`: JSON as it was written."""

    name: str
    id: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """All of them."""
        return "".join(self.pieces)


@dataclass(slots=True)
class Choice:
    """One answer, complete once `finish_reason` is set.

    `order`: in which order its parts came, each with where it begins in `thoughts`, in `texts` or, of a call,
    its number. `stop`: which of the request's stop texts has ended it.
    """

    index: int
    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    thoughts: list[str] = field(default_factory=list)
    calls: dict[int, ChoiceCall] = field(default_factory=dict)
    order: list[tuple[Part, int]] = field(default_factory=list)
    stop: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)

    @property
    def reasoning(self) -> str:
        """What was thought before it."""
        return "".join(self.thoughts)

    def add(self, delta: Delta) -> None:
        """Take in more of it."""
        if delta.reasoning:
            self._come("reasoning", len(self.thoughts))
            self.thoughts.append(delta.reasoning)
        if delta.text:
            self._come("text", len(self.texts))
            self.texts.append(delta.text)
        self.logprobs.extend(delta.logprobs)
        for call in delta.calls:
            self._add_call(call)
        if delta.finish_reason is not None:
            self.finish_reason, self.stop = delta.finish_reason, delta.stop

    def _come(self, part: Part, begin: int) -> None:
        if not self.order or self.order[-1][0] != part:
            self.order.append((part, begin))

    def _add_call(self, delta: CallDelta) -> None:
        if delta.name:
            self.order.append(("call", delta.index))
            self.calls[delta.index] = ChoiceCall(delta.name, delta.id)
        if delta.arguments:
            self.calls[delta.index].pieces.append(delta.arguments)


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
                self._choices[prompt * self._n_generated + event.index].add(event)
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
