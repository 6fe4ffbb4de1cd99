"""States of sequences, taken apart by tokens and put together again.

Numpy only, pure, never calls llama.cpp. A state is cut into *rows*: for a run of tokens, the bytes of every
plane of keys and values one after the other. A state composed of rows belongs to sequence 0 of stream 0;
`llama_state_seq_set_data` puts it into any slot.

Immutable once `probe` has returned; `cut` and `compose` may then run in any thread.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmatic.engines.llama.tiers.layout import (
    Place,
    Rows,
    Section,
    UnknownFormat,
    check_head,
    frame,
    guess,
    places,
    shift,
)

State = memoryview | NDArray[np.uint8]


class Codec(ABC):
    """Cuts states of one model and context. `is_sliced`: a state of n tokens also holds those of fewer."""

    is_sliced: bool

    @abstractmethod
    def probe(self, blob: State, n_tokens: int) -> None:
        """Learn the layout from the state of a sequence of `n_tokens` (two or more are wise).

        Raises UnknownFormat; the codec must then not be used.
        """

    @property
    @abstractmethod
    def layout_key(self) -> str:
        """A text that is equal for contexts whose rows may be exchanged. UnknownFormat before `probe`."""

    @abstractmethod
    def row_bytes(self, n_tokens: int) -> int:
        """The size of the rows of so many tokens; 0 if it does not depend on them."""

    @abstractmethod
    def cut(self, blob: State, n_tokens: int, ranges: Sequence[tuple[int, int]]) -> list[Rows]:
        """Copies of the rows of each range [start, stop) of a state that holds exactly `n_tokens`.

        Raises UnknownFormat if the state is not of the probed layout or lacks tokens.
        """

    @abstractmethod
    def compose(self, parts: Sequence[tuple[Rows, int]], first: int = 0) -> Rows:
        """A state of the first `n` tokens of each of the parts (rows, n), which go on from one another.

        `first` is the position of the first of them.
        """


class SlicedCodec(Codec):
    """For attention caches: unified or per sequence, any types, with flash attention or without."""

    is_sliced = True

    def __init__(self) -> None:
        self._sections: tuple[Section, ...] = ()
        self._row_bytes = 0

    def probe(self, blob: State, n_tokens: int) -> None:
        """As Codec; with a sliding window only short sequences look sliceable, so use WholeCodec there."""
        if n_tokens < 1:
            raise UnknownFormat("a state of no tokens tells nothing")
        self._sections = guess(np.frombuffer(blob, np.uint8), n_tokens)
        self._row_bytes = sum(section.row_bytes for section in self._sections)

    @property
    def layout_key(self) -> str:
        """As Codec."""
        self._check_probed()
        return "sliced-" + hashlib.blake2b(repr(self._sections).encode(), digest_size=8).hexdigest()

    def row_bytes(self, n_tokens: int) -> int:
        """As Codec."""
        self._check_probed()
        return n_tokens * self._row_bytes

    def cut(self, blob: State, n_tokens: int, ranges: Sequence[tuple[int, int]]) -> list[Rows]:
        """As Codec; one copy."""
        self._check_probed()
        data = np.frombuffer(blob, np.uint8)
        parts = [np.empty(self.row_bytes(stop - start), np.uint8) for start, stop in ranges]
        before = 0
        for place in places(data, self._sections, n_tokens):
            plane = place.view(data, n_tokens)
            for part, (start, stop) in zip(parts, ranges, strict=True):
                cells = slice(start, stop) if place.order is None else place.order[start:stop]
                _of_rows(part, place, before, stop - start)[:] = plane[:, cells]
            before += place.width * place.n_rows
        return parts

    def compose(self, parts: Sequence[tuple[Rows, int]], first: int = 0) -> Rows:
        """As Codec; one copy."""
        self._check_probed()
        n_tokens = sum(n for _, n in parts)
        blob = frame(self._sections, n_tokens)
        lengths = [rows.size // self._row_bytes for rows, _ in parts]
        before = 0
        for place in places(blob, self._sections, n_tokens):
            at = 0
            if place.is_flat:
                for (rows, n), m in zip(parts, lengths, strict=True):
                    begin, end = place.offset + at * place.width, place.offset + (at + n) * place.width
                    blob[begin:end] = rows[before * m : before * m + end - begin]
                    at += n
            else:
                plane = place.view(blob, n_tokens)
                for (rows, n), m in zip(parts, lengths, strict=True):
                    plane[:, at : at + n] = _of_rows(rows, place, before, m)[:, :n]
                    at += n
            before += place.width * place.n_rows
        if first:
            shift(blob, self._sections, n_tokens, first)
        return blob

    def _check_probed(self) -> None:
        if not self._sections:
            raise UnknownFormat("no state has been probed yet")


class WholeCodec(Codec):
    """For states that only exist as a whole: recurrent, hybrid and sliding-window models."""

    is_sliced = False

    def probe(self, blob: State, n_tokens: int) -> None:
        """As Codec."""
        check_head(np.frombuffer(blob, np.uint8))
        if n_tokens < 1:
            raise UnknownFormat("a state of no tokens tells nothing")

    @property
    def layout_key(self) -> str:
        """As Codec; the caller must add the types of keys and values and the number of streams."""
        return "whole"

    def row_bytes(self, n_tokens: int) -> int:  # noqa: ARG002
        """As Codec."""
        return 0

    def cut(self, blob: State, n_tokens: int, ranges: Sequence[tuple[int, int]]) -> list[Rows]:
        """As Codec; the only range there is, is all of it."""
        self.probe(blob, n_tokens)
        if list(ranges) != [(0, n_tokens)]:
            raise UnknownFormat("this model's state cannot be cut")
        return [np.frombuffer(blob, np.uint8).copy()]

    def compose(self, parts: Sequence[tuple[Rows, int]], first: int = 0) -> Rows:
        """As Codec; without a copy, and only from the beginning."""
        assert not first
        ((rows, _),) = parts
        return rows


def _of_rows(rows: Rows, place: Place, before: int, n_tokens: int) -> Rows:
    """The plane that lies behind `before` bytes per token of `rows`, as an array [row, token, byte]."""
    begin, end = before * n_tokens, (before + place.width * place.n_rows) * n_tokens
    return rows[begin:end].reshape(place.n_rows, n_tokens, place.width)
