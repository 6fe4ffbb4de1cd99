"""Where the bytes of a sequence's state lie: the format of llama.cpp's `llama_state_seq_get_data`.

Owns the format and nothing else; pure. Little-endian (llama.cpp's llama-kv-cache.cpp `state_write`):

    u32 magic · i32 sequence · one section per cache, most models have one:
      u32 n_streams · per stream: u32 n_cells, nothing more if it is 0
        per cell: i32 position · u32 1 · [3 i32 of extras] · i32 sequence     in the order of cells
        u32 values transposed · u32 n_layers
        per layer: i32 type · u64 row_bytes · rows of keys
        per layer: i32 type · u64 row_bytes · rows of values                  absent in MLA models
          or:      i32 type · u32 element_bytes · u32 n_rows · per row the elements of all cells

Values are transposed when flash attention is off. What is not exactly so raises UnknownFormat.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmatic.core.errors import LlmaticError

Rows = NDArray[np.uint8]

_MAGIC = 0xAF143CD8
_HEAD = struct.Struct("<Ii")
_U32 = struct.Struct("<I")
_LAYERS = struct.Struct("<II")
_PLANE = struct.Struct("<iQ")
_TRANSPOSED = struct.Struct("<iII")
_EXTRA_BYTES = 12  # llama_kv_cell_ext: x, y, token
_MAX_STREAMS, _MAX_LAYERS, _MAX_TYPE, _MAX_BYTES = 4096, 4096, 63, 1 << 24


class UnknownFormat(LlmaticError):
    """A state that is not understood, or not whole: it must be used neither in part nor at all."""


@dataclass(frozen=True, slots=True)
class Plane:
    """The keys or the values of a layer: `n_rows` times `width` bytes of each cell; transposed if several."""

    kind: int
    width: int
    n_rows: int = 1


@dataclass(frozen=True, slots=True)
class Section:
    """One cache of the context, keys before values."""

    n_streams: int
    has_extra: bool
    is_transposed: bool
    n_layers: int
    planes: tuple[Plane, ...]

    @property
    def cell_bytes(self) -> int:
        """Size of a cell's position and sequence."""
        return 12 + _EXTRA_BYTES * self.has_extra

    @property
    def row_bytes(self) -> int:
        """Bytes that belong to a token, besides its position and sequence."""
        return sum(plane.width * plane.n_rows for plane in self.planes) + _EXTRA_BYTES * self.has_extra

    def size(self, n_cells: int) -> int:
        """Bytes of the section when one stream holds so many cells."""
        heads = 4 + 4 * self.n_streams + _LAYERS.size + _PLANE.size * len(self.planes)
        return heads + (12 + self.row_bytes) * n_cells


@dataclass(frozen=True, slots=True)
class Place:
    """Where a state has one plane: rows, `row_stride` bytes apart, of `width` bytes per cell.

    `stride`: bytes from one cell to the next. `order[p]` is the cell of position p; None: cells lie in the
    order of their positions.
    """

    offset: int
    width: int
    n_rows: int
    stride: int
    row_stride: int
    order: NDArray[np.intp] | None

    @property
    def is_flat(self) -> bool:
        """Whether the cells follow one another without gaps."""
        return self.n_rows == 1 and self.stride == self.width

    def view(self, data: Rows, n_tokens: int) -> Rows:
        """The plane as an array [row, cell, byte] over `data`."""
        shape, strides = (self.n_rows, n_tokens, self.width), (self.row_stride, self.stride, 1)
        return np.ndarray(shape, np.uint8, data.data, self.offset, strides)


def size_of(sections: tuple[Section, ...], n_tokens: int) -> int:
    """Bytes of the state of so many tokens."""
    return _HEAD.size + sum(section.size(n_tokens) for section in sections)


def check_head(data: Rows) -> None:
    """Raises UnknownFormat if this is no state of a sequence."""
    if data.size <= _HEAD.size or _HEAD.unpack_from(data.data)[0] != _MAGIC:
        raise UnknownFormat("the state of a sequence does not begin as it should")


def frame(sections: tuple[Section, ...], n_tokens: int) -> Rows:
    """A state of sequence 0 in stream 0 in which only the planes are still to be filled in."""
    data = np.empty(size_of(sections, n_tokens), np.uint8)
    _HEAD.pack_into(data.data, 0, _MAGIC, 0)
    offset = _HEAD.size
    for section in sections:
        struct.pack_into("<II", data.data, offset, section.n_streams, n_tokens)
        offset += 8
        end = offset + section.cell_bytes * n_tokens
        cells = data[offset:end].view(np.int32).reshape(n_tokens, section.cell_bytes // 4)
        cells[:, 0], cells[:, 1], cells[:, -1] = np.arange(n_tokens), 1, 0
        _LAYERS.pack_into(data.data, end, section.is_transposed, section.n_layers)
        offset = end + _LAYERS.size
        for index, plane in enumerate(section.planes):
            if section.is_transposed and index >= section.n_layers:
                _TRANSPOSED.pack_into(data.data, offset, plane.kind, plane.width, plane.n_rows)
            else:
                _PLANE.pack_into(data.data, offset, plane.kind, plane.width)
            offset += _PLANE.size + plane.width * plane.n_rows * n_tokens
        data[offset : offset + 4 * (section.n_streams - 1)] = 0
        offset += 4 * (section.n_streams - 1)
    return data


def shift(data: Rows, sections: tuple[Section, ...], n_tokens: int, first: int) -> None:
    """Let a framed state, whose positions begin at 0, begin at `first`."""
    offset = _HEAD.size
    for section in sections:
        cells = data[offset + 8 : offset + 8 + section.cell_bytes * n_tokens].view(np.int32)
        cells.reshape(n_tokens, section.cell_bytes // 4)[:, 0] += first
        offset += size_of((section,), n_tokens) - _HEAD.size


def places(data: Rows, sections: tuple[Section, ...], n_tokens: int) -> list[Place]:
    """Where the planes are; UnknownFormat unless every byte is accounted for."""
    check_head(data)
    if data.size != size_of(sections, n_tokens):
        raise UnknownFormat(f"the state of {n_tokens} tokens has an unexpected size")
    found: list[Place] = []
    offset = _HEAD.size
    for section in sections:
        more, offset = _section_places(data, offset, section, n_tokens)
        found += more
    return found


def guess(data: Rows, n_tokens: int) -> tuple[Section, ...]:
    """The sections of a state of so many tokens; UnknownFormat if no reading ends where the bytes end."""
    check_head(data)
    sections = _guess(data, _HEAD.size, n_tokens)
    if not sections:
        raise UnknownFormat("the state of a sequence has an unknown form")
    return sections


def _section_places(data: Rows, offset: int, section: Section, n_tokens: int) -> tuple[list[Place], int]:
    """The section's planes and where the next section begins."""
    if _read(_U32, data, offset)[0] != section.n_streams:
        raise UnknownFormat("the state has another number of streams")
    stream, offset = _skip_empty(data, offset + 4, section.n_streams)
    if _read(_U32, data, offset)[0] != n_tokens:
        raise UnknownFormat(f"the state does not hold {n_tokens} tokens")
    cells, offset = offset + 4, offset + 4 + n_tokens * section.cell_bytes
    order = _order(data[cells:offset], section.cell_bytes, n_tokens)
    if _read(_LAYERS, data, offset) != (section.is_transposed, section.n_layers):
        raise UnknownFormat("the state has other layers")
    offset += _LAYERS.size
    found = [Place(cells + 8, _EXTRA_BYTES, 1, section.cell_bytes, 0, order)] if section.has_extra else []
    for index, plane in enumerate(section.planes):
        if _plane(data, offset, section.is_transposed and index >= section.n_layers) != plane:
            raise UnknownFormat("the state has keys or values of another type")
        offset += _PLANE.size
        row_stride = plane.width * n_tokens
        found.append(Place(offset, plane.width, plane.n_rows, plane.width, row_stride, order))
        offset += row_stride * plane.n_rows
    rest = 4 * (section.n_streams - stream - 1)
    if data[offset : offset + rest].any():
        raise UnknownFormat("the state lies in several streams")
    return found, offset + rest


def _skip_empty(data: Rows, offset: int, n_streams: int) -> tuple[int, int]:
    """The first stream that has cells, and where its count stands."""
    counts = data[offset : offset + 4 * n_streams]
    filled = np.flatnonzero(counts[: counts.size // 4 * 4].view(np.uint32))
    if not filled.size:
        raise UnknownFormat("the state is empty")
    return int(filled[0]), offset + 4 * int(filled[0])


def _order(cells: Rows, cell_bytes: int, n_tokens: int) -> NDArray[np.intp] | None:
    """See Place; UnknownFormat unless the cells are those of positions 0 … n_tokens-1 of one sequence."""
    meta = cells.view(np.int32).reshape(n_tokens, cell_bytes // 4)
    expected = np.arange(n_tokens, dtype=np.int32)
    if (meta[:, 1] != 1).any():
        raise UnknownFormat("a cell of the state belongs to several sequences")
    if (meta[:, 0] == expected).all():
        return None
    order = np.argsort(meta[:, 0], kind="stable")
    if (meta[order, 0] != expected).any():
        raise UnknownFormat(f"the state is not that of positions 0 to {n_tokens - 1}")
    return order


def _guess(data: Rows, offset: int, n_tokens: int) -> tuple[Section, ...]:
    """The sections from `offset` to the very end; () if there is no such reading."""
    for has_extra in (False, True):
        for has_values in (True, False):
            try:
                section = _guess_section(data, offset, n_tokens, has_extra, has_values)
                _, end = _section_places(data, offset, section, n_tokens)
            except (UnknownFormat, struct.error, ValueError):
                continue
            if end == data.size:
                return (section,)
            if rest := _guess(data, end, n_tokens):
                return (section, *rest)
    return ()


def _guess_section(data: Rows, offset: int, n_tokens: int, has_extra: bool, has_values: bool) -> Section:
    (n_streams,) = _read(_U32, data, offset)
    if not 1 <= n_streams <= _MAX_STREAMS:
        raise UnknownFormat("the state has an absurd number of streams")
    _, offset = _skip_empty(data, offset + 4, n_streams)
    offset += 4 + n_tokens * (12 + _EXTRA_BYTES * has_extra)
    is_transposed, n_layers = _read(_LAYERS, data, offset)
    if is_transposed > 1 or not 1 <= n_layers <= _MAX_LAYERS:
        raise UnknownFormat("the state has an absurd number of layers")
    offset += _LAYERS.size
    planes: list[Plane] = []
    for index in range(n_layers * (1 + has_values)):
        plane = _plane(data, offset, bool(is_transposed) and index >= n_layers)
        planes.append(plane)
        offset += _PLANE.size + plane.width * plane.n_rows * n_tokens
    return Section(n_streams, has_extra, bool(is_transposed), n_layers, tuple(planes))


def _plane(data: Rows, offset: int, is_transposed: bool) -> Plane:
    plane = Plane(*_read(_TRANSPOSED if is_transposed else _PLANE, data, offset))
    if not 0 <= plane.kind <= _MAX_TYPE or not 1 <= plane.width * plane.n_rows <= _MAX_BYTES:
        raise UnknownFormat("the state has absurd keys or values")
    return plane


def _read(form: struct.Struct, data: Rows, offset: int) -> tuple[int, ...]:
    return form.unpack_from(data.data, offset)
