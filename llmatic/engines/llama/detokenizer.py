"""Bytes of tokens to text that may be shown.

Owns what is held back: the beginning of an unfinished UTF-8 character, and any ending that may turn out to
be the beginning of a stop string. Pure. One TextStream per choice.

A token's log probability leaves with the text in which the token begins. Of a matched stop string nothing
leaves, nor do tokens that begin inside it.
"""

import codecs
from collections import deque
from collections.abc import Sequence

from llmatic.core.types import TokenLogprob


class TextStream:
    """Text of one choice, token by token.

    `stopped_by` is the stop string that has been found; what follows it is dropped. `is_pending`: the last
    token ended within a character.
    """

    __slots__ = (
        "_decoder",
        "_entries",
        "_held",
        "_hold_back",
        "_n_released",
        "_stops",
        "is_pending",
        "stopped_by",
    )

    def __init__(self, stops: Sequence[str] = ()) -> None:
        """Empty stop strings are ignored."""
        self._stops = tuple(stop for stop in stops if stop)
        self._hold_back = max(map(len, self._stops), default=1) - 1
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.is_pending = False
        self._held = ""
        self._n_released = 0
        self._entries: deque[tuple[int, TokenLogprob]] = deque()
        self.stopped_by = ""

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has been found."""
        return self.stopped_by != ""

    def push(self, piece: bytes, text: str | None = None, entry: TokenLogprob | None = None) -> str:
        """Add a token's bytes (`text`: the same decoded, if whole UTF-8); returns what may go out."""
        if entry is not None:
            self._entries.append((self._n_released + len(self._held), entry))
        if text is None or self.is_pending:
            text = self._decoder.decode(piece)
            self.is_pending = bool(self._decoder.getstate()[0])
        if not self._stops:
            self._n_released += len(text)
            return text
        return self._filter(text)

    def finish(self) -> str:
        """No more tokens: what was held back, a broken character as U+FFFD; nothing after a stop string."""
        if self.is_stopped:
            return ""
        text = self._decoder.decode(b"", True)
        self.is_pending = False
        if self._stops:
            text = self._filter(text)
        if not self.is_stopped:
            self._n_released += len(self._held) if self._stops else len(text)
            text, self._held = text + self._held, ""
        return text

    def take_logprobs(self, *, is_end: bool = False) -> tuple[TokenLogprob, ...]:
        """Entries of the tokens whose text has gone out; at the end of an unstopped text, of all."""
        entries, taken = self._entries, []
        everything = is_end and not self.is_stopped
        while entries and (everything or entries[0][0] < self._n_released):
            taken.append(entries.popleft()[1])
        return tuple(taken)

    def _filter(self, text: str) -> str:
        """Release what can belong to no stop string; stop at the one that begins first."""
        if self.is_stopped:
            return ""
        held = self._held + text
        found = [(place, len(stop), stop) for stop in self._stops if (place := held.find(stop)) >= 0]
        if found:
            # Of two that begin at one place the shorter is whole first, however the tokens fall.
            n_out, _, self.stopped_by = min(found)
            self._held = ""
            out = held[:n_out]
        else:
            n_out = len(held) - self._n_suspicious(held)
            out, self._held = held[:n_out], held[n_out:]
        self._n_released += len(out)
        return out

    def _n_suspicious(self, text: str) -> int:
        """Length of the longest ending of `text` with which a stop string begins."""
        for n in range(min(self._hold_back, len(text)), 0, -1):
            ending = text[-n:]
            if any(stop.startswith(ending) for stop in self._stops):
                return n
        return 0
