"""Where the adapters of a model lie, found when the first request needs them.

Owns the search, and the download if it comes to that, on a thread of its own, once for all requests that
wait. Never reads an adapter: the engine does. Server's event loop.
"""

import asyncio
import contextlib
import hashlib
import os
import threading
import time

import structlog

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError, LlmaticError, Unavailable
from llmatic.core.priority import nice_this_thread
from llmatic.core.types import Adapter
from llmatic.sources import locate_adapter

RETRY_S = 5.0
PROGRESS_INTERVAL_S = 5.0

log = structlog.get_logger("llmatic.workers")


class AdapterFiles:
    """The adapters of one model as an engine is given them."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._search: asyncio.Future[tuple[Adapter, ...]] | None = None
        self._log = log.bind(model=spec.id)

    @property
    def found(self) -> tuple[Adapter, ...] | None:
        """All adapters; None as long as they have not been found."""
        search = self._search
        return search.result() if search is not None and _succeeded(search) else None

    def fingerprint(self, base: str) -> str:
        """That of the model with the adapters as their files are now; `base` is the model's own."""
        digest = hashlib.sha256(base.encode())
        for adapter in self.found or ():
            digest.update(f"\0{adapter.path}\0{adapter.scale}".encode())
            with contextlib.suppress(OSError):
                status = os.stat(adapter.path)
                digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
        return "fp_" + digest.hexdigest()[:10]

    async def find(self) -> tuple[Adapter, ...]:
        """All adapters, once each is on disk. Raises Unavailable; the next request then looks again."""
        if self._search is None or (self._search.done() and not _succeeded(self._search)):
            self._search = self._begin()
        try:
            # One caller that gives up must not end the search of the others.
            return await asyncio.shield(self._search)
        except ConfigError as error:
            raise Unavailable(
                f"The model '{self._spec.id}' could not be loaded: {error.message}", retry_after_s=RETRY_S
            ) from error

    def _begin(self) -> asyncio.Future[tuple[Adapter, ...]]:
        loop = asyncio.get_running_loop()
        search: asyncio.Future[tuple[Adapter, ...]] = loop.create_future()
        search.add_done_callback(self._on_end)
        # A daemon: a server that stops does not wait for a download, which goes on where it stopped.
        name = f"adapters of {self._spec.id}"
        threading.Thread(target=self._run, args=(loop, search), name=name, daemon=True).start()
        return search

    def _on_end(self, search: asyncio.Future[tuple[Adapter, ...]]) -> None:
        error = None if search.cancelled() else search.exception()
        if error is not None:
            self._log.error("adapters cannot be used", reason=str(error))

    # the thread

    def _run(self, loop: asyncio.AbstractEventLoop, search: asyncio.Future[tuple[Adapter, ...]]) -> None:
        nice_this_thread()
        result: tuple[Adapter, ...] | LlmaticError
        try:
            result = self._locate()
        except LlmaticError as error:
            result = error
        except OSError as error:
            result = Unavailable(f"The model '{self._spec.id}' could not be loaded: {error.strerror}")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, search, result)

    def _locate(self) -> tuple[Adapter, ...]:
        next_line = 0.0

        def report(fraction: float | None, what: str) -> None:
            nonlocal next_line
            now = time.monotonic()
            if now >= next_line:
                next_line = now + PROGRESS_INTERVAL_S
                percent = None if fraction is None else round(fraction * 100)
                self._log.info("fetching adapter", phase=what, percent=percent)

        return tuple(
            Adapter(str(locate_adapter(self._spec, item, on_progress=report)), item.scale)
            for item in self._spec.adapters
        )


def _settle(search: asyncio.Future[tuple[Adapter, ...]], result: tuple[Adapter, ...] | LlmaticError) -> None:
    if search.done():
        return
    if isinstance(result, LlmaticError):
        search.set_exception(result)
    else:
        search.set_result(result)


def _succeeded(search: asyncio.Future[tuple[Adapter, ...]]) -> bool:
    return search.done() and not search.cancelled() and search.exception() is None
