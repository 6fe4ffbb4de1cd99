"""Prompt lookup: what follows the last words where they stood before, probably follows them again.

After Saxena's prompt lookup decoding (2023), with OpenAI's predicted outputs as a text to copy from first.
Owns the index of trigrams of one request (`Material`) and the places in it that one sequence is copying
from (`Lookup`). Pure; `Material` is built off the engine's thread and only read afterwards, `Lookup` belongs
to the engine's thread. Never knows what the drafts were good for: that is the controller's work.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np

from llmatic.engines.llama.drafting import NOTHING, Draft, Kind

# Two tokens recur by chance in any text ("of the"): as a rule they cost more rows than they bring.
_N = 3
_BITS = 21
_MASK = (1 << 63) - 1
_N_COMPARED_MAX = 32
_N_CANDIDATES_MAX = 16
_N_LONG = 6
_N_TRUSTED = 8
_N_NEAR_MAX = 64


class Material:
    """What the sequences of one request may copy from: their prompt and the `prediction`, as token ids.

    Immutable, shared by all choices. 30 000 tokens take some 3 ms, and 16 bytes each beside the tokens.
    """

    def __init__(self, tokens: Sequence[int], prediction: Sequence[int] = ()) -> None:
        self.prompt = _Text(tokens)
        self.prediction = _Text(prediction)


class _Text:
    """Tokens, and where each trigram of them is followed by what."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)
        row = np.array(self.tokens, np.int64)
        keys = ((row[:-2] << 2 * _BITS) ^ (row[1:-1] << _BITS) ^ row[2:]) & _MASK
        order = np.argsort(keys, kind="stable")
        self._keys = array("q", keys[order].tobytes())
        self._nexts = array("q", (order + _N).astype(np.int64).tobytes())

    def newest_first(self, key: int) -> Iterator[int]:
        """Positions just after the trigram, the last one first."""
        first = bisect_left(self._keys, key)
        last = bisect_right(self._keys, key, first)
        return (self._nexts[i] for i in range(last - 1, first - 1, -1))

    def nearest_first(self, key: int, place: int) -> Iterator[int]:
        """Positions just after the trigram: those from `place` on, near ones first, then those before it."""
        first = bisect_left(self._keys, key)
        last = bisect_right(self._keys, key, first)
        middle = bisect_left(self._nexts, place, first, last)
        order = chain(range(middle, last), range(middle - 1, first - 1, -1))
        return (self._nexts[i] for i in order)


class _Cursor:
    """A place in a text that a sequence is copying from.

    `at`: the token expected next, -1 if none is; `n_matched`: so many tokens before it agreed.
    `lost_at`: where a longer copy was left, `n_since` tokens ago.
    """

    __slots__ = ("at", "lost_at", "n_matched", "n_since")

    def __init__(self, at: int = -1) -> None:
        self.at = at
        self.n_matched = 0
        self.lost_at = at
        self.n_since = 0

    def step(self, text: list[int], token: int) -> None:
        """The sequence went on with `token`."""
        if self.at >= 0:
            if self.at < len(text) and text[self.at] == token:
                self.at += 1
                self.n_matched += 1
                return
            if self.n_matched >= _N_TRUSTED:
                self.lost_at, self.n_since = self.at, 0
            self.at = -1
        self.n_since += 1

    def go_to(self, at: int, n_matched: int) -> None:
        self.at, self.n_matched = at, n_matched

    def look_near(self, text: list[int], tail: list[int]) -> bool:
        """Try to go on a little after the place where the copy was left.

        Just after a difference: as if one token was replaced, or left out. Later: where two tokens of `tail`
        are found again.
        """
        if self.lost_at < 0 or not 1 <= self.n_since <= _N_NEAR_MAX:
            return False
        if self.n_since == 1:
            place = self.lost_at + 1
            if place >= len(text) - 1:
                return False
            self.go_to(place + (text[place] == tail[-1]), 0)
            return True
        end = min(len(text) - 1, self.lost_at + 16 + 2 * self.n_since)
        place = self.lost_at
        before, last = tail[-2], tail[-1]
        while True:
            try:
                place = text.index(last, place + 1, end)
            except ValueError:
                return False
            if text[place - 1] == before:
                self.go_to(place + 1, _matched(text, place + 1, tail))
                return True


class Lookup:
    """Drafts for one sequence. A token costs a few microseconds, however long the text is."""

    def __init__(self, material: Material) -> None:
        """A sequence that begins with the prompt of `material` and is about to write its first token."""
        self._material = material
        self._tokens = list(material.prompt.tokens)
        self._n_prompt = len(self._tokens)
        self._newest: dict[int, int] = {}
        self._older: list[int] = []
        self._prediction = _Cursor(0 if material.prediction.tokens else -1)
        self._history = _Cursor()

    def extend(self, token: int) -> None:
        """The sequence went on with `token`, drafted or not."""
        self._prediction.step(self._material.prediction.tokens, token)
        self._history.step(self._tokens, token)
        self._tokens.append(token)
        key = self._key()
        self._older.append(self._newest.get(key, -1))
        self._newest[key] = len(self._tokens)

    def draft(self, k: int) -> Draft:
        """Up to `k` tokens that may follow; NOTHING if nothing like the last tokens stood anywhere."""
        if k < 1 or len(self._tokens) < _N:
            return NOTHING
        predicted = self._material.prediction.tokens
        cursor = self._prediction
        if predicted and (cursor.at >= 0 or self._find_in_prediction()) and cursor.at < len(predicted):
            return Draft(predicted[cursor.at : cursor.at + k], Kind.PREDICTION)
        cursor = self._history
        if cursor.at < 0 and not self._find_in_history():
            return NOTHING
        found = self._tokens[cursor.at : cursor.at + k]
        if len(found) < k:
            found = (found * (k // len(found) + 1))[:k]
        return Draft(found, Kind.COPY if cursor.n_matched >= _N_LONG else Kind.GUESS)

    def _key(self) -> int:
        if len(self._tokens) < _N:
            return -1
        first, second, third = self._tokens[-_N:]
        return ((first << 2 * _BITS) ^ (second << _BITS) ^ third) & _MASK

    def _find_in_prediction(self) -> bool:
        text, cursor = self._material.prediction, self._prediction
        if cursor.look_near(text.tokens, self._tokens):
            return True
        places = text.nearest_first(self._key(), cursor.lost_at)
        return self._follow_longest(cursor, text.tokens, places)

    def _find_in_history(self) -> bool:
        cursor = self._history
        if cursor.look_near(self._tokens, self._tokens):
            return True
        places = chain(self._written(), self._material.prompt.newest_first(self._key()))
        return self._follow_longest(cursor, self._tokens, places)

    def _written(self) -> Iterator[int]:
        """Where the last trigram was written before, newest first."""
        place = self._newest.get(self._key(), -1)
        while place >= 0:
            yield place
            place = self._older[place - self._n_prompt - 1]

    def _follow_longest(self, cursor: _Cursor, text: list[int], places: Iterator[int]) -> bool:
        """Put the cursor where most tokens agree, at the first of equals."""
        best, n_best = -1, _N - 1
        for place in islice(places, _N_CANDIDATES_MAX):
            if place == len(text):
                continue
            n = _matched(text, place, self._tokens)
            if n > n_best:
                best, n_best = place, n
        if best < 0:
            return False
        cursor.go_to(best, n_best)
        return True


def _matched(text: list[int], place: int, tail: list[int]) -> int:
    """How many tokens before `place` agree with the end of `tail`, up to a limit."""
    n = 0
    limit = min(_N_COMPARED_MAX, place, len(tail))
    while n < limit and text[place - 1 - n] == tail[-1 - n]:
        n += 1
    return n
