"""Computed prompts outside the context: in RAM, and behind that on disk.

Owns which blocks of which prompts are kept and who goes when a tier is full; a block is a run of tokens with
the rows of its state. The engine thread calls `put` and `get`, the intake thread `match` and `prefetch`, the
disk's thread reports failures; a lock is held while the tree is walked, never while bytes are copied or read.
Time comes in with the calls: `now` is seconds since the epoch, because files outlive the process.

Who goes first, in each tier: the least recently used block that has no longer prompt behind it in that tier.
A keyed one counts as used an hour later than it was. Out of RAM a block goes to disk, if it may and is not
there yet, with those before it. On disk, blocks for a day go only when there are no others, or when unused
for a day, and then at once. Keyed blocks and those for a day are written when they are put, the rest when
RAM has no room for them or when the store is closed.
"""

import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmatic.core.types import CacheRetention
from llmatic.engines.llama.tiers.blockfile import file_bytes
from llmatic.engines.llama.tiers.codec import Codec, State
from llmatic.engines.llama.tiers.disk import DiskStore
from llmatic.engines.llama.tiers.keeper import NODE_BYTES, Keeper
from llmatic.engines.llama.tiers.layout import Rows, UnknownFormat
from llmatic.engines.llama.tiers.tree import TOKEN_BYTES, Node, digest_of, pack

BLOCK_TOKENS = 64

Tokens = Sequence[int] | NDArray[np.int32]


class StateStore:
    """A prefix tree of blocks per namespace. `codec` must have been probed; prompts may have any length.

    `ram_bytes` 0: nothing stays in RAM, everything that may goes to `disk`, if there is one. Rows that wait
    to be written come on top of `ram_bytes`; the disk bounds them.
    """

    def __init__(
        self, codec: Codec, *, ram_bytes: int, disk: DiskStore | None, block_tokens: int = BLOCK_TOKENS
    ) -> None:
        """Take over what `disk` has found. Raises UnknownFormat if the codec was not probed."""
        self._codec = codec
        self._disk = disk
        self._block_tokens = block_tokens if codec.is_sliced else 0
        self._keeper = Keeper(codec, self._block_tokens, ram_bytes, disk)
        self._has_ram = ram_bytes > 0
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("hits", "misses", "hit_tokens", "put_tokens", "lost", "unknown"), 0)
        if disk:
            disk.on_failed = self._on_failed

    # -- reading

    def match(self, namespace: bytes, tokens: Tokens, *, is_near: bool = False) -> int:
        """How many leading tokens could be restored; `is_near`: without reading the disk."""
        packed = pack(tokens)
        with self._lock:
            path, n_found = self._keeper.tree.match(digest_of(namespace), packed)
            if not is_near:
                return n_found
            n_near = 0
            for node in path:
                if node.rows is None:
                    break
                n_near += node.n_tokens
            return min(n_near, n_found)

    def prefetch(self, namespace: bytes, tokens: Tokens) -> int:
        """Bring what lies on disk into RAM; how many tokens that were. For a thread that may wait."""
        n_read = 0
        if self._disk and self._has_ram:
            packed = pack(tokens)
            with self._lock:
                path, _ = self._keeper.tree.match(digest_of(namespace), packed)
                room = self._keeper.ram.budget_bytes
                wanted = []
                for node in path:
                    room -= self._codec.row_bytes(node.n_tokens) + NODE_BYTES
                    if room >= 0:
                        wanted.append((node, node.rows))
            n_read = sum(node.n_tokens for node, rows in wanted if rows is None)
            if n_read:
                self._load(wanted)
        return n_read

    @property
    def block_tokens(self) -> int:
        """At multiples of so many tokens a state may begin; 0: only at the first."""
        return self._block_tokens

    def get(self, namespace: bytes, tokens: Tokens, n: int, now: float, *, first: int = 0) -> Rows | None:
        """A state of exactly the tokens from `first`, a multiple of `block_tokens`, to `n`.

        None if it was lost since `match`. Reads the disk for what was not prefetched.
        """
        packed = pack(tokens[:n])
        with self._lock:
            self._keeper.expire(now)
            path, n_found = self._keeper.tree.match(digest_of(namespace), packed)
            if n_found < n or not n:
                self._counts["misses"] += 1
                return None
            self._keeper.touch(path, now)
            n_skipped = first // self._block_tokens if first else 0
            wanted = [(node, node.rows) for node in path[n_skipped:]]
        loaded = self._load(wanted)
        if loaded is None:
            self._counts["misses"] += 1
            return None
        lengths = _lengths(path, n)[n_skipped:]
        state = self._codec.compose(list(zip(loaded, lengths, strict=True)), first)
        self._counts["hits"] += 1
        self._counts["hit_tokens"] += n - first
        return state

    def _load(self, wanted: list[tuple[Node, Rows | None]]) -> list[Rows] | None:
        """The rows of all of a path's nodes, which then are in RAM; None if the disk has lost some."""
        loaded: list[Rows] = []
        for node, rows in wanted:
            if rows is None:
                rows = self._read(node)
                if rows is None:
                    return None
            loaded.append(rows)
        with self._lock:
            path = [node for node, _ in wanted]
            if self._has_ram:
                for node, rows in zip(path, loaded, strict=True):
                    if node.rows is None and node.is_filed:
                        node.rows = rows
                self._keeper.take_in(path)
                self._keeper.touch(path, self._keeper.now)
                self._keeper.trim()
        return loaded

    def _read(self, node: Node) -> Rows | None:
        rows = self._disk.read(node.id) if self._disk else None
        expected = self._codec.row_bytes(node.n_tokens)
        if rows is not None and expected in (0, rows.nbytes):
            return rows
        with self._lock:
            if node.rows is not None:
                return node.rows
            if node.is_filed:
                self._counts["lost"] += 1
                self._keeper.unfile(node)
        return None

    # -- writing

    def put(
        self,
        namespace: bytes,
        tokens: Tokens,
        state: State,
        *,
        retention: CacheRetention | None,
        keyed: bool,
        now: float,
    ) -> None:
        """Keep the state of a sequence that holds exactly `tokens`; only what is not there yet is copied.

        What does not fit is left out from the end. A state that the codec does not know is not kept.
        """
        digest, keys = digest_of(namespace), self._keeper.tree.blocks(pack(tokens))
        may_be_filed = self._disk is not None and retention != "in_memory"
        with self._lock:
            self._keeper.expire(now)
            missing = self._missing(digest, keys, may_be_filed)
        size = len(keys[0]) // TOKEN_BYTES if keys else 0
        ranges = [(i * size, i * size + len(keys[i]) // TOKEN_BYTES) for i in missing]
        try:
            cut = dict(
                zip(missing, self._codec.cut(state, len(tokens), ranges) if ranges else [], strict=True)
            )
        except UnknownFormat:
            self._counts["unknown"] += 1
            return
        with self._lock:
            path = self._insert(digest, keys, cut, may_be_filed)
            self._wanted(path, retention, keyed, now)

    def renew(
        self, namespace: bytes, tokens: Tokens, *, retention: CacheRetention | None, keyed: bool, now: float
    ) -> bool:
        """As `put` of tokens that are all kept already, without a state; False if they are not."""
        digest, keys = digest_of(namespace), self._keeper.tree.blocks(pack(tokens))
        may_be_filed = self._disk is not None and retention != "in_memory"
        with self._lock:
            path = self._insert(digest, keys, {}, may_be_filed)
            if len(path) < len(keys):
                return False
            self._wanted(path, retention, keyed, now)
            return True

    def _wanted(self, path: list[Node], retention: CacheRetention | None, keyed: bool, now: float) -> None:
        """A path has been put: note what for, and see to it that it is where it should be."""
        may_be_filed = self._disk is not None and retention != "in_memory"
        is_day = may_be_filed and retention == "24h"
        self._keeper.mark(path, may_be_filed=may_be_filed, is_keyed=keyed, is_day=is_day)
        self._keeper.take_in(path)
        self._keeper.touch(path, now)
        if path and path[-1].may_be_filed and (path[-1].rank or not self._has_ram):
            self._keeper.file(path[-1])
        self._keeper.trim()

    def _missing(self, digest: bytes, keys: list[bytes], may_be_filed: bool) -> list[int]:
        """The indexes of the blocks whose rows have to be copied, none that would not fit in any tier."""
        missing: list[int] = []
        node = self._keeper.tree.roots.get(digest)
        in_ram = on_disk = 0
        for index, key in enumerate(keys):
            n_row_bytes = self._codec.row_bytes(len(key) // TOKEN_BYTES)
            in_ram += n_row_bytes + NODE_BYTES
            on_disk += file_bytes(key, n_row_bytes)
            fits_disk = may_be_filed and on_disk <= self._keeper.files.budget_bytes
            if in_ram > self._keeper.ram.budget_bytes and not fits_disk:
                break
            node = self._holder(node, key, may_be_filed) if node is not None else None
            if node is None or (node.rows is None and node.key == key and self._has_ram):
                missing.append(index)
        return missing

    def _holder(self, parent: Node, key: bytes, may_be_filed: bool) -> Node | None:
        """The child that already holds this block's tokens, perhaps with more behind them.

        Not one with more if those may not go where these may.
        """
        kid = parent.find(key)
        if kid is None and self._codec.is_sliced:
            kid, n = parent.nearest(key)
            if kid is not None and (n * TOKEN_BYTES < len(key) or (may_be_filed and not kid.may_be_filed)):
                return None
        return kid

    def _insert(
        self, digest: bytes, keys: list[bytes], cut: dict[int, Rows], may_be_filed: bool
    ) -> list[Node]:
        """Put the rows into the tree; the path, up to where rows are missing."""
        path: list[Node] = []
        if 0 not in cut and digest not in self._keeper.tree.roots:
            return path
        node = self._keeper.tree.root(digest)
        for index, key in enumerate(keys):
            kid = self._holder(node, key, may_be_filed)
            rows = cut.get(index)
            if kid is None:
                if rows is None:
                    break
                kid = self._add(node, key, may_be_filed)
            if kid.rows is None and rows is not None and kid.key == key:
                kid.rows = rows
                self._counts["put_tokens"] += kid.n_tokens
            path.append(kid)
            node = kid
        return path

    def _add(self, parent: Node, key: bytes, may_be_filed: bool) -> Node:
        """A new block, which replaces shorter ones that it begins with."""
        kid = parent.add(key)
        if self._codec.is_sliced:
            for shorter in parent.beginnings_of(key):
                if may_be_filed or not shorter.may_be_filed:
                    kid.is_keyed |= shorter.is_keyed
                    kid.is_day |= shorter.is_day
                    self._keeper.remove(shorter)
        return kid

    # -- the end

    def flush(self, timeout_s: float = 10.0) -> None:
        """Write what may outlive this process, the most recently used first choice; waits at most so long."""
        if not self._disk:
            return
        deadline = time.monotonic() + timeout_s
        with self._lock:
            chosen: list[Node] = []
            size = 0
            for node in self._keeper.ram.newest_first():
                if node.may_be_filed and node.rows is not None:
                    size += file_bytes(node.key, node.rows.nbytes)
                    if size > self._disk.max_bytes:
                        break
                    chosen.append(node)
        for node in reversed(chosen):
            rows = node.rows
            if not self._disk.drain(deadline - time.monotonic(), rows.nbytes if rows is not None else 0):
                break
            with self._lock:
                if node.rows is not None and not node.is_filed:
                    self._keeper.file(node)
        self._disk.drain(deadline - time.monotonic())

    def close(self, timeout_s: float = 10.0) -> None:
        """Flush, then stop the disk's thread. Idempotent."""
        self.flush(timeout_s)
        if self._disk:
            self._disk.close()

    def stats(self) -> dict[str, float]:
        """Sizes now, and counts since the start."""
        keeper, disk = self._keeper, self._disk
        with self._lock:
            return {
                "ram_bytes": keeper.ram.used_bytes,
                "ram_blocks": len(keeper.ram),
                "disk_bytes": keeper.files.used_bytes,
                "disk_blocks": len(keeper.files),
                "disk_queue_bytes": disk.pending_bytes if disk else 0,
                **self._counts,
                "ram_evictions": keeper.n_evicted_ram,
                "disk_evictions": keeper.n_evicted_disk,
                "disk_expired": keeper.n_expired,
                "disk_written": disk.n_written if disk else 0,
                "disk_refused": disk.n_refused if disk else 0,
                "disk_failures": disk.n_failed if disk else 0,
                "disk_corrupt": disk.n_corrupt if disk else 0,
            }

    def check_integrity(self) -> None:
        """Raises AssertionError if the bookkeeping is wrong; for tests."""
        with self._lock:
            self._keeper.check_integrity()

    def _on_failed(self, id: bytes) -> None:
        with self._lock:
            self._keeper.lose(id)


def _lengths(path: list[Node], n: int) -> list[int]:
    """How many of the `n` tokens each node has."""
    lengths = []
    for node in path:
        lengths.append(min(node.n_tokens, n))
        n -= lengths[-1]
    return lengths
