"""Long work on the database in short writes, so that others get their turn. Event loop's thread."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

FEWEST: Final = 10
MOST: Final = 500
WRITE_S: Final = 0.02  # what one of the writes may take, and so others may have to wait


async def in_short_writes(
    drop: Callable[[int], Awaitable[int]],
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Call `drop` until it finds fewer rows than it may drop; how many it dropped together.

    It may drop as many at once as take about WRITE_S, and rests after each time for as long as it worked.
    """
    n_gone, at_once = 0, FEWEST
    while True:
        started_s = clock()
        n = await drop(at_once)
        took_s = clock() - started_s
        n_gone += n
        if n < at_once:
            return n_gone
        at_once = max(FEWEST, min(MOST, int(at_once * WRITE_S / max(took_s, 1e-6))))
        await sleep(took_s)
