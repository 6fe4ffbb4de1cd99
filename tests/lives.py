"""Servers that are started in a moment and killed at any point, for tests of what outlives them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forked_servers import OPERATOR

__all__ = ["OPERATOR", "Life", "Lives", "lives"]


@dataclass(frozen=True, slots=True)
class Life:
    """A server process."""

    pid: int
    url: str


class Lives:
    """One life after the other at each of some addresses."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._living: set[int] = set()
        self.urls = [f"http://127.0.0.1:{port}" for port in self._answer()]

    def start(self, folder: Path, url: str | None = None, *, at: int = 0, **settings: Any) -> Life:
        """Whoever connects before it is up waits for it. `settings`: see `forked_servers.live`."""
        pid = self._ask({"start": at, "folder": str(folder), "url": url, **settings})
        self._living.add(pid)
        return Life(pid, self.urls[at])

    def kill(self, life: Life, number: int = signal.SIGKILL) -> int:
        """Returns once nothing is left of it; how it ended, as of `os.waitpid`."""
        os.kill(life.pid, number)
        return self.reap(life)

    def reap(self, life: Life) -> int:
        """Wait until it has ended by itself."""
        status: int = self._ask({"reap": life.pid})
        self._living.discard(life.pid)
        return status

    def close(self) -> None:
        for pid in self._living:
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()

    def _ask(self, wanted: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def lives(n_addresses: int = 1, *, errors: Path | None = None) -> Iterator[Lives]:
    """`errors`: where to the servers log; else to where the tests do."""
    with open(errors or os.devnull, "w") as log:
        command = [sys.executable, "-m", "tests.forked_servers", str(n_addresses)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log if errors else None,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        try:
            found = Lives(process)
        except BaseException:
            process.kill()
            process.communicate()
            raise
    try:
        yield found
    finally:
        found.close()
