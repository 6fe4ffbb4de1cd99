"""What the pool costs the server: events per second through a real worker process with the fake engine.

    python scripts/bench/pool.py [--streams 1 16 200] [--events 200000] [--step 0]

Prints, per number of streams, events/s over all streams and the server process' CPU time per event, which is
what the pool path (decode a frame, fill mailboxes, resume generators) costs beside everything else.
"""

import argparse
import asyncio
import logging
import time
from contextlib import aclosing

import structlog

from llmatic.config import ModelSpec, WorkerSettings
from llmatic.core.types import GenerationRequest, TextPrompt
from llmatic.workers.pool import ProcessPool


async def stream(pool: ProcessPool, name: str, n_tokens: int) -> int:
    request = GenerationRequest(name, TextPrompt("one two three"), max_tokens=n_tokens, ignore_eos=True)
    n_events = 0
    async with aclosing(pool.generate("null", request)) as events:
        async for _ in events:
            n_events += 1
    return n_events


async def measure(n_streams: int, n_tokens: int, step_s: float) -> None:
    spec = ModelSpec(
        id="null",
        source="",
        engine="fake",
        parallel=n_streams,
        context=n_tokens + 10,
        options={"token_delay_s": step_s},
    )
    pool = ProcessPool({"null": spec}, WorkerSettings())
    await pool.start()
    await stream(pool, "warm", 10)
    began, cpu_began = time.perf_counter(), time.process_time()
    counts = await asyncio.gather(*(stream(pool, f"r{i}", n_tokens) for i in range(n_streams)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    n_events = sum(counts)
    print(
        f"{n_streams:4d} streams  {n_events / took:10,.0f} events/s  "
        f"{cpu / n_events * 1e6:6.2f} us CPU/event in the server",
        flush=True,
    )
    await pool.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 200])
    parser.add_argument("--events", type=int, default=200_000, help="about so many events per row")
    parser.add_argument("--step", type=float, default=0.0, help="seconds that one step of the engine takes")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for n_streams in args.streams:
        await measure(n_streams, max(1, args.events // n_streams), args.step)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
