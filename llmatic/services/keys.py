"""API keys: made, shown once, recognised, changed, revoked.

Owns the form of a key, its digest, what a key may be given, and the note of when it was last used. Never logs
or stores a key. Event loop's thread.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from llmatic.core.errors import InvalidRequest, LlmaticError, NotFound, Unavailable
from llmatic.core.limits import Limits, checked
from llmatic.core.principal import DEFAULT_SCOPES, SCOPES, Principal, Scope
from llmatic.services.key_memory import REMEMBERED_S, KeyMemory
from llmatic.store.database import Database
from llmatic.store.keys import (
    KeyRecord,
    add_key,
    change_key,
    drop_key,
    find_key,
    get_key,
    has_key,
    list_keys,
    replace_key,
    revoke_key,
    touch_key,
)
from llmatic.store.paging import Order

__all__ = ["MICROSECONDS", "PREFIX", "REMEMBERED_S", "Keys", "keyed_name", "masked"]

PREFIX: Final = "sk-llmatic-"
KEY_CHARACTERS: Final = 40  # of 62 kinds: 238 bits
USE_NOTED_S: Final = 60.0
MICROSECONDS: Final = 1_000_000
MAX_NAME: Final = 200
MAX_MODELS: Final = 1000
MAX_LIFETIME_S: Final = 100 * 365 * 86400.0

_ALPHABET: Final = string.ascii_letters + string.digits
_KEY: Final = re.compile(rf"{PREFIX}[A-Za-z0-9]{{{KEY_CHARACTERS}}}\Z")
_log = structlog.get_logger("llmatic.keys")

Clock = Callable[[], float]


class Keys:
    """The keys of a database. `secret`: what digests are keyed with, the same on all its servers."""

    def __init__(self, database: Database, secret: bytes, *, clock: Clock = time.time) -> None:
        self._database = database
        self._secret = secret
        self._clock = clock
        self._memory = KeyMemory()
        self._notes: set[asyncio.Task[None]] = set()
        self._n_changes = 0

    async def create(
        self,
        name: str,
        *,
        owner: str | None = None,
        scopes: Iterable[str] = DEFAULT_SCOPES,
        models: Iterable[str] | None = None,
        lifetime_s: float | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> tuple[KeyRecord, str]:
        """A new key and its record; nobody can be told the key again. Without an owner it owns itself.

        Raises InvalidRequest naming what a key cannot be given.
        """
        key_id, key = _drawn()
        now = self._now()
        record = KeyRecord(
            id=key_id,
            owner=key_id if owner is None else _name(owner, "owner"),
            name=_name(name, "name"),
            digest=self._digest(key),
            hint=masked(key),
            scopes=_scopes(scopes),
            models=None if models is None else _models(models),
            limits=checked(limits or {}),
            created_at=now,
            expires_at=_end(now, lifetime_s),
        )
        await self._database.write(add_key(record))
        return record, key

    async def recognise(self, key: str) -> Principal | None:
        """Whose key this is; None if it is none, or revoked, or expired.

        Costs microseconds for a key that was sent a moment ago, right or wrong, and for what does not look
        like a key of ours. Where the database cannot be asked, a key that was right GRACE_S ago still is, and
        for any other one it raises Unavailable.
        """
        if not _KEY.match(key):
            return None
        digest, now = self._digest(key), self._clock()
        known = self._memory.find(digest, now)
        if known is not None:
            return known[0]
        n_changes = self._n_changes
        try:
            record = await self._database.read(find_key(digest))
        except Unavailable:
            if old := self._memory.find_old(digest, self._clock()):
                return old
            raise
        # The index has found it by its digest, which tells nothing of the key; equal all the same.
        is_right = (
            record is not None
            and hmac.compare_digest(record.digest, digest)
            and record.is_usable(self._now())
        )
        if record is None or not is_right:
            self._memory.keep(digest, None, now, None)
            return None
        expires_at = None if record.expires_at is None else record.expires_at / MICROSECONDS
        found = _principal(record)
        if n_changes == self._n_changes:  # else it may have been changed after it was read
            self._memory.keep(digest, found, now, expires_at)
        self._note_use(record)
        return found

    async def page(
        self, limit: int, after: str | None = None, order: Order = "desc", *, with_revoked: bool = True
    ) -> list[KeyRecord]:
        """By the time of their creation, newest first unless told otherwise."""
        return await self._database.read(list_keys(limit, after, order, with_revoked=with_revoked))

    async def get(self, key_id: str) -> KeyRecord:
        """One of them. Raises NotFound."""
        return _found(await self._database.read(get_key(key_id)), key_id)

    async def revoke(self, key_id: str) -> KeyRecord:
        """From now on it opens nothing, on other servers after REMEMBERED_S. Raises NotFound."""
        record = _found(await self._database.write(revoke_key(key_id, self._now())), key_id)
        self._n_changes += 1
        self._memory.forget(record.digest)
        return record

    async def change(self, key_id: str, wanted: Mapping[str, Any]) -> KeyRecord:
        """Another `name`, `scopes`, `models`, `limits` or `lifetime_s` from now; what is not said stays.

        Of the limits those stay that are not said; None is none of its own. On other servers it holds after
        REMEMBERED_S. Raises NotFound, InvalidRequest naming what a key cannot be given.
        """
        now = self._now()
        record = _found(
            await self._database.write(change_key(key_id, lambda old: _changed(old, wanted, now))), key_id
        )
        self._n_changes += 1
        self._memory.forget(record.digest)
        return record

    async def rotate(self, key_id: str, keep_s: float = 0.0) -> tuple[KeyRecord, str]:
        """A new key with all that this one has, which opens nothing after `keep_s` any more.

        The new one lives as long as this one was made for. Raises NotFound, InvalidRequest if this one opens
        nothing already.
        """
        old, now = await self.get(key_id), self._now()
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        new_id, key = _drawn()
        record = replace(
            old,
            id=new_id,
            digest=self._digest(key),
            hint=masked(key),
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
            used_at=None,
        )
        until = now + int(min(keep_s, MAX_LIFETIME_S) * MICROSECONDS)
        if not await self._database.write(replace_key(key_id, record, now, until)):
            raise InvalidRequest(f"The key {key_id} opens nothing any more: make a new one.", param="key_id")
        self._n_changes += 1
        self._memory.forget(old.digest)
        return record, key

    async def exist(self) -> bool:
        """Whether there is any, also if it opens nothing any more."""
        return await self._database.read(has_key())

    async def open_any(self) -> bool:
        """Whether any opens something."""
        return await self._database.read(has_key(self._now()))

    async def forget(self, key_id: str) -> KeyRecord:
        """Leave no trace of it but its usage. Raises NotFound, InvalidRequest if it still opens something."""
        record = await self.get(key_id)
        if record.is_usable(self._now()):
            raise InvalidRequest(f"The key {key_id} still opens the server: revoke it first.", param="key_id")
        await self._database.write(drop_key(key_id))
        return record

    def name_of(self, key: str) -> str:
        """What a key of the configuration is called wherever its holder is named."""
        return keyed_name(self._secret, key)

    async def close(self) -> None:
        """Wait for what is being noted. Idempotent."""
        await asyncio.gather(*self._notes)

    def _note_use(self, record: KeyRecord) -> None:
        now = self._now()
        if record.used_at is not None and 0 <= now - record.used_at < USE_NOTED_S * MICROSECONDS:
            return
        task = asyncio.get_running_loop().create_task(self._touch(record.id, now))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _touch(self, key_id: str, now: int) -> None:
        try:
            await self._database.write(touch_key(key_id, now))
        except LlmaticError as error:
            # Whoever calls has a good key, and waits for no note of it.
            _log.warning("key_use_not_noted", key=key_id, why=error.message)

    def _digest(self, key: str) -> str:
        return hmac.digest(self._secret, key.encode("ascii"), hashlib.sha256).hex()

    def _now(self) -> int:
        return int(self._clock() * MICROSECONDS)


def _drawn() -> tuple[str, str]:
    """The id of a new key, and the key."""
    drawn = "".join(secrets.choice(_ALPHABET) for _ in range(KEY_CHARACTERS))
    return f"key_{secrets.token_hex(12)}", PREFIX + drawn


def keyed_name(secret: bytes, key: str) -> str:
    """A name that tells nothing of the key to whoever does not have the secret, however short the key is."""
    return "key-" + hmac.digest(secret, key.encode("utf-8"), hashlib.sha256).hex()[:16]


def masked(key: str) -> str:
    """What may be shown of a key: the first eight and last four characters, and never most of a short one."""
    text = "".join(char if char.isprintable() else "?" for char in key)
    if len(text) < 16:
        return text[:2] + "*" * max(4, len(text) - 2)
    return text[:8] + "*" * min(len(text) - 12, 40) + text[-4:]


def _principal(record: KeyRecord) -> Principal:
    models = None if record.models is None else frozenset(record.models)
    limits = Limits.of(record.limits) if record.limits else None
    return Principal(record.id, record.owner, frozenset(record.scopes), models, limits)


def _changed(old: KeyRecord, wanted: Mapping[str, Any], now: int) -> KeyRecord:
    if old.revoked_at is not None:
        raise InvalidRequest(f"The key {old.id} was revoked: make a new one.", param="key_id")
    values: dict[str, Any] = {}
    if "name" in wanted:
        values["name"] = _name(wanted["name"], "name")
    if "scopes" in wanted:
        values["scopes"] = _scopes(wanted["scopes"])
    if "models" in wanted:
        values["models"] = None if wanted["models"] is None else _models(wanted["models"])
    if "limits" in wanted:
        said = wanted["limits"]
        checked({name: 0 if value is None else value for name, value in said.items()})
        limits = {**old.limits, **said}
        values["limits"] = {name: value for name, value in limits.items() if value is not None}
    if "lifetime_s" in wanted:
        values["expires_at"] = _end(now, wanted["lifetime_s"])
    return replace(old, **values)


def _end(now: int, lifetime_s: float | None) -> int | None:
    if lifetime_s is None:
        return None
    if not 0 < lifetime_s <= MAX_LIFETIME_S:
        raise InvalidRequest("A key must expire within 100 years.", param="expires_in_seconds")
    return now + int(lifetime_s * MICROSECONDS)


def _name(text: str, param: str) -> str:
    name = text.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidRequest(
            f"Invalid '{param}': use 1 to {MAX_NAME} characters without control characters.",
            param=param,
            code="invalid_value",
        )
    return name


def _scopes(given: Iterable[str]) -> tuple[Scope, ...]:
    wanted = set(given)
    unknown = sorted(wanted.difference(SCOPES))
    if unknown or not wanted:
        said = f"'{unknown[0]}' is no scope" if unknown else "a key needs a scope"
        raise InvalidRequest(
            f"Invalid 'scopes': {said}. Supported values are: {', '.join(SCOPES)}.",
            param="scopes",
            code="invalid_value",
        )
    return tuple(scope for scope in SCOPES if scope in wanted)


def _models(given: Iterable[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_name(name, "models") for name in given))
    if len(names) > MAX_MODELS:
        raise InvalidRequest(f"Invalid 'models': at most {MAX_MODELS} names.", param="models")
    return names


def _found(record: KeyRecord | None, key_id: str) -> KeyRecord:
    if record is None:
        raise NotFound(f"No such API key: {key_id}", param="key_id")
    return record
