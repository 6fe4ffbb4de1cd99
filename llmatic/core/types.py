"""The values that travel between the API, the pool and the engines.

Owns the meaning of a generation request and of its events. Never does I/O and never knows HTTP or
llama.cpp. Everything here is immutable and may be read from any thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

FinishReason = Literal["stop", "length", "tool_calls"]
ConstraintKind = Literal["json_object", "json_schema", "lark", "gbnf", "regex"]
CacheRetention = Literal["in_memory", "24h"]
EncodeTask = Literal["embed", "rank", "classify"]


class Priority(IntEnum):
    """Who is served first and paused last; the names are those of OpenAI's service tiers."""

    PRIORITY = 0
    DEFAULT = 1
    FLEX = 2
    BATCH = 3


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Plain text; special-token markup in it is tokenised as markup, as /v1/completions has always done."""

    text: str


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """Token ids of the model's own vocabulary; ids outside it are the client's mistake (400)."""

    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class InfillPrompt:
    """Fill in the middle: the model writes what stands between `prefix` and `suffix`."""

    prefix: str
    suffix: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Functions that a chat model may call, and how.

    `definitions`: OpenAI's tool objects, `{"type": "function", "function": {"name", "description",
    "parameters", "strict"}}`, `function` complete but for absent keys. Only `allowed` names may be called;
    empty: all. `mode` "required": every answer consists of calls. Not `is_parallel`: at most one call.
    """

    definitions: tuple[Mapping[str, Any], ...]
    mode: Literal["auto", "required"] = "auto"
    allowed: tuple[str, ...] = ()
    is_parallel: bool = True


@dataclass(frozen=True, slots=True)
class Media:
    """An encoded picture or sound (PNG, JPEG, WAV, MP3, …) as the client sent it.

    `detail` "low": a picture may be looked at in low resolution, for fewer tokens.
    """

    kind: Literal["image", "audio"]
    data: bytes
    detail: Literal["auto", "low", "high"] = "auto"


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """OpenAI chat messages, rendered by the model's own template.

    Content is text, or a list of parts `{"type": "text", "text"}` and `{"type": "media", "index"}`, which
    stands for `media[index]`. `continues`: the last message, the assistant's, is not complete and the
    answer goes on with it. `reasoning_effort`: OpenAI's levels, translated to what the template knows.
    `effort_is_wish`: a level that the template cannot express means the nearest that it can, and a limit for
    the thinking of a model that does not think means nothing; otherwise both are refused.
    """

    messages: tuple[Mapping[str, Any], ...]
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    tools: ToolUse | None = None
    reasoning_effort: str | None = None
    effort_is_wish: bool = False
    continues: bool = False
    media: tuple[Media, ...] = ()


Prompt = TextPrompt | TokenPrompt | InfillPrompt | ChatPrompt


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn, in the order that OpenAI documents.

    logits → logit_bias → penalties → (temperature 0: argmax) → temperature → top_k → top_p → min_p → draw.
    `top_k` 0 means off. `presence_penalty` and `frequency_penalty` count generated tokens only (OpenAI);
    `repetition_penalty` covers prompt and generated tokens (CTRL, arXiv:1909.05858; 1.0 is off).
    `n_logprobs` None: none wanted; 0: the chosen token only; k: it and the k likeliest.
    `seed` None: drawn by the engine. Choice k of a request uses the stream (seed, k).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    n_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter file and the factor on its contribution (LoRA, arXiv:2106.09685)."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the whole text of every answer must match; in a chat its content, thinking apart.

    `source`: the JSON schema as JSON text, the grammar (Lark as llguidance reads it, or llama.cpp's GBNF), or
    the regular expression; empty for json_object. `is_strict`: the schema keeps OpenAI's rules for strict
    ones. `name`: what the client calls it. `param`: the request's field that a refusal names.
    """

    kind: ConstraintKind
    source: str = ""
    is_strict: bool = False
    name: str = ""
    param: str = "response_format"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, `n_choices` answers to it.

    `max_tokens` None: up to the end of the context. `stop`: texts that end a choice and are not returned.
    `echo`: the prompt's text comes first as a Delta of every choice, with its log probabilities if
    `sampling.n_logprobs` is set (the first token has none). `min_tokens`: no end before that many.
    `ignore_eos`: end-of-turn tokens do not end a choice. `client`: whose request it is, for fairness.
    `cache_salt`: requests share computed prompts only where it agrees. `cache_key` set: requests with that
    key are expected again, so what was computed is kept where it outlives the worker. `cache_retention`
    "in_memory": never written to disk; "24h": kept on disk that long if there is room.
    `adapters`: what the model is run with, in this order. `prediction`: text that the answer probably
    repeats; only its speed depends on it. `reasoning_budget`: after so many tokens of thinking the answer
    proper begins; None: no limit. `shortens`: where the context has no room for `max_tokens`, the answer has
    as many as it has room for, at least one, instead of being refused.
    """

    id: str
    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)
    n_choices: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    echo: bool = False
    client: str = ""
    priority: Priority = Priority.DEFAULT
    cache_salt: str = ""
    cache_key: str = ""
    cache_retention: CacheRetention | None = None
    adapters: tuple[Adapter, ...] = ()
    prediction: str = ""
    constraint: Constraint | None = None
    reasoning_budget: int | None = None
    shortens: bool = False


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One of the likeliest tokens at a position; `data` is the token's bytes, which may be partial UTF-8."""

    token_id: int
    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of the text and its natural-log probability; None: the first token of an echoed prompt."""

    token_id: int
    data: bytes
    logprob: float | None
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The request was accepted and queued: from here on its HTTP status is 200."""

    n_prompt_tokens: int


@dataclass(frozen=True, slots=True)
class CallDelta:
    """More of tool call number `index` of a choice.

    The first one of a call, and only that, has a `name`; its `id` is the model's own, or empty. `arguments`
    are the next characters of a JSON object; together they are whole unless the choice was cut off.
    """

    index: int
    name: str = ""
    id: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """More of choice `index`. Text is whole characters only; several tokens may come in one Delta.

    `n_tokens` generated tokens are newly counted by it, an end token included (0 for an echoed prompt).
    `finish_reason` set: this choice has ended and no Delta with this index follows. Of a chat, `text` is the
    content alone: `reasoning` is what the model thinks before it, `calls` the functions it wants called;
    `logprobs` are those of the content's tokens. `stop`: which of the request's stop texts has ended it.
    """

    index: int
    text: str
    n_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    reasoning: str = ""
    calls: tuple[CallDelta, ...] = ()
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one prompt and all its choices.

    `n_cached_tokens` of the prompt were not computed for this request. Of the tokens of the request's
    `prediction` that were tried, so many were accepted and so many rejected. `n_reasoning_tokens` of the
    completion were thinking; `n_image_tokens` and `n_audio_tokens` of the prompt stand for media.
    """

    n_prompt_tokens: int
    n_completion_tokens: int
    n_cached_tokens: int = 0
    n_accepted_prediction_tokens: int = 0
    n_rejected_prediction_tokens: int = 0
    n_reasoning_tokens: int = 0
    n_image_tokens: int = 0
    n_audio_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """Every choice has ended. Always the last event; `mean_logprobs[k]` is there if they were asked for."""

    usage: Usage
    mean_logprobs: tuple[float, ...] = ()


Event = Started | Delta | Finished


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What an encoder says of itself beside `EngineInfo`, whose `n_context` is the longest input in tokens.

    `n_columns`: the vector's size, 1 score, or one for each of `labels` (their names, in order).
    `is_multi_label`: the probabilities of a text are independent of each other and need not sum to 1.
    `has_dimensions`: leading components of a vector are of use alone (Matryoshka, arXiv:2205.13147).
    `prompts`: the text that comes before inputs of each type.
    """

    task: EncodeTask
    n_columns: int
    labels: tuple[str, ...] = ()
    is_multi_label: bool = False
    has_dimensions: bool = False
    prompts: Mapping[str, str] | None = None
    backend: str = ""
    precision: str = ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a loaded engine says of itself; shown by /v1/models and checked before a request is sent to it.

    `chat_format`: the family by whose rules answers are read, empty without a chat template. `has_tools`: the
    chat template presents tools; others are told of them in a system message. `encoder`: how it turns texts
    into numbers, if it does. Not `writes`: that is all it does.
    """

    n_context: int
    n_context_train: int
    n_vocab: int
    n_parallel: int
    has_chat_template: bool
    has_infill: bool
    fingerprint: str
    description: str = ""
    chat_template_error: str | None = None
    size_bytes: int = 0
    chat_format: str = ""
    has_tools: bool = False
    has_reasoning: bool = False
    has_vision: bool = False
    has_audio: bool = False
    encoder: EncoderInfo | None = None
    writes: bool = True
