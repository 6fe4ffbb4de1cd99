"""POST /completions: what its fields mean.

Pure but for the clock; any thread.
"""

from collections.abc import Iterator
from typing import Any

from llmatic.api import formats
from llmatic.api.completion_render import CompletionChunks, CompletionReply
from llmatic.api.generate import Call, StreamOptions, now, stream_options
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import GenerationRequest, InfillPrompt, Prompt, TextPrompt, TokenPrompt
from llmatic.services.generation import MAX_CHOICES, MAX_PROMPTS
from llmatic.services.parameters import (
    MAX_TOKEN_ID,
    completion_limit,
    min_tokens,
    sampling_params,
    stop_texts,
)
from llmatic.services.terms import Caller, service_tier, with_terms

DEFAULT_PROMPT = "<|endoftext|>"

Body = dict[str, Any]


def parse_completion(body: Body, spec: ModelSpec, reply_id: str, caller: Caller) -> Call:
    """The call that a checked body asks for. Raises InvalidRequest."""
    n, n_generated = _choices_of(body)
    stream = stream_options(body)
    if stream is not None and n_generated > n:
        raise InvalidRequest("Cannot stream results when 'best_of' is greater than 'n'.", param="best_of")
    prompts = _prompts(body)
    if len(prompts) * n_generated > MAX_CHOICES:
        raise InvalidRequest(
            f"Too many choices: {len(prompts)} prompts with {n_generated} choices each. "
            f"At most {MAX_CHOICES} are generated in one request.",
            param="n",
        )
    echo = bool(body.get("echo"))
    is_infill = isinstance(prompts[0], InfillPrompt)
    n_logprobs = body.get("logprobs")
    if is_infill and echo and n_logprobs is not None:
        raise InvalidRequest(
            "Cannot combine 'logprobs' with 'echo' when 'suffix' is given.", param="logprobs"
        )
    requests = with_terms(_requests(body, spec, prompts, n_generated, reply_id), body, caller)
    created = now()
    offsets = tuple(0 if echo else _length(prompt) for prompt in prompts)
    prefixes = tuple(_infill_echo(prompt) if echo else "" for prompt in prompts)

    def reply(fingerprint: str | None) -> CompletionReply:
        return CompletionReply(
            id=reply_id,
            created=created,
            model=spec.id,
            fingerprint=fingerprint,
            with_logprobs=n_logprobs is not None,
            n_choices=n,
            offsets=offsets,
            prefixes=prefixes,
            tier=service_tier(body) if "service_tier" in body else None,
        )

    def chunks(fingerprint: str | None, options: StreamOptions) -> CompletionChunks:
        return CompletionChunks(
            reply(fingerprint),
            include_usage=options.include_usage,
            usage_on_all=options.usage_on_all,
            obfuscate=options.obfuscate,
        )

    return Call(requests, n_generated, n, reply, chunks, stream)


def _requests(
    body: Body, spec: ModelSpec, prompts: list[Prompt], n_generated: int, reply_id: str
) -> Iterator[GenerationRequest]:
    """One generation for each prompt."""
    n_logprobs = body.get("logprobs")
    if n_logprobs is None and n_generated > int(body.get("n", 1)):
        n_logprobs = 0  # the mean that ranks the choices is only kept if some log probability is
    sampling = sampling_params(
        body, spec.sampling, n_logprobs=None if n_logprobs is None else int(n_logprobs)
    )
    constraint = formats.constraint(body)
    for index, prompt in enumerate(prompts):
        yield GenerationRequest(
            id=reply_id if len(prompts) == 1 else f"{reply_id}-{index}",
            prompt=prompt,
            sampling=sampling,
            n_choices=n_generated,
            max_tokens=completion_limit(body, spec.sampling),
            min_tokens=min_tokens(body, spec.sampling),
            stop=stop_texts(body, spec.sampling),
            ignore_eos=bool(body.get("ignore_eos")),
            echo=bool(body.get("echo")) and not isinstance(prompt, InfillPrompt),
            constraint=constraint,
        )


def _choices_of(body: Body) -> tuple[int, int]:
    """How many choices are returned and how many are generated."""
    n = int(body.get("n", 1))
    best_of = int(body.get("best_of") or n)
    if n > best_of:
        raise InvalidRequest(
            "You requested that the server return more choices than it will generate (HINT: you must set "
            f"'n' (currently {n}) to be at most 'best_of' (currently {best_of}), or omit either parameter "
            "if you don't specifically want to use them.)"
        )
    return n, best_of


def _prompts(body: Body) -> list[Prompt]:
    """One prompt for each text or list of token ids."""
    prompt = body.get("prompt", DEFAULT_PROMPT)
    suffix = body.get("suffix")
    if isinstance(prompt, str):
        items: list[Any] = [prompt]
    elif prompt and isinstance(prompt[0], str | list):
        items = prompt
    else:
        items = [prompt]
    if len(items) > MAX_PROMPTS:
        raise InvalidRequest(
            f"Invalid 'prompt': array too long. Expected an array with maximum length {MAX_PROMPTS}, "
            f"but got an array with length {len(items)} instead.",
            param="prompt",
            code="array_above_max_length",
        )
    return [_prompt(item, suffix) for item in items]


def _prompt(item: str | list[float], suffix: str | None) -> Prompt:
    if isinstance(item, str):
        return InfillPrompt(item, suffix) if suffix else TextPrompt(item)
    if suffix:
        raise InvalidRequest("A 'suffix' needs a prompt of text, not of tokens.", param="suffix")
    if not item:
        raise InvalidRequest(
            "Invalid 'prompt': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            param="prompt",
            code="empty_array",
        )
    if min(item) < 0 or max(item) > MAX_TOKEN_ID:
        raise InvalidRequest("Invalid 'prompt': a token id is out of range.", param="prompt")
    return TokenPrompt(tuple(int(token) for token in item))


def _length(prompt: Prompt) -> int:
    """Characters before the choice's text; those of token ids are not known here and count as none."""
    match prompt:
        case TextPrompt(text):
            return len(text)
        case InfillPrompt(prefix, _):
            return len(prefix)
        case _:
            return 0


def _infill_echo(prompt: Prompt) -> str:
    # The engine's echo would show the fill-in-the-middle markup.
    return prompt.prefix if isinstance(prompt, InfillPrompt) else ""
