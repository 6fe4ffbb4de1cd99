"""Sets of public keys (RFC 7517): had from a file or a URL, kept, and had anew.

Owns when a set is fetched: first when a token needs it, again when a token names an unknown key (at most
every REFETCH_S), and in the background when it has become old. A set that cannot be had leaves the known keys
as they are. Event loop's thread; fetching in another.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import orjson
import structlog

from llmatic.config.keys import is_safe_url
from llmatic.core.errors import ConfigError, Unavailable

KEY_ALGORITHMS: Final = ("RS256", "ES256")
REFETCH_S: Final = 30.0
OLD_AFTER_S: Final = 600.0  # a key that its owner has withdrawn opens nothing after so long
FETCH_TIMEOUT_S: Final = 5.0
RETRY_AFTER_S: Final = 5.0
MAX_SET_BYTES: Final = 1024 * 1024
MIN_RSA_BITS: Final = 2048

_PACKET_BYTES: Final = 64 * 1024

# the algorithm that it is for, and the key
PublicKey = tuple[str, Any]

_log = structlog.get_logger("llmatic.auth")


class KeySet:
    """The keys at `place`, a path or a URL. A file is read at once: raises ConfigError if it is of no use."""

    def __init__(self, place: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._clock = clock
        self._keys: Mapping[str, PublicKey] = {} if is_url(place) else read_set(place)
        self._tried_at = self._fetched_at = clock() if self._keys else None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> PublicKey | None:
        """The key with this id; the only key for an empty id; None if there is none.

        Raises Unavailable if no set was ever had.
        """
        found = self._known(key_id)
        if found is None:
            await self._fetch(at_most_every_s=REFETCH_S if self._keys else RETRY_AFTER_S)
            found = self._known(key_id)
        elif self._fetched_at is None or self._clock() - self._fetched_at > OLD_AFTER_S:
            self._begin(at_most_every_s=REFETCH_S)
        if found is None and not self._keys:
            raise Unavailable(
                "The keys that tokens are checked with cannot be had at the moment. Please try again.",
                retry_after_s=RETRY_AFTER_S,
            )
        return found

    def _known(self, key_id: str) -> PublicKey | None:
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _fetch(self, *, at_most_every_s: float) -> None:
        self._begin(at_most_every_s=at_most_every_s)
        if self._fetching is not None:
            # Nobody waits forever, and whoever hangs up does not end it for the others.
            await asyncio.wait([self._fetching], timeout=2 * FETCH_TIMEOUT_S)

    def _begin(self, *, at_most_every_s: float) -> None:
        now = self._clock()
        if self._fetching is None and (self._tried_at is None or now - self._tried_at >= at_most_every_s):
            self._tried_at = now
            self._fetching = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            self._keys = await asyncio.to_thread(read_set, self._place)
            self._fetched_at = self._clock()
        except ConfigError as error:
            _log.warning("key_set_not_had", why=error.message, known_keys=len(self._keys))
        finally:
            self._fetching = None


def is_url(place: str) -> bool:
    """Whether it is no path."""
    return "://" in place


def read_set(place: str) -> dict[str, PublicKey]:
    """The keys by id that are for an algorithm of ours; blocks. Raises ConfigError if there is none."""
    import jwt

    try:
        data = _download(place) if is_url(place) else Path(place).read_bytes()
        keys = jwt.PyJWKSet.from_dict(orjson.loads(data)).keys
    except (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ConfigError(f"auth.jwt_keys: no key set can be read from {place}: {error}") from None
    found = {
        str(key.key_id or ""): (key.algorithm_name, key.key)
        for key in keys
        if key.algorithm_name in KEY_ALGORITHMS and key.public_key_use in (None, "sig") and _is_long(key.key)
    }
    if not found:
        raise ConfigError(f"auth.jwt_keys: {place} has no key for {' or '.join(KEY_ALGORITHMS)}")
    return found


def _is_long(key: Any) -> bool:
    """Whether a key of RSA cannot be found out (RFC 7518, section 3.3); those of curves are as they are."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    return not isinstance(key, RSAPublicKey | RSAPrivateKey) or key.key_size >= MIN_RSA_BITS


class _NoDetours(HTTPRedirectHandler):
    """Follows redirects only to where a set may be."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_safe_url(newurl):
            raise HTTPError(newurl, code, "redirected to an address that is not safe", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str) -> bytes:
    deadline_s = time.monotonic() + 2 * FETCH_TIMEOUT_S
    data = b""
    with build_opener(_NoDetours).open(url, timeout=FETCH_TIMEOUT_S) as reply:
        # The timeout is of each packet: who sends byte by byte would hold the thread for days.
        while part := reply.read1(_PACKET_BYTES):
            data += part
            if len(data) > MAX_SET_BYTES:
                raise ValueError(f"it has more than {MAX_SET_BYTES} bytes")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"it takes more than {2 * FETCH_TIMEOUT_S:.0f} s")
    return data
