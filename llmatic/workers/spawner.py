"""Starts worker processes and reports their end.

Owns one thread that does nothing but start processes. It exists for two reasons: children inherit the
niceness of the thread that starts them, and this one keeps the normal priority when the server's loop
thread gives its own up; and the kernel kills a worker when the *thread* that started it ends (see
`orphans.die_with_parent`), so that thread must live as long as the server. Per worker a second, idle
thread waits for its exit. Never talks to a worker.
"""

import asyncio
import contextlib
import errno
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

HOST_COMMAND = (sys.executable, "-P", "-u", "-m", "llmatic.workers.host")


@dataclass(frozen=True, slots=True)
class Spawned:
    """A running worker process: its end of nothing, ours of everything. `exited` gives the return code."""

    pid: int
    sock: socket.socket
    output_fd: int
    exited: "asyncio.Future[int]"
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """SIGKILL to the worker and whatever it started. Idempotent."""
        if self.process.returncode is None:
            _kill_group(self.pid)
            self.process.kill()


class Spawner:
    """A thread with an inbox of commands to run."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="llmatic-spawner", daemon=True)
        self._thread.start()

    async def spawn(self, command: Sequence[str] = HOST_COMMAND) -> Spawned:
        """Start `command --fd N` in a process group of its own; raises OSError if it cannot be started."""
        loop = asyncio.get_running_loop()
        done: Future[Spawned] = Future()

        def job() -> None:
            try:
                done.set_result(_spawn(command, loop))
            except Exception as error:
                done.set_exception(error)  # the thread must live: its end would end every worker

        self._jobs.put(job)
        waiting = asyncio.wrap_future(done)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            waiting.add_done_callback(_discard)
            raise

    def close(self) -> None:
        """End the thread; the kernel then kills whatever worker is left."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _spawn(command: Sequence[str], loop: asyncio.AbstractEventLoop) -> Spawned:
    with contextlib.ExitStack() as always, contextlib.ExitStack() as on_failure:
        ours, theirs = socket.socketpair()
        on_failure.callback(ours.close)
        always.callback(theirs.close)
        output, output_end = os.pipe()
        on_failure.callback(os.close, output)
        always.callback(os.close, output_end)
        process = subprocess.Popen(
            [*command, "--fd", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=output_end,
            stderr=output_end,
            pass_fds=(theirs.fileno(),),
            env=_environment(),
            process_group=0,  # not a new session: Linux (autogroup) compares niceness within a session only
        )
        on_failure.callback(process.wait)
        on_failure.callback(process.kill)
        exited: asyncio.Future[int] = loop.create_future()
        waiter = threading.Thread(
            target=_wait, args=(process, loop, exited), name=f"llmatic-wait-{process.pid}"
        )
        waiter.daemon = True
        try:
            waiter.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error
        on_failure.pop_all()
    return Spawned(process.pid, ours, output, exited, process)


def _environment() -> dict[str, str]:
    """Ours, with huge pages for large allocations: fewer misses where weights and caches are walked."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" in tunables:
        return dict(os.environ)
    return {**os.environ, "GLIBC_TUNABLES": ":".join(filter(None, (tunables, "glibc.malloc.hugetlb=1")))}


def _wait(
    process: "subprocess.Popen[bytes]", loop: asyncio.AbstractEventLoop, exited: "asyncio.Future[int]"
) -> None:
    code = process.wait()
    _kill_group(process.pid)  # what the worker started and left behind
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_resolve, exited, code)


def _resolve(exited: "asyncio.Future[int]", code: int) -> None:
    if not exited.done():
        exited.set_result(code)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _discard(spawned: "asyncio.Future[Spawned]") -> None:
    """Nobody took the worker that was being started."""
    if spawned.cancelled() or spawned.exception() is not None:
        return
    found = spawned.result()
    found.kill()
    found.sock.close()
    os.close(found.output_fd)
