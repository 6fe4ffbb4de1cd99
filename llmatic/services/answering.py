"""Runs generations whose answers are wanted whole, for operations that build upon others.

Owns nothing: whoever awaits `answers` may be cancelled, and the generations with it. Never knows HTTP and
never renders. Event loop's thread.
"""

from collections.abc import Callable, Sequence

from llmatic.core.types import GenerationRequest, Usage
from llmatic.services.choices import Choice, Folding
from llmatic.services.generation import Generation, OpenStream


async def answers(
    open_stream: OpenStream,
    requests: Sequence[GenerationRequest],
    spent: Callable[[Usage], None] | None = None,
) -> tuple[list[Choice], Usage]:
    """The choices of every prompt, prompt by prompt, and what they cost. All requests want equally many.

    `spent` is told what was computed, once, however it ends. Raises what the engine raises.
    """
    n_choices = requests[0].n_choices
    folding = Folding(len(requests), n_choices, n_choices)
    generation = Generation(open_stream, requests)
    try:
        async with generation:
            while (events := await generation.batch()) is not None:
                folding.add(events)
    finally:
        if spent is not None:
            spent(
                Usage(generation.n_prompt_tokens, generation.n_completion_tokens, generation.n_cached_tokens)
            )
    return folding.choices(), folding.usage()
