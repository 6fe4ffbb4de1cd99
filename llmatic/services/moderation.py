"""What a moderation request means: who judges, what is judged, and what of it is flagged.

Owns the choice of the model, the inputs, and the flags. Never renders anything. Event loop's thread.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from llmatic.config import ModelSpec
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest, ModelNotFound, Unavailable
from llmatic.core.moderation import CATEGORIES
from llmatic.core.ports import EnginePool
from llmatic.core.types import EngineInfo, Usage
from llmatic.registry import Registry
from llmatic.services.classifier_moderation import ClassifierModeration
from llmatic.services.generation import total
from llmatic.services.guard_moderation import PARAM, GuardModeration, Subject
from llmatic.services.long_texts import Scores, judge_whole
from llmatic.services.media import MediaLoader, refuse_unseen
from llmatic.services.terms import Caller

DEFAULT_MODEL: Final = "omni-moderation-latest"
# What OpenAI's clients ask for, whatever a server's own models are called.
OFFICIAL: Final = frozenset(
    {
        DEFAULT_MODEL,
        "omni-moderation-2024-09-26",
        "text-moderation-latest",
        "text-moderation-stable",
        *(f"text-moderation-00{number}" for number in range(1, 8)),
    }
)
_HOW = "an entry 'moderation:' in its section of the configuration, as docs/moderations.md describes"
_PART = re.compile(r"messages\.\[0\]\.content\.\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Judgement:
    """One result. `scores` has every category; `judged` are those that the model has labels for.

    `kinds`: what the scores are of, "text" or "image" or both.
    """

    scores: Scores
    flagged: frozenset[str]
    judged: frozenset[str]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """The results of a call and what they cost."""

    results: tuple[Judgement, ...]
    usage: Usage


def moderator(registry: Registry, name: str) -> ModelSpec:
    """The model that `name` means: an id, an alias, or a name of OpenAI's for the first one that moderates.

    Raises ModelNotFound, and InvalidRequest for a model that does not moderate; both say what to configure.
    """
    found = [spec for spec in registry.specs() if spec.moderation is not None]
    if registry.knows(name):
        spec = registry.resolve(name)
        if spec.moderation is None:
            raise InvalidRequest(
                f"The model '{name}' does not moderate. A classifier or a guard model that shall do so needs "
                f"{_HOW}." + _alternatives(found),
                param="model",
            )
        return spec
    if name not in OFFICIAL:
        return registry.resolve(name)
    if not found:
        raise ModelNotFound(
            f"The model `{name}` does not exist: no model of this server moderates. A classifier or a guard "
            f"model that shall do so needs {_HOW}.",
            param="model",
        )
    return found[0]


class Moderation:
    """Judges the inputs of one call by one model."""

    def __init__(
        self, pool: EnginePool, media: MediaLoader, spec: ModelSpec, caller: Caller, call_id: str
    ) -> None:
        self._pool = pool
        self._media = media
        self._spec = spec
        self._caller = caller
        self._call_id = call_id

    async def judge(self, inputs: str | Sequence[str] | Sequence[Mapping[str, Any]]) -> Judged:
        """One result for a text or for all parts together, or one for each text of a list.

        Raises InvalidRequest, Unavailable, and what the engine raises.
        """
        info = await self._pool.loaded(self._spec.id)
        engine = self._engine(info)
        parts = [part for part in inputs if not isinstance(part, str)]
        try:
            if any(part["type"] == "image_url" for part in parts):
                results = [await self._judge_pictures(engine, parts, info)]
            else:
                joined = "\n".join(part["text"] for part in parts)
                texts = [joined] if parts else [inputs] if isinstance(inputs, str) else inputs
                results = await self._judge_texts(engine, [str(text) for text in texts], info)
        except InvalidRequest as error:
            if error.param == PARAM:
                raise Unavailable(f"models.{self._spec.id}.moderation: {error.message}") from error
            raise _reworded(error) from None
        finally:
            usage = total(engine.usages)
            self._caller.meter.count(
                "moderations",
                self._spec.id,
                prompt=usage.n_prompt_tokens,
                cached=usage.n_cached_tokens,
                completion=usage.n_completion_tokens,
            )
        return Judged(tuple(results), usage)

    async def _judge_texts(
        self, engine: ClassifierModeration | GuardModeration, texts: Sequence[str], info: EngineInfo
    ) -> list[Judgement]:
        """A text without a word in it is nothing that could be judged: its scores are 0."""
        asked = list(dict.fromkeys(text for text in texts if text.strip()))
        found = await judge_whole(asked, info.n_context, engine.judge) if asked else []
        scores = dict(zip(asked, found, strict=True))
        return [self._judgement(scores.get(text, {}), ("text",)) for text in texts]

    async def _judge_pictures(
        self,
        engine: ClassifierModeration | GuardModeration,
        parts: Sequence[Mapping[str, Any]],
        info: EngineInfo,
    ) -> Judgement:
        messages = ({"role": "user", "content": parts},)
        refuse_unseen(messages, info)
        assert isinstance(engine, GuardModeration), "no classifier sees"
        _, media = await self._media.load(messages)
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        (scores,) = await engine.judge_subjects([Subject(text, media)])
        return self._judgement(scores, ("text", "image") if text.strip() else ("image",))

    def _judgement(self, scores: Scores, kinds: tuple[str, ...]) -> Judgement:
        moderation = self._spec.moderation
        assert moderation is not None, "`moderator` chose the model"
        labelled = {category for several in moderation.categories.values() for category in several}
        flagged = {name for name, score in scores.items() if score >= moderation.threshold_of(name)}
        return Judgement(
            {category: scores.get(category, 0.0) for category in CATEGORIES},
            frozenset(flagged),
            frozenset(labelled | moderation.prompts.keys()),
            kinds,
        )

    def _engine(self, info: EngineInfo) -> ClassifierModeration | GuardModeration:
        spec = self._spec
        encoder = info.encoder
        if encoder is not None and encoder.task == "classify":
            encode = partial(self._pool.encode, spec.id)
            return ClassifierModeration(encode, spec, encoder, self._caller, self._call_id)
        if info.writes and info.has_chat_template:
            generate = partial(self._pool.generate, spec.id)
            return GuardModeration(generate, spec, info, self._caller, self._call_id)
        raise Unavailable(
            f"models.{spec.id}.moderation: the model neither classifies nor answers in a chat, so it cannot "
            "moderate."
        )


def _alternatives(specs: Sequence[ModelSpec]) -> str:
    return f" Models that moderate: {', '.join(spec.id for spec in specs)}." if specs else ""


def _reworded(error: InvalidRequest) -> InvalidRequest:
    """The engine's refusal, by the name under which the input was sent."""
    param = _PART.sub(r"input[\1]", error.param or "input")
    message = _PART.sub(r"input[\1]", error.message)
    kind = ContextLengthExceeded if isinstance(error, ContextLengthExceeded) else InvalidRequest
    return kind(message, param="input" if param == "messages" else param, code=error.code)
