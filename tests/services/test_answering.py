import asyncio
from functools import partial

import pytest

from llmatic.core.errors import EngineFailed
from llmatic.core.types import Delta, GenerationRequest, Started, TextPrompt
from llmatic.services.answering import answers
from tests.fakes import FakePool, Gate

pytestmark = pytest.mark.anyio


def requests(n: int, n_choices: int = 1) -> list[GenerationRequest]:
    return [GenerationRequest(str(k), TextPrompt(str(k)), n_choices=n_choices) for k in range(n)]


async def test_the_choices_of_every_prompt_come_whole(pool: FakePool) -> None:
    choices, usage = await answers(partial(pool.generate, "m"), requests(2, n_choices=3))
    assert [choice.text for choice in choices] == ["Hello wörld!"] * 6
    assert [choice.index for choice in choices] == list(range(6))
    assert (usage.n_prompt_tokens, usage.n_completion_tokens) == (14, 24)


async def test_a_failure_is_raised_and_nothing_is_left_open(pool: FakePool) -> None:
    pool.script = lambda request: [Started(1), Delta(0, "x", 1), EngineFailed("died")]
    with pytest.raises(EngineFailed, match="died"):
        await answers(partial(pool.generate, "m"), requests(2))
    assert pool.n_open == 0


async def test_who_is_cancelled_takes_the_generations_along(pool: FakePool) -> None:
    gate = Gate()
    pool.script = lambda request: [Started(1), gate]
    work = asyncio.create_task(answers(partial(pool.generate, "m"), requests(1)))
    while not gate.reached.is_set():
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert pool.n_open == 0
