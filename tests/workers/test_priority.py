"""Who may compute and who must step back, seen from outside; in a process of its own, niceness sticks."""

import subprocess
import sys

import pytest

SERVER = """
import asyncio, os, threading
from contextlib import aclosing
from pathlib import Path
from llmatic.config import ModelSpec, WorkerSettings
from llmatic.core.types import GenerationRequest, TextPrompt
from llmatic.workers.pool import ProcessPool
from llmatic.core.priority import NICENESS, nice_this_thread

def nice(stat):
    return int(stat.read_text().rpartition(")")[2].split()[16])

async def main():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    behind = min(before + NICENESS, 19)
    pool = ProcessPool({"m": ModelSpec("m", "", engine="fake")}, WorkerSettings())
    await pool.start()
    nice_this_thread()
    async with aclosing(pool.generate("m", GenerationRequest("r", TextPrompt("x")))) as events:
        [event async for event in events]
    threads = Path("/proc", str(pool.state("m")["pid"]), "task")
    same = os.getsid(pool.state("m")["pid"]) == os.getsid(0)  # niceness counts within a session only
    levels = sorted(nice(p) for p in threads.glob("*/stat"))
    print(same and levels == [before, before, behind, behind], levels)
    await pool.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_main_and_engine_thread_keep_the_priority_reader_and_writer_do_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVER], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1].startswith("True"), done.stdout
