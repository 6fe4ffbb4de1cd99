"""Who calls: the API key of a request and the identity that goes with it.

Takes a key from `Authorization: Bearer`, `Authorization: Api-Key`, the password of `Authorization: Basic`
or `X-Api-Key`. Never stores or logs a key: callers are named by a keyed digest. Pure; event loop's thread.
"""

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from llmatic.core.errors import Unauthorized, Unavailable
from llmatic.core.principal import ANONYMOUS, EVERYBODY, Principal
from llmatic.services.key_memory import GRACE_S
from llmatic.services.keys import PREFIX, REMEMBERED_S, Keys, keyed_name, masked
from llmatic.services.tokens import Tokens

__all__ = ["ANONYMOUS", "Authenticator"]

_PREFIX: Final = PREFIX.encode()
_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using "
    "Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) "
    "if you're accessing the API from your browser and are prompted for a username and password. "
    "You can obtain an API key from whoever runs this server."
)


class Authenticator:
    """Knows the configured keys, the stored ones and how tokens are checked.

    Without any of them everybody is welcome and `anonymous`, if the server `may_be_open`. A key that is made
    while it runs closes the door within REMEMBERED_S.
    """

    def __init__(
        self,
        api_keys: tuple[str, ...],
        keys: Keys | None = None,
        tokens: Tokens | None = None,
        *,
        may_be_open: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        name = keys.name_of if keys is not None else partial(keyed_name, secrets.token_bytes())
        self._configured = tuple((key.encode("utf-8"), _operator(name(key))) for key in api_keys)
        self._keys = keys
        self._tokens = tokens
        self._clock = clock
        self._open_until = 0.0
        self._is_closed = not may_be_open or bool(api_keys) or tokens is not None

    @property
    def was_open(self) -> bool:
        """Whether no key was asked for when somebody last called."""
        return not self._is_closed

    async def is_open(self, *, anew: bool = False) -> bool:
        """True when no key is asked for. `anew`: as it is at this moment, not within REMEMBERED_S."""
        if self._is_closed or self._keys is None:
            return not self._is_closed
        if anew or self._clock() >= self._open_until:
            # Once closed it stays closed: the last key's expiry must not open the door to everybody.
            try:
                self._is_closed = await self._keys.exist()
            except Unavailable:
                # Without its database a server goes on as it was, for a while.
                if self._clock() >= self._open_until + GRACE_S or not self._open_until:
                    raise
                return True
            self._open_until = self._clock() + REMEMBERED_S
        return not self._is_closed

    async def identify(self, authorization: bytes | None, x_api_key: bytes | None) -> Principal:
        """The caller. `x_api_key` counts before `authorization`, which many clients fill with anything.

        Raises Unauthorized with OpenAI's words, Unavailable if what is stored cannot be asked.
        """
        key = (x_api_key or b"").strip() or _key_of(authorization)
        # Whoever comes with a key of ours has just been given one: what they store is to be theirs.
        if await self.is_open(anew=key.startswith(_PREFIX)):
            return EVERYBODY
        if not key:
            raise Unauthorized(_NO_KEY)
        found = self._operator(key) or await self._holder(key.decode("utf-8", "surrogateescape"))
        if found is None:
            raise Unauthorized(
                f"Incorrect API key provided: {masked(key.decode('utf-8', 'replace'))}. "
                "You can obtain an API key from whoever runs this server.",
                code="invalid_api_key",
            )
        return found

    def _operator(self, key: bytes) -> Principal | None:
        found = None
        for known, principal in self._configured:
            # No early exit: the time taken says nothing about which key was near.
            if hmac.compare_digest(known, key):
                found = principal
        return found

    async def _holder(self, key: str) -> Principal | None:
        if self._tokens is not None and key.count(".") == 2 and not key.startswith(PREFIX):
            return await self._tokens.recognise(key)
        if self._keys is None:
            return None
        return await self._keys.recognise(key)


def _operator(name: str) -> Principal:
    """Who holds a key of the configuration runs the server."""
    return Principal(name, name)


def _key_of(authorization: bytes | None) -> bytes:
    if not authorization or authorization.isspace():
        return b""
    scheme, *rest = authorization.split(None, 1)
    value = rest[0].strip() if rest else b""
    match scheme.lower():
        case b"bearer" | b"api-key":
            return value
        case b"basic":
            try:
                return base64.b64decode(value, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return b""
        case _:
            return b""
