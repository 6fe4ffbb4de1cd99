"""Which of many texts go into a prompt: as many as fit the model's context, the best ones first.

Owns the search for them. The server has no tokenizer, and an estimate would waste room or overflow: the
engine itself says whether a prompt fits, in the first event of a request, which is then taken back.
Never knows what the prompt says. Event loop's thread; whoever awaits may be cancelled.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from llmatic.core.errors import ContextLengthExceeded
from llmatic.core.types import GenerationRequest, TextPrompt, Usage
from llmatic.services.answering import answers
from llmatic.services.choices import Choice
from llmatic.services.generation import OpenStream

# No text has so many characters in each of its tokens, so a longer prompt is not sent to the engine in vain.
MAX_CHARACTERS_PER_TOKEN = 32

# After the longest run of the best texts, so many further texts are tried one by one.
MAX_SINGLE_TRIES = 16

Fits = Callable[[tuple[int, ...]], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Answers to a prompt and what went into it. `chosen`: indexes of texts, best first."""

    chosen: tuple[int, ...]
    prompt: str
    choices: list[Choice]
    usage: Usage


async def answers_that_fit(
    open_stream: OpenStream,
    request_with: Callable[[tuple[int, ...]], GenerationRequest],
    order: Sequence[int],
    sizes: Sequence[int],
    n_context: int,
    spent: Callable[[Usage], None] | None = None,
) -> Fitted:
    """The answers to the prompt that holds as many texts as fit, best first.

    `request_with`: the request whose TextPrompt holds the texts of these indexes. `order`: indexes, best
    first. `sizes`: the length of every text. `spent`: as in `answers`. Raises ContextLengthExceeded if the
    prompt is too long without any of them, and what the engine raises.
    """
    n_requests = 0

    def made(chosen: tuple[int, ...]) -> GenerationRequest:
        # Late events of a request that was taken back must not be taken for those of the next one.
        nonlocal n_requests
        n_requests += 1
        request = request_with(chosen)
        return replace(request, id=f"{request.id}-{n_requests}")

    async def fits(chosen: tuple[int, ...]) -> bool:
        request = made(chosen)
        return _may_fit(request, n_context) and await is_accepted(open_stream, request)

    chosen = tuple(order)
    request = made(chosen)
    if not chosen or _may_fit(request, n_context):
        try:
            return await _answered(open_stream, request, chosen, spent)
        except ContextLengthExceeded:
            if not chosen:
                raise
    chosen = await best_that_fit(order, sizes, fits)
    return await _answered(open_stream, made(chosen), chosen, spent)


async def best_that_fit(order: Sequence[int], sizes: Sequence[int], fits: Fits) -> tuple[int, ...]:
    """As many of `order` (indexes, best first) as fit together, when all of them do not.

    The longest run of the best ones, then those of the others that are shorter than all that was too long.
    Asks `fits` some 25 times at most.
    """
    if not order or not await fits(()):
        return ()
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        if await fits(tuple(order[:middle])):
            low = middle
        else:
            high = middle
    chosen = tuple(order[:low])
    shortest_left_out = sizes[order[low]]
    n_tries = 0
    for index in order[low + 1 :]:
        if sizes[index] >= shortest_left_out:
            continue
        n_tries += 1
        if n_tries > MAX_SINGLE_TRIES:
            break
        if await fits((*chosen, index)):
            chosen = (*chosen, index)
        else:
            shortest_left_out = sizes[index]
    return chosen


async def _answered(
    open_stream: OpenStream,
    request: GenerationRequest,
    chosen: tuple[int, ...],
    spent: Callable[[Usage], None] | None,
) -> Fitted:
    choices, usage = await answers(open_stream, [request], spent)
    return Fitted(chosen, _text(request), choices, usage)


async def is_accepted(open_stream: OpenStream, request: GenerationRequest) -> bool:
    """Whether the prompt fits. Raises what else the engine raises."""
    trial = replace(request, n_choices=1, constraint=None)
    try:
        async with aclosing(open_stream(trial)) as events:
            await anext(events)
    except ContextLengthExceeded:
        return False
    return True


def _may_fit(request: GenerationRequest, n_context: int) -> bool:
    return len(_text(request)) <= n_context * MAX_CHARACTERS_PER_TOKEN


def _text(request: GenerationRequest) -> str:
    assert isinstance(request.prompt, TextPrompt), "whoever makes the requests promises it"
    return request.prompt.text
