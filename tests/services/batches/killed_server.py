"""What serves batches until it is killed: forked for each life by a program without threads.

Told on stdin: `start` forks, and the answer is the process id; `reap` waits for the last one, and the answer is
`gone`. Each life says `.` every few milliseconds.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from llmatic.config import BatchSettings
from llmatic.core.errors import InvalidRequest
from llmatic.services.batches import journal
from llmatic.services.batches.ports import Body
from llmatic.services.batches.service import Batches
from llmatic.store.database import open_database
from llmatic.store.local_blobs import LocalBlobs
from tests.services.batches.conftest import FakeOperations, echo

TICK_S = 0.01


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    pid = 0
    for word in sys.stdin:
        if word.strip() == "reap":
            assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
            say(b"gone\n")
            continue
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(serve(url, folder))
            finally:
                os._exit(1)
        say(b"%d\n" % pid)


async def serve(url: str, folder: Path) -> None:
    vars(journal).update(FLUSH_S=0.005, INLINE_BYTES=600)
    batches = Batches(
        open_database(url),
        LocalBlobs(folder),
        BatchSettings(lease_s=0.1),
        busy_tick_s=TICK_S,
        idle_tick_s=TICK_S,
    )
    batches.start(FakeOperations(answer, n_at_once=8))
    while True:
        say(b".\n")
        await asyncio.sleep(TICK_S)


async def answer(body: Body) -> bytes:
    await asyncio.sleep(random.random() * TICK_S)
    if body["say"].endswith("7"):
        raise InvalidRequest("sevens are refused")
    return await echo(body)


def say(line: bytes) -> None:
    """In one piece, whoever else says something."""
    os.write(sys.stdout.fileno(), line)


if __name__ == "__main__":
    main()
