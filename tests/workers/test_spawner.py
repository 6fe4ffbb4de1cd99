"""The thread that starts the workers: what cannot be started costs one request and nothing else."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from llmatic.workers.spawner import Spawner

pytestmark = pytest.mark.anyio

SILENT = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    made = Spawner()
    yield made
    made.close()


async def assert_starts(spawner: Spawner) -> None:
    spawned = await spawner.spawn(SILENT)
    spawned.kill()
    assert await spawned.exited == -9
    spawned.sock.close()
    os.close(spawned.output_fd)


async def test_no_thread_to_wait_with(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    start, begun = threading.Thread.start, []

    def no_more(thread: threading.Thread) -> None:
        if thread.name.startswith("llmatic-wait"):
            begun.append(int(thread.name.rpartition("-")[2]))
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", no_more)
        with pytest.raises(OSError, match="can't start new thread"):
            await spawner.spawn(SILENT)
    with pytest.raises(ProcessLookupError):
        os.kill(begun[0], 0)
    await assert_starts(spawner)


async def test_no_file_left(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as crowded:
        crowded.setattr(os, "pipe", none_left)
        with pytest.raises(OSError, match="Too many open files"):
            await spawner.spawn(SILENT)
    await assert_starts(spawner)


async def test_what_nobody_foresaw(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as crowded:
        crowded.setattr(subprocess, "Popen", broken)
        with pytest.raises(MemoryError):
            await spawner.spawn(SILENT)
    await assert_starts(spawner)
