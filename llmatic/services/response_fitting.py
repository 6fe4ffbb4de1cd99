"""What of a long conversation goes into a prompt (`truncation: auto`).

The server has no tokenizer: the engine itself says whether a prompt fits and how long it is, in the first
event of a request, which is then taken back. Event loop's thread; whoever awaits may be cancelled.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from operator import neg
from typing import Final

from llmatic.core.errors import ContextLengthExceeded
from llmatic.core.types import GenerationRequest
from llmatic.services.counting import count_prompt_tokens
from llmatic.services.generation import OpenStream
from llmatic.services.response_items import Item
from llmatic.services.response_prompt import Shortenings

MAX_GROWTH: Final = 8  # of a prompt from one trial to the next


async def shortened(
    open_stream: OpenStream,
    items: Sequence[Item],
    request_with: Callable[[Sequence[Item]], Awaitable[GenerationRequest]],
    refusal: ContextLengthExceeded,
    room: int,
) -> GenerationRequest:
    """The request with as many of the newest items as fit, when all of them do not.

    `room`: about how many tokens a prompt may have. Asks from the shortest on: what that costs goes by how
    much fits, not by how much there is. Raises `refusal` if nothing helps, and what the engine raises.
    """
    candidates = Shortenings(items)
    sizes = candidates.sizes()

    async def length(index: int) -> int | None:
        request = await request_with(candidates[index])
        try:
            return await count_prompt_tokens(
                open_stream, replace(request, id=f"{request.id}-{index}", constraint=None)
            )
        except ContextLengthExceeded:
            return None

    too_long, fitting = -1, len(candidates) - 1
    if fitting < 0 or (n_tokens := await length(fitting)) is None:
        raise refusal
    step, guesses = 1, True
    while fitting - too_long > 1:
        # Texts of one conversation have about as many characters to a token.
        likely = sizes[fitting] * min(room / max(n_tokens, 1), MAX_GROWTH)
        index = bisect_left(sizes, -likely, key=neg)
        if too_long < 0:
            index = max(min(index, fitting - step), 0)
            step *= 2
        elif not (guesses and too_long < index < fitting):
            index = (too_long + fitting) // 2
        guesses = not guesses
        if (found := await length(index)) is None:
            too_long = index
        else:
            fitting, n_tokens = index, found
    return await request_with(candidates[fitting])
