"""Who calls: the API key of a request and the identity that goes with it.

Takes a key from `Authorization: Bearer`, `Authorization: Api-Key`, the password of `Authorization: Basic`
or `X-Api-Key`. Never stores or logs a key: callers are named by a digest. Pure; event loop's thread.
"""

import base64
import binascii
import hashlib
import hmac

from llmatic.core.errors import Unauthorized

ANONYMOUS = "anonymous"

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using "
    "Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) "
    "if you're accessing the API from your browser and are prompted for a username and password. "
    "You can obtain an API key from whoever runs this server."
)


class Authenticator:
    """Knows the configured keys. Without any, everybody is welcome and `anonymous`."""

    def __init__(self, api_keys: tuple[str, ...]) -> None:
        self._keys = tuple((key.encode("utf-8"), _identity(key)) for key in api_keys)

    @property
    def is_open(self) -> bool:
        """True when no key is asked for."""
        return not self._keys

    def identify(self, authorization: bytes | None, x_api_key: bytes | None) -> str:
        """The caller's identity. Raises Unauthorized with OpenAI's words."""
        if not self._keys:
            return ANONYMOUS
        key = x_api_key or _key_of(authorization)
        if not key:
            raise Unauthorized(_NO_KEY)
        found = None
        for known, identity in self._keys:
            # No early exit: the time taken says nothing about which key was near.
            if hmac.compare_digest(known, key):
                found = identity
        if found is None:
            raise Unauthorized(
                f"Incorrect API key provided: {_masked(key)}. "
                "You can find your API key in the configuration of this server.",
                code="invalid_api_key",
            )
        return found


def _identity(key: str) -> str:
    return "key-" + hashlib.sha256(key.encode("utf-8")).hexdigest()[:16]


def _key_of(authorization: bytes | None) -> bytes:
    if not authorization:
        return b""
    scheme, _, value = authorization.strip().partition(b" ")
    value = value.strip()
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


def _masked(key: bytes) -> str:
    """At most the first eight and last four characters, and never most of a short key."""
    text = "".join(char if char.isprintable() else "?" for char in key.decode("utf-8", "replace"))
    if len(text) < 16:
        return text[:2] + "*" * max(4, len(text) - 2)
    return text[:8] + "*" * min(len(text) - 12, 40) + text[-4:]
