"""The format of a block's file, and nothing else: no directory, no thread, no decision.

    header · key (packed tokens of the block) · checksum of both · rows

The name tells id and rank, so that a rank changes by renaming; the modification time tells when the block was
used last. Nothing that is read is trusted: what is damaged, truncated, another model's or of another version
reads as None.
"""

import hashlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llmatic.engines.llama.tiers.layout import Rows
from llmatic.engines.llama.tiers.tree import TOKEN_BYTES

VERSION = 1
N_RANKS = 3
NAME = re.compile(r"([0-9a-f]{32})-([0-2])\.kv")
_MAGIC = b"llmatKV\n"
_HEADER = struct.Struct("<8sI16s32s16s16sIQ16s")
_SUM_BYTES = 16
_FIRST_READ_BYTES = 4096

Read = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Found:
    """What a file's header and name say. `used`: seconds since the epoch."""

    id: bytes
    parent_id: bytes
    namespace: bytes
    key: bytes
    n_row_bytes: int
    rank: int
    used: float


@dataclass(frozen=True, slots=True)
class Block:
    """What is to be written: ids of 16 bytes, the namespace's digest of 32, packed tokens, rows."""

    id: bytes
    parent_id: bytes
    namespace: bytes
    key: bytes
    rows: Rows
    rank: int
    used: float


def name_of(id: bytes, rank: int) -> str:
    """The name of a block's file."""
    return f"{id.hex()}-{rank}.kv"


def file_bytes(key: bytes, n_row_bytes: int) -> int:
    """How large a block's file is."""
    return _HEADER.size + len(key) + _SUM_BYTES + n_row_bytes


def head_of(block: Block, model: bytes) -> bytes:
    """Everything before the rows; `model` are the 16 bytes that every file of the model has."""
    rows = block.rows
    head = _HEADER.pack(
        _MAGIC,
        VERSION,
        model,
        block.namespace,
        block.parent_id,
        block.id,
        len(block.key),
        rows.nbytes,
        _checksum(rows.data),
    )
    return head + block.key + _checksum(head + block.key)


def read_head(read: Read, name: str, model: bytes, used: float) -> Found | None:
    """The header alone; the rows have not been looked at."""
    parsed = _parse(read, name, model, used)
    return parsed[0] if parsed is not None else None


def read_rows(read: Read, name: str, model: bytes) -> Rows | None:
    """The rows of an open file, checked."""
    parsed = _parse(read, name, model, 0)
    if parsed is None:
        return None
    found, checksum, beginning = parsed
    rows = np.empty(found.n_row_bytes, np.uint8)
    n = len(beginning)
    if n > rows.nbytes:
        return None
    rows[:n] = np.frombuffer(beginning, np.uint8)
    while n < rows.nbytes:
        more = read(rows.nbytes - n)
        if not more:
            return None
        rows[n : n + len(more)] = np.frombuffer(more, np.uint8)
        n += len(more)
    return rows if not read(1) and _checksum(rows.data) == checksum else None


def _parse(read: Read, name: str, model: bytes, used: float) -> tuple[Found, bytes, bytes] | None:
    """What the header says, the checksum of the rows, and the bytes that were read beyond."""
    data = read(_FIRST_READ_BYTES)
    matched = NAME.fullmatch(name)
    if len(data) < _HEADER.size or matched is None:
        return None
    magic, version, theirs, namespace, parent_id, id, n_key, n_rows, checksum = _HEADER.unpack_from(data)
    if (magic, version, theirs) != (_MAGIC, VERSION, model):
        return None
    if id.hex() != matched[1] or n_key % TOKEN_BYTES or not n_key:
        return None
    end = _HEADER.size + n_key
    while len(data) < end + _SUM_BYTES:
        more = read(end + _SUM_BYTES - len(data))
        if not more:
            return None
        data += more
    if _checksum(data[:end]) != data[end : end + _SUM_BYTES]:
        return None
    key = data[_HEADER.size : end]
    found = Found(id, parent_id, namespace, key, n_rows, int(matched[2]), used)
    return found, checksum, data[end + _SUM_BYTES :]


def _checksum(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()[:_SUM_BYTES]
