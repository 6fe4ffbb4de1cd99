"""What the fake engine says. Words are tokens; the answer repeats the last user message, or the prompt.

Owns the events of one request as a pure function of it: any thread, no clock, no state.
"""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice, takewhile

from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.core.types import (
    ChatPrompt,
    Delta,
    Event,
    Finished,
    FinishReason,
    GenerationRequest,
    InfillPrompt,
    Prompt,
    Started,
    TextPrompt,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from llmatic.engines import fake_chat
from llmatic.engines.fake_chat import Said

N_VOCAB = 32_000
LOGPROB = -0.5


def script(request: GenerationRequest, n_context: int, said: Said) -> Iterator[Event]:
    """Every event of the request, in order; raises InvalidRequest on the first step."""
    fake_chat.check(request, said)
    asked = _words(request.prompt)
    n_prompt = len(asked)
    wanted = request.max_tokens or 0
    if request.shortens and n_prompt < n_context:
        wanted = min(wanted, n_context - n_prompt)
    if n_prompt + wanted > n_context or (request.max_tokens is None and n_prompt >= n_context):
        raise ContextLengthExceeded(
            f"This model's maximum context length is {n_context} tokens, however you requested "
            f"{n_prompt + wanted} tokens ({n_prompt} in your prompt; {wanted} for the completion). "
            "Please reduce your prompt; or completion length.",
            param="messages" if isinstance(request.prompt, ChatPrompt) else "prompt",
        )
    yield Started(n_prompt)
    words = _answer_words(request, asked) if said.text is None else said.text.split()
    limit = n_context - n_prompt if request.max_tokens is None else wanted
    choices = [_choice(request, index, asked, words, limit, said) for index in range(request.n_choices)]
    n_completion = n_reasoning = 0
    while choices:
        for choice in tuple(choices):
            event = next(choice)
            n_completion += event.n_tokens
            n_reasoning += event.n_tokens if event.reasoning else 0
            if event.finish_reason is not None:
                choices.remove(choice)
            yield event
    means = (LOGPROB,) * request.n_choices if request.sampling.n_logprobs is not None else ()
    accepted, rejected = _prediction(request, words)
    yield Finished(Usage(n_prompt, n_completion, 0, accepted, rejected, n_reasoning), means)


def _prediction(request: GenerationRequest, said: list[str]) -> tuple[int, int]:
    """How many words of the prediction come true, up to the first that does not, and how many do not."""
    predicted = request.prediction.split()
    n_right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(predicted, said, strict=False)))
    return n_right * request.n_choices, (len(predicted) - n_right) * request.n_choices


def _choice(
    request: GenerationRequest, index: int, asked: list[str], words: list[str], limit: int, said: Said
) -> Iterator[Delta]:
    n_logprobs = request.sampling.n_logprobs
    if request.echo:
        yield Delta(index, " ".join(asked), 0, _logprobs(asked, n_logprobs, first=True))
    deltas = [Delta(index, "", 1, reasoning=piece) for piece in fake_chat.thoughts(request, said)]
    calls = fake_chat.calls(request, index, said)
    pieces, reason, stop = _pieces(request, [] if calls and said.text is None else words, limit - len(deltas))
    deltas += [Delta(index, piece, 1, _logprobs([piece], n_logprobs) if piece else ()) for piece in pieces]
    if calls and pieces[-1:] == [""]:
        deltas[-1:] = [*calls, Delta(index, "", 1)]
        reason = "tool_calls"
    if len(deltas) > limit:
        deltas, reason, stop = deltas[:limit], "length", ""
    yield from deltas[:-1]
    yield replace(deltas[-1] if deltas else Delta(index, ""), finish_reason=reason, stop=stop)


def _pieces(request: GenerationRequest, words: list[str], limit: int) -> tuple[list[str], FinishReason, str]:
    """The pieces, an empty one for the end token last, why they end, and at which stop text."""
    if request.ignore_eos or len(words) + 1 <= request.min_tokens:
        n_wanted = limit if request.ignore_eos else min(limit, request.min_tokens)
        words = list(islice(cycle(words or ["ha"]), n_wanted))
    pieces = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
    whole = "".join(pieces)
    stops = [(at, len(stop), stop) for stop in request.stop if (at := whole.find(stop)) >= 0]
    if stops:
        at, _, stop = min(stops)
        return _cut(pieces, at, limit, stop)
    if len(pieces) >= limit:
        return pieces[:limit], "length", ""
    return [*pieces, ""], "stop", ""


def _cut(pieces: list[str], at: int, limit: int, stop: str) -> tuple[list[str], FinishReason, str]:
    kept: list[str] = []
    for piece in pieces:
        if len(kept) == limit:
            return kept, "length", ""
        kept.append(piece[:at])
        at -= len(piece)
        if at < 0:
            break
    return kept, "stop", stop


def _words(prompt: Prompt) -> list[str]:
    if isinstance(prompt, TextPrompt):
        return prompt.text.split()
    if isinstance(prompt, InfillPrompt):
        return [*prompt.prefix.split(), *prompt.suffix.split()]
    if isinstance(prompt, ChatPrompt):
        return " ".join(str(message.get("content") or "") for message in prompt.messages).split()
    outside = next((token for token in prompt.token_ids if not 0 <= token < N_VOCAB), None)
    if outside is not None:
        raise InvalidRequest(f"Token id {outside} is not in the model's vocabulary.", param="prompt")
    return [f"t{token}" for token in prompt.token_ids]


def _answer_words(request: GenerationRequest, asked: list[str]) -> list[str]:
    if not isinstance(request.prompt, ChatPrompt):
        return asked
    said = [message for message in request.prompt.messages if message.get("role") == "user"]
    return str(said[-1].get("content") or "").split() if said else []


def _logprobs(pieces: list[str], n_logprobs: int | None, *, first: bool = False) -> tuple[TokenLogprob, ...]:
    if n_logprobs is None:
        return ()
    found = []
    for position, piece in enumerate(pieces):
        data = piece.encode()
        token_id = zlib.crc32(data) % N_VOCAB
        others = [TopLogprob(k, f" alt{k}".encode(), LOGPROB - k) for k in range(1, n_logprobs)]
        top = (TopLogprob(token_id, data, LOGPROB), *others) if n_logprobs else ()
        unknown = first and position == 0
        found.append(TokenLogprob(token_id, data, None if unknown else LOGPROB, () if unknown else top))
    return tuple(found)
