"""From a GenerationRequest to work that the scheduler can take.

Owns the checks that need only the request, the vocabulary and the context length; whatever passes can neither
overflow the cache nor hand llama.cpp a wrong argument. Pure; runs off the engine's thread, because tokenising
and rendering take long.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.core.types import Adapter, ChatPrompt, GenerationRequest, SamplingParams
from llmatic.engines.llama.drafting.lookup import Material
from llmatic.engines.llama.forms import FREE, Form, Forms
from llmatic.engines.llama.media.rows import Expansion, Span, splice
from llmatic.engines.llama.prompt import PromptReader

MAX_CHOICES = 128
MAX_LOGPROBS = 100
MAX_BIAS = 1000.0


class AdapterNames(Protocol):
    """What must be known of adapter files before they are loaded; see `adapters.Adapters`."""

    def pin(self, adapters: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
        """The same with the present content of the files. Raises InvalidRequest."""
        ...

    def identity(self, adapters: tuple[Adapter, ...]) -> bytes:
        """What must agree for computed prompts to be shared."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked request: `prompt` has 1 to n_context tokens and room for `max_tokens` behind them.

    `material`: what its answers may copy from. `adapters` are as their files are now. Requests of one
    `namespace` may share what was computed. `form`: what its answers look like. `spans`: where pictures and
    sounds stand in the prompt, whose ids are negative there. `is_private`: what is computed of it serves
    nobody else.
    """

    request: GenerationRequest
    prompt: tuple[int, ...]
    max_tokens: int
    echo: str = ""
    material: Material | None = None
    adapters: tuple[Adapter, ...] = ()
    namespace: bytes = b""
    form: Form = FREE
    spans: tuple[Span, ...] = ()
    is_private: bool = False

    @property
    def text(self) -> tuple[int, ...]:
        """The prompt without pictures and sounds."""
        return tuple(token for token in self.prompt if token >= 0) if self.spans else self.prompt


class Intake:
    """Checks and tokenises the requests of one model. `n_context`: tokens that one sequence may have.

    `adapters` pins adapter files and tells sets of them apart. `copies`: answers are guessed from their text.
    """

    def __init__(
        self,
        reader: PromptReader,
        forms: Forms,
        adapters: AdapterNames,
        *,
        n_context: int,
        n_vocab: int,
        copies: bool = False,
        shares_media: bool = True,
    ) -> None:
        self._reader = reader
        self._forms = forms
        self._copies = copies
        self._shares_media = shares_media
        self._adapters = adapters
        self._n_context = n_context
        self._n_vocab = n_vocab

    def prepare(
        self, request: GenerationRequest, now: datetime, media: tuple[Expansion, ...] = ()
    ) -> Prepared:
        """`media`: what stands for each of the prompt's media.

        Raises InvalidRequest or ContextLengthExceeded naming the field at fault.
        """
        self._check(request)
        self._check_sampling(request.sampling)
        reading = self._reader.read(request.prompt, now)
        prompt, spans = splice(reading.segments, media) if media else (reading.ids, ())
        room = self._n_context - len(prompt)
        wanted = request.max_tokens
        if request.shortens and wanted is not None and 1 <= room < wanted:
            wanted = room
        if room < (1 if wanted is None else wanted):
            raise self._too_long(request, len(prompt))
        echo = self._reader.echo(request.prompt, reading.ids) if request.echo else ""
        max_tokens = room if wanted is None else wanted
        prediction = self._reader.tokens(request.prediction) if request.prediction else ()
        may_copy = (self._copies or prediction) and max_tokens > 1
        material = Material(reading.ids, prediction) if may_copy else None
        adapters = self._adapters.pin(request.adapters)
        salt = request.cache_salt.encode()
        namespace = self._adapters.identity(adapters) + salt
        if spans and request.echo and request.sampling.n_logprobs is not None:
            raise InvalidRequest("Images and sounds have no log probabilities to echo.", param="echo")
        is_private = bool(spans) and not self._shares_media
        if is_private:
            namespace += request.id.encode()
        form = self._forms.read(request, rendered=reading.rendered, prefill=reading.prefill)
        return Prepared(
            request, prompt, max_tokens, echo, material, adapters, namespace, form, spans, is_private
        )

    def _check(self, request: GenerationRequest) -> None:
        if not 1 <= request.n_choices <= MAX_CHOICES:
            raise InvalidRequest(f"{request.n_choices} is not between 1 and {MAX_CHOICES} - 'n'", param="n")
        if request.max_tokens is not None and request.max_tokens < 0:
            raise InvalidRequest(
                f"{request.max_tokens} is less than the minimum of 0 - 'max_tokens'", param="max_tokens"
            )

    def _check_sampling(self, params: SamplingParams) -> None:
        numbers = {
            "temperature": (params.temperature, 0.0, math.inf),
            "top_p": (params.top_p, 0.0, 1.0),
            "min_p": (params.min_p, 0.0, 1.0),
            "presence_penalty": (params.presence_penalty, -MAX_BIAS, MAX_BIAS),
            "frequency_penalty": (params.frequency_penalty, -MAX_BIAS, MAX_BIAS),
        }
        for name, (value, low, high) in numbers.items():
            if not (math.isfinite(value) and low <= value <= high):
                raise InvalidRequest(f"{value} is not a valid value for '{name}'.", param=name)
        if not (math.isfinite(params.repetition_penalty) and 0.01 <= params.repetition_penalty <= 100):
            raise InvalidRequest("'repetition_penalty' must be from 0.01 to 100.", param="repetition_penalty")
        if params.top_k < 0:
            raise InvalidRequest("'top_k' must not be negative; 0 is off.", param="top_k")
        if params.n_logprobs is not None and not 0 <= params.n_logprobs <= MAX_LOGPROBS:
            raise InvalidRequest(
                f"At most {MAX_LOGPROBS} log probabilities can be returned.", param="logprobs"
            )
        for token, bias in params.logit_bias:
            if not 0 <= token < self._n_vocab:
                raise InvalidRequest(
                    f"Invalid key in 'logit_bias': {token}. "
                    f"This model's token ids run from 0 to {self._n_vocab - 1}.",
                    param="logit_bias",
                )
            if not (math.isfinite(bias) and abs(bias) <= MAX_BIAS):
                raise InvalidRequest(f"Invalid bias in 'logit_bias': {bias}.", param="logit_bias")

    def _too_long(self, request: GenerationRequest, n_prompt: int) -> ContextLengthExceeded:
        limit, wanted = self._n_context, request.max_tokens
        if not isinstance(request.prompt, ChatPrompt):
            wanted = 1 if wanted is None else wanted
            return ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens, however you requested "
                f"{n_prompt + wanted} tokens ({n_prompt} in your prompt; {wanted} for the completion). "
                "Please reduce your prompt; or completion length."
            )
        if wanted is None or n_prompt >= limit:
            return ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
                f"{n_prompt} tokens. Please reduce the length of the messages.",
                param="messages",
            )
        return ContextLengthExceeded(
            f"This model's maximum context length is {limit} tokens. However, you requested "
            f"{n_prompt + wanted} tokens ({n_prompt} in the messages, {wanted} in the completion). "
            "Please reduce the length of the messages or completion.",
            param="messages",
        )
