"""How long anybody waits for a database that does not answer.

Owns the deadline of each call, and the rule that after a failure that took long only one caller at a time
tries again while all others are told at once: otherwise a host that has vanished would hold every request,
and every thread, for as long as a connection takes to fail. Writes into the log when the database goes away
and when it is back. Never knows a database. Event loop's thread.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from llmatic.core.errors import Unavailable
from llmatic.store.errors import RETRY_AFTER_S, TOO_SLOW, reason

T = TypeVar("T")

DEADLINE_S: Final = 8.0
LONG_S: Final = 0.5

_log = structlog.get_logger("llmatic.store")


class Patience:
    """Of one kind of calls, which fail and go well together. `kind`: for the log."""

    def __init__(self, kind: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kind = kind
        self._clock = clock
        self._why: str | None = None  # the last one failed
        self._is_long = False  # and took its time
        self._is_trying = False

    async def wait(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives. Raises what it raises; Unavailable after DEADLINE_S, or at once if there is no
        use in waiting.

        A call that has begun may go on after that.
        """
        if not self._is_long:
            return await self._tried(call)
        if self._is_trying:
            raise Unavailable(self._why or TOO_SLOW, retry_after_s=RETRY_AFTER_S)
        self._is_trying = True
        try:
            return await self._tried(call)
        finally:
            self._is_trying = False

    async def _tried(self, call: Callable[[], Awaitable[T]]) -> T:
        began = self._clock()
        try:
            async with asyncio.timeout(DEADLINE_S):
                result = await call()
        except TimeoutError:
            error = Unavailable(TOO_SLOW, retry_after_s=RETRY_AFTER_S)
            self._failed(error, began)
            raise error from None
        except Unavailable as error:
            self._failed(error, began)
            raise
        except asyncio.CancelledError:
            raise
        except Exception:
            self._answered()  # with a refusal
            raise
        self._answered()
        return result

    def _failed(self, error: Unavailable, began: float) -> None:
        self._is_long = self._clock() - began >= LONG_S
        if self._why is None:
            _log.warning(
                "database_fails", calls=self._kind, error=error.message, why=reason(error.__cause__ or error)
            )
        self._why = error.message

    def _answered(self) -> None:
        self._is_long = False
        if self._why is not None:
            self._why = None
            _log.info("database_is_back", calls=self._kind)
