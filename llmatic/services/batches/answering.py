"""One line of a batch: answered, and answered again where the failure was not its own.

Owns which failures are repeated, and how often. Event loop's thread.
"""

import asyncio
from contextlib import nullcontext
from typing import Final

import orjson

from llmatic.core.errors import LlmaticError, QueueFull, Unauthorized, Unavailable
from llmatic.core.principal import Principal
from llmatic.services.batches.lines import NumberedLine
from llmatic.services.batches.ports import Operations
from llmatic.services.batches.results import Result, completed, failed

MAX_TRIES: Final = 5
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
REVOKED: Final = "The API key that made this batch has been revoked."


class LineAnswers:
    """Answers the lines of one batch.

    A line that was with an engine when it failed may be the one that made it fail: such lines are repeated
    one at a time, so that a bad one takes no good ones with it twice. Once the caller's key
    `is_revoked`, lines that are not being answered are refused.
    """

    def __init__(self, operations: Operations, endpoint: str, principal: Principal) -> None:
        self._operations = operations
        self._endpoint = endpoint
        self._principal = principal
        self._one_suspect = asyncio.Lock()
        self.is_revoked = False

    async def answer(self, item: NumberedLine) -> Result:
        """What becomes of a line that was found to be well-formed. Raises nothing but cancellation."""
        number, line = item
        request = orjson.loads(line)
        request_id = self._operations.request_id()
        n_tries, pause_s = 0, FIRST_PAUSE_S
        while True:
            try:
                if self.is_revoked:
                    raise Unauthorized(REVOKED, code="invalid_api_key")
                async with self._one_suspect if n_tries else nullcontext():
                    body = await self._operations.run(
                        self._endpoint, request["body"], self._principal, size_bytes=len(line)
                    )
            except QueueFull as error:
                wait_s = error.retry_after_s or pause_s  # live traffic goes first, however long it lasts
            except LlmaticError as error:
                n_tries += 1
                if not isinstance(error, Unavailable) or n_tries == MAX_TRIES:
                    refusal = self._operations.refusal(error)
                    return failed(number, request["custom_id"], request_id, error.status, refusal)
                wait_s = pause_s
            else:
                return completed(number, request["custom_id"], request_id, body)
            await asyncio.sleep(wait_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
