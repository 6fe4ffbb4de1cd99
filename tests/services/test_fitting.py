import asyncio
from collections.abc import Iterable
from functools import partial

import pytest

from llmatic.core.errors import ContextLengthExceeded, EngineFailed, InvalidRequest
from llmatic.core.types import Constraint, Delta, Finished, GenerationRequest, Started, TextPrompt, Usage
from llmatic.services.fitting import MAX_CHARACTERS_PER_TOKEN, Fitted, answers_that_fit, best_that_fit
from tests.fakes import FakePool, Gate, Step

pytestmark = pytest.mark.anyio


class Sizes:
    """Texts of so many tokens each, beside a prompt of `n_own` tokens, in a context of `n_context`."""

    def __init__(self, sizes: list[int], n_context: int, n_own: int = 0) -> None:
        self.sizes, self.n_context, self.n_own, self.n_asked = sizes, n_context, n_own, 0

    async def fits(self, chosen: tuple[int, ...]) -> bool:
        self.n_asked += 1
        assert len(set(chosen)) == len(chosen)
        return self.n_own + sum(self.sizes[index] for index in chosen) <= self.n_context

    async def best(self, order: list[int]) -> tuple[int, ...]:
        return await best_that_fit(order, self.sizes, self.fits)


@pytest.mark.parametrize("n_context", [0, 9, 10, 11, 99, 100, 105, 1994])
async def test_as_many_of_equal_texts_as_fit_are_chosen(n_context: int) -> None:
    texts = Sizes([10] * 200, n_context)
    order = list(reversed(range(200)))
    assert await texts.best(order) == tuple(order[: n_context // 10])
    assert texts.n_asked <= 9


async def test_what_is_too_long_makes_room_for_shorter_ones() -> None:
    texts = Sizes([500, 10, 60, 80, 20, 5], 100)
    assert await texts.best([0, 1, 2, 3, 4, 5]) == (1, 2, 4, 5)


async def test_a_text_no_shorter_than_one_left_out_is_not_tried() -> None:
    texts = Sizes([90, 20, 20, 20, 30, 5, 20], 100)
    assert await texts.best([0, 1, 2, 3, 4, 5, 6]) == (0, 5)


async def test_the_engine_is_not_asked_without_end() -> None:
    texts = Sizes([50, *range(1000, 800, -1)], 100)
    assert await texts.best(list(range(201))) == (0,)
    assert texts.n_asked < 30


async def test_nothing_fits_beside_a_prompt_that_is_too_long_itself() -> None:
    texts = Sizes([1, 1], 100, n_own=101)
    assert await texts.best([0, 1]) == ()
    assert texts.n_asked == 1


def words(limit: int, request: GenerationRequest) -> Iterable[Step]:
    """An engine whose context holds `limit` words."""
    assert isinstance(request.prompt, TextPrompt)
    n_words = len(request.prompt.text.split())
    if n_words > limit:
        yield ContextLengthExceeded(f"{n_words} words")
        return
    yield Started(n_words)
    yield Delta(0, "done", 1, (), "stop")
    yield Finished(Usage(n_words, 1))


def with_texts(texts: list[str], chosen: tuple[int, ...]) -> GenerationRequest:
    prompt = TextPrompt(" ".join(["question", *(texts[index] for index in chosen)]))
    return GenerationRequest("r", prompt, n_choices=1, constraint=Constraint("regex", "done"))


async def fitted(pool: FakePool, texts: list[str], limit: int, n_context: int = 1000) -> Fitted:
    pool.script = partial(words, limit)
    return await answers_that_fit(
        partial(pool.generate, "m"),
        partial(with_texts, texts),
        range(len(texts)),
        [len(text) for text in texts],
        n_context,
    )


async def test_one_request_is_enough_where_all_fit(pool: FakePool) -> None:
    found = await fitted(pool, ["a b", "c"], 4)
    assert (found.chosen, found.prompt) == ((0, 1), "question a b c")
    assert (found.choices[0].text, found.usage) == ("done", Usage(4, 1))
    assert len(pool.requests) == 1


async def test_the_engine_says_what_fits_and_every_request_has_an_id_of_its_own(pool: FakePool) -> None:
    found = await fitted(pool, ["a b", "c d", "e f g", "h"], 6)
    assert (found.chosen, found.prompt) == ((0, 1, 3), "question a b c d h")
    assert found.usage == Usage(6, 1)
    ids = [request.id for request in pool.requests]
    assert len(set(ids)) == len(ids) > 2
    *trials, last = pool.requests[1:]
    assert last.constraint is not None
    assert all(trial.constraint is None for trial in trials)
    assert pool.n_open == 0


async def test_a_prompt_too_long_without_any_text_is_refused(pool: FakePool) -> None:
    with pytest.raises(ContextLengthExceeded, match="1 words"):
        await fitted(pool, ["a", "b"], 0)
    with pytest.raises(ContextLengthExceeded, match="1 words"):
        await fitted(pool, [], 0)


async def test_what_cannot_fit_is_not_even_sent(pool: FakePool) -> None:
    huge = "x" * (10 * MAX_CHARACTERS_PER_TOKEN + 1)
    found = await fitted(pool, [huge, "a"], 10, n_context=10)
    assert found.chosen == (1,)
    assert all(huge not in str(request.prompt) for request in pool.requests)


async def test_other_refusals_are_not_taken_for_a_prompt_too_long(pool: FakePool) -> None:
    for error in (InvalidRequest("no such token", param="logit_bias"), EngineFailed("died")):
        pool.reset()
        pool.script = lambda request, error=error: [error]  # type: ignore[misc]
        with pytest.raises(type(error), match=error.message):
            await answers_that_fit(partial(pool.generate, "m"), partial(with_texts, ["a"]), [0], [1], 100)
        assert len(pool.requests) == 1


async def test_who_is_cancelled_during_a_trial_takes_it_along(pool: FakePool) -> None:
    gate = Gate()
    pool.script = lambda request: [gate] if "b" not in str(request.prompt) else [ContextLengthExceeded("")]
    work = asyncio.create_task(
        answers_that_fit(partial(pool.generate, "m"), partial(with_texts, ["a", "b"]), [0, 1], [1, 1], 100)
    )
    while not gate.reached.is_set():
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert pool.n_open == 0
