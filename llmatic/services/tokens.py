"""JSON web tokens: whose they are, if they are genuine and meant for us.

Owns the checking (RFC 7519, RFC 8725): which algorithm counts is the configuration's word and never the
token's, so that neither `none` nor a public key taken for a secret opens anything. Event loop's thread.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmatic.config import AuthSettings
from llmatic.core.errors import Unauthorized
from llmatic.core.principal import DEFAULT_SCOPES, SCOPES, TOKEN_PREFIX, Principal
from llmatic.services.key_memory import REMEMBERED_S, KeyMemory
from llmatic.services.key_sets import KeySet, PublicKey

LEEWAY_S: Final = 30
MAX_OWNER_CHARACTERS: Final = 190  # what the tables have room for, with the prefix
MAX_SAID: Final = 200
SECRET_ALGORITHM: Final = "HS256"


class Tokens:
    """Recognises tokens by `rules`, of which `jwt_secret` or `jwt_keys` is set, never both."""

    def __init__(self, rules: AuthSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._set = None if rules.jwt_keys is None else KeySet(rules.jwt_keys, clock=clock)
        self._memory = KeyMemory()

    async def recognise(self, token: str) -> Principal:
        """Whose token this is.

        A token that was good a moment ago costs microseconds. Raises Unauthorized with what is wrong with it,
        Unavailable if there is nothing to check it with.
        """
        digest, now = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest(), time.time()
        known = self._memory.find(digest, now)
        if known is not None and known[0] is not None:
            return known[0]
        claims = await self._claims(token)
        found = self._principal(claims)
        # An exp beyond all floats is also beyond what is remembered.
        self._memory.keep(digest, found, now, min(int(claims["exp"]), now + REMEMBERED_S))
        return found

    async def _claims(self, token: str) -> dict[str, Any]:
        import jwt

        rules = self._rules
        try:
            algorithm, key = await self._key(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=rules.jwt_audience,
                issuer=rules.jwt_issuer,
                leeway=LEEWAY_S,
                options={
                    "require": ["exp", rules.jwt_owner_claim],
                    "verify_aud": rules.jwt_audience is not None,
                },
            )
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        except (ValueError, RecursionError):  # no text, or JSON nested too deep
            raise _refused("it cannot be read") from None
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        claim = self._rules.jwt_owner_claim
        owner = claims[claim]
        if isinstance(owner, int) and not isinstance(owner, bool):
            owner = str(owner)
        if (
            not isinstance(owner, str)
            or not owner.isprintable()
            or not 0 < len(owner) <= MAX_OWNER_CHARACTERS
        ):
            raise _refused(f"'{claim}' must be a text of 1 to {MAX_OWNER_CHARACTERS} printable characters")
        said = _words(claims, "scope") or _words(claims, "scopes") or ()
        named = tuple(scope for scope in SCOPES if scope in said)
        models = _words(claims, "models")
        # With the prefix no subject, whatever it is, can be taken for a key, its owner or everybody.
        name = TOKEN_PREFIX + owner
        return Principal(
            name,
            name,
            frozenset(named or DEFAULT_SCOPES),
            None if models is None else frozenset(models),
        )

    async def _key(self, token: str) -> PublicKey:
        """What the token is checked with, and by which algorithm: the key's, whatever the token says."""
        import jwt

        if self._set is None:
            return SECRET_ALGORITHM, self._rules.jwt_secret
        key_id = str(jwt.get_unverified_header(token).get("kid", ""))
        key = await self._set.find(key_id)
        if key is None:
            raise jwt.InvalidKeyError(f"no key '{key_id[:MAX_SAID]}' is known")
        return key


def _words(claims: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """The words of a claim: a list, or a text with spaces between them. None if it is not there."""
    said = claims.get(name)
    if said is None:
        return None
    if isinstance(said, str):
        return tuple(said.split())
    if isinstance(said, list) and all(isinstance(word, str) for word in said):
        return tuple(said)
    raise _refused(f"'{name}' must be a text or a list of texts")


def _refused(why: str) -> Unauthorized:
    return Unauthorized(f"Invalid token: {why[:MAX_SAID]}.", code="invalid_api_key")
