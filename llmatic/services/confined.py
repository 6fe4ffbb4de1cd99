"""What callers wrote and a machine must follow, worked on elsewhere: templates and JSON schemas.

Owns the processes in which that is done (`confined_child`), at most a few, started when they are needed: a
template can loop, a schema can double itself at every step, and neither may hold up or fill the server. Never
knows what an interaction or a run is. Event loop's thread; a thread for each process waits for it.
"""

import asyncio
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

import orjson

from llmatic.core.errors import InvalidRequest, RateLimited, Unavailable

COMMAND: Final = (sys.executable, "-P", "-m", "llmatic.services.confined_child")
N_CHILDREN: Final = 4
MAX_WAITING: Final = 256  # jobs of one owner
MAX_JOB_S: Final = 30.0  # the child's own limit is of processor time and much shorter
LENGTH: Final = struct.Struct(">Q")

Json = dict[str, Any]


class Confined:
    """Templates and schemas, followed within limits of time and memory."""

    def __init__(self, command: Sequence[str] = COMMAND, *, max_job_s: float = MAX_JOB_S) -> None:
        self._command = command
        self._max_job_s = max_job_s
        self._threads = ThreadPoolExecutor(N_CHILDREN, thread_name_prefix="llmatic-confined")
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._is_closed = False
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    async def check(self, owner: str, prompts: Sequence[Any], schemas: Mapping[str, Any]) -> None:
        """Raises InvalidRequest naming the prompt or the schema that is none, RateLimited."""
        if prompts or schemas:
            job = {"work": "check", "prompts": list(prompts), "schemas": dict(schemas)}
            await self._ask(owner, job, "prompts")

    async def render(
        self,
        owner: str,
        prompts: Sequence[Any],
        data: Mapping[str, Any],
        data_schema: Any = None,
        schemas: Mapping[str, Any] | None = None,
    ) -> list[Json]:
        """The chat messages that the prompts make of the data, which fits `data_schema`.

        `schemas` are looked at as well. Raises InvalidRequest naming what is at fault, RateLimited.
        """
        job = {"work": "render", "prompts": list(prompts), "data": dict(data), "data_schema": data_schema}
        messages: list[Json] = await self._ask(owner, job | {"schemas": dict(schemas or {})}, "data")
        return messages

    async def misfit(self, owner: str, schema: Any, text: str) -> str | None:
        """Why the text is no JSON that fits the schema; None if it is. Raises as `render`."""
        job = {"work": "fit", "schema": schema, "text": text}
        found: str | None = await self._ask(owner, job, "result_schema")
        return found

    async def close(self) -> None:
        """End the processes, whatever they are doing. Idempotent."""
        self._is_closed = True
        for child in (*self._idle, *self._busy):
            child.kill()
        await asyncio.to_thread(self._threads.shutdown)  # whoever waits for one is told so
        while self._idle:
            self._idle.pop().end()

    async def _ask(self, owner: str, job: Json, param: str) -> Any:
        """One job of an owner at a time, so that nobody keeps all processes busy."""
        turn = self._turns.get(owner)
        if turn is None:
            turn = self._turns[owner] = _Turn()
        with turn.waiting():
            async with turn.lock:
                if not self._is_closed:
                    raw = await asyncio.get_running_loop().run_in_executor(
                        self._threads, self._work, orjson.dumps(job)
                    )
        if self._is_closed:
            raise Unavailable("The server is shutting down. Please try again later.", retry_after_s=5.0)
        answer: Json = {"exceeded": "time or memory"} if raw is None else orjson.loads(raw)
        if "refused" in answer:
            refused = answer["refused"]
            raise InvalidRequest(refused["message"], param=refused["param"], code=refused["code"])
        if "exceeded" in answer:
            raise InvalidRequest(
                f"The templates or schemas take too much {answer['exceeded']} with this data.", param=param
            )
        return answer["result"]

    def _work(self, job: bytes) -> bytes | None:
        """What came of it; None if it was the end of the process that worked on it."""
        while not self._is_closed:
            try:
                child, is_new = self._idle.pop(), False
            except IndexError:
                child, is_new = _Child(self._command), True
            self._busy.add(child)
            answer = None
            try:
                if not self._is_closed:
                    answer = child.ask(job, self._max_job_s)
            finally:
                self._busy.discard(child)
                if answer is None:
                    child.end()
            if answer is not None:
                self._idle.append(child)
                return answer
            if is_new:
                return None
            # One that had waited for work may have ended by itself just then.
        return None


class _Turn:
    """The jobs of one owner."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._n_waiting = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within it one more waits. Raises RateLimited if too many do."""
        if self._n_waiting >= MAX_WAITING:
            raise RateLimited("Too many of your templates are being filled in.", retry_after_s=1.0)
        self._n_waiting += 1
        try:
            yield
        finally:
            self._n_waiting -= 1


class _Child:
    """A process and the pipes to it. Raises Unavailable if it cannot be started."""

    def __init__(self, command: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
        except OSError as error:
            raise Unavailable(f"A process for templates cannot be started: {error.strerror}.") from None

    def ask(self, job: bytes, max_s: float) -> bytes | None:
        """The answer to a job; None if it ends without one, or does not answer in time."""
        end_s = time.monotonic() + max_s
        assert self._process.stdin is not None
        try:
            self._write(self._process.stdin.fileno(), LENGTH.pack(len(job)) + job, end_s)
            head = self._read(LENGTH.size, end_s)
            return None if head is None else self._read(LENGTH.unpack(head)[0], end_s)
        except OSError:
            return None

    def kill(self) -> None:
        """Whatever it is doing."""
        self._process.kill()

    def end(self) -> None:
        """Let go of it. Idempotent."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _write(self, fd: int, data: bytes, end_s: float) -> None:
        os.set_blocking(fd, False)
        rest = memoryview(data)
        while rest:
            if not _is_ready(fd, select.POLLOUT, end_s):
                raise TimeoutError
            rest = rest[os.write(fd, rest) :]

    def _read(self, size: int, end_s: float) -> bytes | None:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        pieces: list[bytes] = []
        while size:
            if not _is_ready(fd, select.POLLIN, end_s):
                return None
            piece = os.read(fd, min(size, 1 << 20))
            if not piece:
                return None
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _is_ready(fd: int, event: int, end_s: float) -> bool:
    """Whether a pipe is ready before then. Not by `select`, which fails at a file numbered 1024."""
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(max(0.0, end_s - time.monotonic()) * 1000))
