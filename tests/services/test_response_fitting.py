"""What is left of a conversation that is too long: as much as fits, found with few questions."""

import random
from collections.abc import AsyncGenerator, Sequence

import pytest

from llmatic.core.errors import ContextLengthExceeded
from llmatic.core.types import ChatPrompt, Event, GenerationRequest, SamplingParams, Started
from llmatic.services.response_fitting import shortened
from llmatic.services.response_items import Item, kept
from llmatic.services.response_prompt import Shortenings, messages_of

pytestmark = pytest.mark.anyio

REFUSAL = ContextLengthExceeded("too long", param="input")


class Engine:
    """A context of `n_context` tokens. What it was asked: `lengths`."""

    def __init__(self, n_context: int) -> None:
        self.n_context = n_context
        self.lengths: list[int] = []
        self.ids: list[str] = []

    async def open(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Say how long the prompt is."""
        assert isinstance(request.prompt, ChatPrompt)
        n_tokens = sum(tokens(str(message["content"])) for message in request.prompt.messages)
        self.lengths.append(n_tokens)
        self.ids.append(request.id)
        if n_tokens > self.n_context:
            raise REFUSAL
        yield Started(n_tokens)


def tokens(text: str) -> int:
    """Some texts have many characters to a token, others few."""
    return 4 + len(text) // (2 if text.startswith("x") else 6)


async def request_with(items: Sequence[Item]) -> GenerationRequest:
    return GenerationRequest(
        id="r", prompt=ChatPrompt(messages_of(items, None)), sampling=SamplingParams(), max_tokens=1
    )


def conversation(draw: random.Random, n_turns: int) -> list[dict[str, object]]:
    said = [
        {"role": role, "content": draw.choice("xy") * draw.randint(0, 200)}
        for _ in range(n_turns)
        for role in ("user", "assistant")
    ]
    return kept([{"type": "message", **item} for item in (*said, {"role": "user", "content": "last"})])


@pytest.mark.parametrize("seed", range(40))
async def test_no_more_is_left_out_than_must_be(seed: int) -> None:
    draw = random.Random(seed)
    items = conversation(draw, draw.randint(1, 300))
    engine = Engine(draw.choice([30, 100, 1000, 5000]))
    room = draw.choice([engine.n_context, 0, -5, 1, 10**9])  # a hint that is wrong costs only time
    fits = []
    for shorter in Shortenings(items):
        request = await request_with(shorter)
        assert isinstance(request.prompt, ChatPrompt)
        n_tokens = sum(tokens(str(message["content"])) for message in request.prompt.messages)
        fits.append((n_tokens <= engine.n_context, request.prompt.messages))
    best = next(messages for is_short, messages in fits if is_short)
    found = await shortened(engine.open, items, request_with, REFUSAL, room)
    assert isinstance(found.prompt, ChatPrompt)
    assert found.prompt.messages == best
    assert len(set(engine.ids)) == len(engine.ids)
    assert len(engine.lengths) <= 2 * len(fits).bit_length() + 2


async def test_a_good_hint_saves_questions() -> None:
    items = conversation(random.Random(1), 1000)
    engine = Engine(5000)
    await shortened(engine.open, items, request_with, REFUSAL, engine.n_context)
    assert len(engine.lengths) <= 10
    assert max(engine.lengths) <= 2 * engine.n_context


async def test_when_nothing_helps() -> None:
    for n_turns in (0, 5):
        with pytest.raises(ContextLengthExceeded):
            await shortened(Engine(3).open, conversation(random.Random(1), n_turns), request_with, REFUSAL, 3)
