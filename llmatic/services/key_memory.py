"""What was found out about keys a moment ago, by their digests.

Owns the times and the bounds. Wrong keys have a place of their own, so that somebody who tries many does not
drive the right ones out. Never knows a key. Event loop's thread.
"""

from collections import OrderedDict
from typing import Final

from llmatic.core.principal import Principal

REMEMBERED_S: Final = 5.0  # a key that another server revokes works here for so long
GRACE_S: Final = 900.0  # and for so long if the database cannot be asked
MAX_RIGHT: Final = 10_000
MAX_WRONG: Final = 1_000

# when it was found out, until when that holds, and when the key expires, in seconds; who it is
_Entry = tuple[float, float, float, Principal | None]


class KeyMemory:
    """Digest → who that is, or that it is nobody."""

    def __init__(self) -> None:
        self._right: OrderedDict[str, _Entry] = OrderedDict()
        self._wrong: OrderedDict[str, _Entry] = OrderedDict()

    def find(self, digest: str, now: float) -> tuple[Principal | None] | None:
        """What is known of the digest, in a tuple; None: nothing that still holds."""
        entry = self._right.get(digest) or self._wrong.get(digest)
        # A clock that was put back must not make the memory longer.
        if entry is None or not entry[0] <= now < entry[1]:
            return None
        return (entry[3],)

    def find_old(self, digest: str, now: float) -> Principal | None:
        """Whose key it was at most GRACE_S ago, unless it has expired: where nothing newer can be known."""
        entry = self._right.get(digest)
        if entry is None or not entry[0] <= now < min(entry[0] + GRACE_S, entry[2]):
            return None
        return entry[3]

    def keep(self, digest: str, found: Principal | None, now: float, until: float | None) -> None:
        """What was found out at `now`; `until`: when the key expires. The oldest are forgotten for it."""
        entries, most = (self._wrong, MAX_WRONG) if found is None else (self._right, MAX_RIGHT)
        self.forget(digest)
        expires = float("inf") if until is None else until
        entries[digest] = (now, min(now + REMEMBERED_S, expires), expires, found)
        if len(entries) > most:
            entries.popitem(last=False)

    def forget(self, digest: str) -> None:
        """Find it out anew."""
        self._right.pop(digest, None)
        self._wrong.pop(digest, None)
