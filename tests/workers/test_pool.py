import asyncio
import signal
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace

import pytest

from llmatic.core.errors import (
    ConfigError,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    QueueFull,
    Unavailable,
)
from llmatic.core.types import ChatPrompt, Delta, Finished, Started
from tests.workers.conftest import Pools
from tests.workers.support import ENDLESS, Clock, ask, children, events_of, fake, text_of

pytestmark = pytest.mark.anyio


async def test_a_request_goes_through_a_process_of_its_own(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake())
    events = await events_of(pool, ask("one two", echo=False))
    assert events[0] == Started(2)
    assert isinstance(events[-1], Finished)
    assert [e.text for e in events if isinstance(e, Delta)] == ["one", " two", ""]
    assert pool.state("m")["pid"] in children()
    await pools.close()


async def test_first_requests_share_one_load_and_streams_do_not_mix(pools: Pools) -> None:
    earlier = children()
    pool = await pools.start(fake(parallel=16))
    texts = [f"stream {i} says {i * i}" for i in range(40)]
    answers = await asyncio.gather(*(text_of(pool, replace(ask(t), id="same")) for t in texts))
    assert answers == texts
    assert children() - earlier == {pool.state("m")["pid"]}
    assert pool.state("m")["restarts"] == 0


async def test_log_probabilities_and_choices_survive_the_socket(pools: Pools) -> None:
    pool = await pools.start(fake())
    request = ask("one two", n_choices=2, echo=True)
    request = replace(request, sampling=replace(request.sampling, n_logprobs=2))
    deltas = [e for e in await events_of(pool, request) if isinstance(e, Delta)]
    assert {d.index for d in deltas} == {0, 1}
    assert deltas[0].logprobs[0].logprob is None
    assert deltas[0].logprobs[1].top[0].data == b"two"


async def test_an_engines_refusal_keeps_its_class(pools: Pools) -> None:
    pool = await pools.start(fake(context=5000, parallel=1, max_queue=0, token_delay_s=0.001))
    with pytest.raises(ContextLengthExceeded, match="maximum context length is 5000"):
        await events_of(pool, ask(max_tokens=5000))
    async with aclosing(pool.generate("m", ENDLESS)) as running:
        await anext(running)
        with pytest.raises(QueueFull) as caught:
            await events_of(pool, ask())
    assert caught.value.retry_after_s == 1.0


async def test_what_cannot_be_sent_is_the_clients_mistake(pools: Pools) -> None:
    pool = await pools.start(fake())
    prompt = ChatPrompt(({"role": "user", "content": "x"},), {"huge": 10**30})
    with pytest.raises(InvalidRequest, match="cannot be processed"):
        await events_of(pool, replace(ask(), prompt=prompt))
    assert await text_of(pool, ask("still here")) == "still here"


async def test_closing_the_stream_reaches_the_engine(pools: Pools) -> None:
    pool = await pools.start(fake(parallel=1, token_delay_s=0.001))
    async with aclosing(pool.generate("m", ENDLESS)) as events:
        await anext(events)
        await anext(events)
    assert await text_of(pool, ask("next")) == "next"  # the only place was freed
    assert pool.state("m")["running"] == 0


async def test_late_events_do_not_reach_the_next_request_of_the_same_id(pools: Pools) -> None:
    pool = await pools.start(fake(token_delay_s=0.0002))
    for turn in range(100):
        words = f"turn {turn}"
        async with aclosing(pool.generate("m", ask(words, ignore_eos=True, max_tokens=500))) as events:
            first = [await anext(events) for _ in range(3)]
        assert "".join(event.text for event in first if isinstance(event, Delta)) == words


async def test_models_are_independent(pools: Pools) -> None:
    pool = await pools.start(fake("good"), fake("bad", load_error="no such file"))
    with pytest.raises(Unavailable, match="'bad' could not be loaded: no such file"):
        await events_of(pool, ask(), "bad")
    assert await text_of(pool, ask("fine"), "good") == "fine"
    assert pool.info("bad") is None
    info = pool.info("good")
    assert info is not None
    assert info.n_context == 4096


async def test_names(pools: Pools) -> None:
    pool = await pools.start(fake())
    with pytest.raises(ModelNotFound):
        pool.generate("nobody", ask())
    with pytest.raises(ConfigError, match="Did you mean 'fake'"):
        await pools.start(fake(engine="fakes"))


async def test_ready_once_every_preloaded_model_has_made_a_token(pools: Pools) -> None:
    pool = await pools.start(fake("first", preload=True), fake("later"))
    assert not pool.is_ready()
    await text_of(pool, ask(), "first")
    assert pool.is_ready()
    assert pool.state("later")["state"] == "stopped"
    assert pool.state("first")["rss_bytes"] > 1_000_000


async def test_an_idle_model_is_unloaded_and_comes_back(nothing_left: None, pools: Pools) -> None:
    clock = Clock()
    pool = await pools.start(fake(keep_alive_s=60.0), clock=clock)
    await text_of(pool, ask())
    async with aclosing(pool.generate("m", ENDLESS)) as events:
        await anext(events)
        clock.now += 3600
        pool.check()
        assert pool.state("m")["state"] == "ready"  # never while a request runs
    clock.now += 59
    pool.check()
    assert pool.state("m")["state"] == "ready"
    clock.now += 2
    pool.check()
    assert pool.state("m")["state"] == "unloading"
    assert await text_of(pool, ask("back again")) == "back again"  # waits for the end, then loads anew
    assert pool.state("m")["restarts"] == 0
    await pools.close()


async def test_drain_lets_running_requests_end_and_refuses_new_ones(pools: Pools) -> None:
    pool = await pools.start(fake(token_delay_s=0.001))
    running = asyncio.create_task(text_of(pool, ask(max_tokens=50, ignore_eos=True)))
    while not pool.state("m")["running"]:
        await asyncio.sleep(0)
    draining = asyncio.create_task(pool.drain(60.0))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="shutting down"):
        pool.generate("m", ask())
    assert await draining
    assert len((await running).split()) == 50


async def test_close_fails_what_runs(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake(token_delay_s=0.001))
    events = pool.generate("m", ENDLESS)
    await anext(events)
    await pool.close()
    with pytest.raises(Unavailable, match="shutting down"):
        async for _ in events:
            pass


async def test_close_while_a_model_loads(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake(preload=True, load_s=600.0))
    waiting = asyncio.create_task(text_of(pool, ask()))
    while pool.state("m")["pid"] is None:
        await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(Unavailable, match="shutting down"):
        await waiting


def test_the_server_side_imports_no_engine_library() -> None:
    code = "import sys, llmatic.workers.pool; print({'llama_cpp', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


async def test_a_worker_that_does_not_end_is_killed(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake(engine="tests.workers.adapting:Stubborn"), stop_timeout_s=0.01)
    await events_of(pool, ask())
    worker = pool._supervisors["m"]._worker
    assert worker is not None
    await pool.close()
    assert worker.ended.result() == -signal.SIGKILL
