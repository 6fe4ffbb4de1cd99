"""Moderation by a guard: a chat model that writes whether a text is safe, and what is wrong with it.

Owns what the model is asked and held to. It is asked twice at most: for its verdict, and, where that is not
all but certainly safe, for what it lists after an unsafe one, whichever it would rather give. What its tokens
say is for `guard_verdict` to read. Never renders anything. Event loop's thread.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from llmatic.config import ModelSpec, ModerationSpec
from llmatic.config.settings import LISTED, TEXT, VERDICT
from llmatic.core.errors import EngineFailed
from llmatic.core.types import (
    ChatPrompt,
    Constraint,
    EngineInfo,
    GenerationRequest,
    Media,
    SamplingParams,
    TokenLogprob,
    Usage,
)
from llmatic.services.answering import answers
from llmatic.services.generation import OpenStream
from llmatic.services.guard_verdict import Form, label_probabilities, unsafe_probability
from llmatic.services.long_texts import Scores
from llmatic.services.terms import Caller, priority_of

LISTED_FROM = 0.001  # below this probability of an unsafe verdict it is not asked what such a one would list
N_LISTED = 5
PARAM = "moderation"  # what refusals name that are about the form of the answers
N_LOGPROBS = 40
_N_SPACES = 4
_N_AROUND = 64  # tokens for what closes the thinking that there shall be none of
_SPACES = f"[ \\t\\r\\n]{{0,{_N_SPACES}}}"
_META = frozenset("\\.+*?()|[]{}^$")
_CONTROL = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged: a text, pictures, or both."""

    text: str
    media: tuple[Media, ...] = ()


class GuardModeration:
    """Judges subjects for one call. `usages` grows with every request that was made."""

    def __init__(
        self, open_stream: OpenStream, spec: ModelSpec, info: EngineInfo, caller: Caller, call_id: str
    ) -> None:
        assert spec.moderation is not None
        self._open_stream = open_stream
        self._spec = spec.moderation
        self._model_id = spec.id
        self._n_around = _N_AROUND if info.has_reasoning else 0
        self._caller = caller
        self._call_id = call_id
        self._form = form_of(spec.moderation)
        unsafe = frozenset(spec.moderation.unsafe)
        self._labels = tuple(label for label in spec.moderation.categories if label not in unsafe)
        self._numbers = count()
        self.usages: list[Usage] = []

    async def judge(self, texts: Sequence[str]) -> list[Scores]:
        """The scores of each text, those of categories with labels. Raises ContextLengthExceeded."""
        return await self.judge_subjects([Subject(text) for text in texts])

    async def judge_subjects(self, subjects: Sequence[Subject]) -> list[Scores]:
        """As `judge`, pictures included. Raises EngineFailed if the model writes no verdict."""
        if self._spec.prompts:
            return await self._judge_each(subjects)
        prompts = [self._prompt(self._spec.prompt, subject) for subject in subjects]
        unsafe = await self._verdicts(prompts)
        doubtful = [place for place, p in enumerate(unsafe) if p >= LISTED_FROM] if self._labels else []
        listed = dict(zip(doubtful, await self._lists([prompts[k] for k in doubtful]), strict=True))
        return [self._scores(p, listed.get(place)) for place, p in enumerate(unsafe)]

    def _scores(self, unsafe: float, listed: dict[str, float] | None) -> Scores:
        """`listed`: how likely each label is in an unsafe verdict's list; None: as good as not known."""
        found: dict[str, float] = {}
        for label, categories in self._spec.categories.items():
            is_known = listed is not None and label in listed
            score = unsafe * (listed[label] if listed is not None and is_known else 1.0)
            for category in categories:
                found[category] = max(found.get(category, 0.0), score)
        return found

    async def _judge_each(self, subjects: Sequence[Subject]) -> list[Scores]:
        """Every category by a question of its own."""
        asked = self._spec.prompts
        unsafe = iter(
            await self._verdicts(
                [self._prompt(text, subject) for subject in subjects for text in asked.values()]
            )
        )
        return [{category: next(unsafe) for category in asked} for _ in subjects]

    async def _verdicts(self, prompts: Sequence[ChatPrompt]) -> list[float]:
        """How likely each is judged unsafe."""
        pattern = verdict_pattern(self._spec)
        found = []
        for tokens in await self._answers(prompts, pattern, _longest(self._spec, n_listed=0)):
            probability = unsafe_probability(tokens, self._form)
            if probability is None:
                raise EngineFailed(
                    f"The model '{self._model_id}' wrote no verdict of the form that models."
                    f"{self._model_id}.moderation describes."
                )
            found.append(probability)
        return found

    async def _lists(self, prompts: Sequence[ChatPrompt]) -> list[dict[str, float]]:
        """How likely each label is in the list after an unsafe verdict."""
        if not prompts:
            return []
        pattern = list_pattern(self._spec, self._labels)
        labels = [label.encode() for label in self._labels]
        return [
            {
                label.decode(): probability
                for label, probability in label_probabilities(tokens, self._form, labels).items()
            }
            for tokens in await self._answers(prompts, pattern, _longest(self._spec, n_listed=N_LISTED))
        ]

    async def _answers(
        self, prompts: Sequence[ChatPrompt], pattern: str, n_tokens: int
    ) -> list[Sequence[TokenLogprob]]:
        requests = [
            GenerationRequest(
                id=f"{self._call_id}-{next(self._numbers)}",
                prompt=prompt,
                sampling=SamplingParams(temperature=0.0, n_logprobs=N_LOGPROBS),
                max_tokens=n_tokens + self._n_around,
                client=self._caller.client,
                priority=priority_of(self._caller, {}),
                cache_salt=self._caller.tenant,
                constraint=Constraint("regex", pattern, param=PARAM),
                reasoning_budget=0,
            )
            for prompt in prompts
        ]
        choices, _ = await answers(self._open_stream, requests, self.usages.append)
        return [choice.logprobs for choice in choices]

    def _prompt(self, asked: str, subject: Subject) -> ChatPrompt:
        text = asked.replace(TEXT, subject.text)
        content: str | list[dict[str, object]] = text
        if subject.media:
            content = [{"type": "text", "text": text}] if text else []
            content += [{"type": "media", "index": index} for index in range(len(subject.media))]
        message = {"role": "user", "content": content}
        return ChatPrompt((message,), self._spec.template_kwargs, media=subject.media)


def form_of(spec: ModerationSpec) -> Form:
    """The form of the guard's answers."""
    before, between = _around(spec)
    return Form(
        tuple(word.encode() for word in spec.safe),
        tuple(word.encode() for word in spec.unsafe),
        before.encode(),
        between.encode(),
        spec.separator.encode(),
    )


def verdict_pattern(spec: ModerationSpec) -> str:
    """A regular expression of every verdict, without what is listed after it."""
    return _SPACES + _literal(_around(spec)[0]) + _any_of((*spec.safe, *spec.unsafe))


def list_pattern(spec: ModerationSpec, labels: Sequence[str]) -> str:
    """A regular expression of every unsafe verdict with its list."""
    before, between = _around(spec)
    label = _any_of(labels)
    return (
        f"{_SPACES}{_literal(before)}{_any_of(spec.unsafe)}{_literal(between)}{label}"
        f"({_literal(spec.separator)}{label}){{0,{min(N_LISTED, len(labels)) - 1}}}"
    )


def _around(spec: ModerationSpec) -> tuple[str, str]:
    """What stands before the verdict, and between it and its list."""
    before, _, after = spec.answer.partition(VERDICT)
    return before, after.removesuffix(LISTED)


def _longest(spec: ModerationSpec, *, n_listed: int) -> int:
    """As many tokens as an answer can need: one for each of its bytes."""
    before, between = _around(spec)
    label = max((len(label.encode()) for label in spec.categories), default=0) + len(spec.separator.encode())
    word = max(len(word.encode()) for word in (*spec.safe, *spec.unsafe))
    return _N_SPACES + len(before.encode()) + word + len(between.encode()) + n_listed * label


def _any_of(texts: Iterable[str]) -> str:
    return "(" + "|".join(map(_literal, texts)) + ")"


def _literal(text: str) -> str:
    return "".join(_CONTROL.get(c) or (f"\\{c}" if c in _META else c) for c in text)
