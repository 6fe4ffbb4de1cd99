"""A prefix tree over token ids whose nodes are blocks of tokens; pure, and locked by whoever owns it.

Tokens are kept as big-endian int32 bytes, so that the order of bytes is the order of tokens: among sorted
siblings, whoever has most in common with a key stands next to where that key would go. A node's `key` is a
block of tokens; only full blocks have children, so no node is ever split. A tree of whole states has blocks
of any length directly under the root.

Never decides what is kept: that is the store's work.
"""

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmatic.engines.llama.tiers.layout import Rows

TOKEN_BYTES = 4
_ID_BYTES = 16


def pack(tokens: Sequence[int] | NDArray[np.int32]) -> bytes:
    """The tokens as the tree keeps them."""
    return np.asarray(tokens, ">i4").tobytes()


def digest_of(namespace: bytes) -> bytes:
    """The key of a namespace's root: 32 bytes that do not tell the salt."""
    return hashlib.blake2b(namespace, digest_size=32).digest()


def n_shared(a: bytes, b: bytes) -> int:
    """How many leading tokens two packed runs have in common."""
    n = min(len(a), len(b))
    difference = int.from_bytes(a[:n], "big") ^ int.from_bytes(b[:n], "big")
    return (8 * n - difference.bit_length()) // (8 * TOKEN_BYTES)


class Node:
    """A block of tokens; the root of a namespace has that namespace's digest as its key.

    `rows`: its state in RAM. `is_filed`: it is on disk, or waits to be written. `may_be_filed`: someone who
    put it allows that. `is_keyed`, `is_day`: what those who put it asked for. Whatever is true of a node in
    these three is true of all above it.
    """

    __slots__ = (
        "_id",
        "_keys",
        "_kids",
        "is_day",
        "is_filed",
        "is_keyed",
        "key",
        "may_be_filed",
        "parent",
        "rows",
    )

    def __init__(self, key: bytes, parent: "Node | None") -> None:
        self.key = key
        self.parent = parent
        self.rows: Rows | None = None
        self.is_filed = self.may_be_filed = self.is_keyed = self.is_day = False
        self._keys: list[bytes] = []
        self._kids: dict[bytes, Node] = {}
        self._id: bytes | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens of the block."""
        return len(self.key) // TOKEN_BYTES

    @property
    def id(self) -> bytes:
        """16 bytes that stand for the namespace and all tokens up to the end of this block."""
        if self._id is None:
            above = self.parent.id if self.parent is not None else b""
            self._id = hashlib.blake2b(above + self.key, digest_size=_ID_BYTES).digest()
        return self._id

    @property
    def rank(self) -> int:
        """How dear it is to the disk tier: 0 nobody asked, 1 keyed, 2 for a day."""
        return 2 if self.is_day else int(self.is_keyed)

    def find(self, key: bytes) -> "Node | None":
        """The child of exactly this block."""
        return self._kids.get(key)

    def nearest(self, key: bytes) -> "tuple[Node | None, int]":
        """The child with most leading tokens in common with `key`, and how many; (None, 0) if none has."""
        kid = self._kids.get(key)
        if kid is not None:
            return kid, kid.n_tokens
        at = bisect_left(self._keys, key)
        best, most = None, 0
        for other in self._keys[max(0, at - 1) : at + 1]:
            n = n_shared(other, key)
            if n > most:
                best, most = other, n
        return (self._kids[best], most) if best is not None else (None, 0)

    def longest_within(self, key: bytes) -> "Node | None":
        """The child with the longest block that `key` begins with."""
        while key:
            at = bisect_right(self._keys, key)
            if not at:
                return None
            candidate = self._keys[at - 1]
            n = n_shared(candidate, key) * TOKEN_BYTES
            if n == len(candidate):
                return self._kids[candidate]
            key = key[:n]
        return None

    def beginnings_of(self, key: bytes) -> "list[Node]":
        """Children with shorter blocks that `key` begins with."""
        found: list[Node] = []
        at = bisect_left(self._keys, key)
        while at and key.startswith(self._keys[at - 1]):
            at -= 1
            found.append(self._kids[self._keys[at]])
        return found

    def add(self, key: bytes) -> "Node":
        """A new child."""
        kid = self._kids[key] = Node(key, self)
        insort(self._keys, key)
        return kid

    def detach(self) -> None:
        """Leave the parent. Nothing happens if that was done before."""
        parent, self.parent = self.parent, None
        if parent is not None:
            del parent._kids[self.key]
            del parent._keys[bisect_left(parent._keys, self.key)]

    @property
    def has_kids(self) -> bool:
        """Whether there are children."""
        return bool(self._keys)

    def check_links(self) -> None:
        """Raises AssertionError if the children are not in order or do not know their parent."""
        assert self._keys == sorted(self._kids)
        assert all(kid.key == key and kid.parent is self for key, kid in self._kids.items())

    def path(self) -> "list[Node]":
        """From the first block below the root to this one."""
        found: list[Node] = []
        node: Node = self
        while node.parent is not None:
            found.append(node)
            node = node.parent
        found.reverse()
        return found

    def subtree(self) -> "list[Node]":
        """This node and all below it, each before those below it."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting.extend(node._kids.values())
        return found


class Tree:
    """The roots of all namespaces. `block_tokens` 0: whole states, one node each."""

    def __init__(self, block_tokens: int) -> None:
        self._block_bytes = block_tokens * TOKEN_BYTES
        self.roots: dict[bytes, Node] = {}

    def blocks(self, packed: bytes) -> list[bytes]:
        """The tokens cut into blocks, of which only the last one may be short."""
        size = self._block_bytes or len(packed) or 1
        return [packed[at : at + size] for at in range(0, len(packed), size)]

    def takes(self, parent: Node, key: bytes) -> bool:
        """Whether a block may stand there."""
        is_full = parent.parent is None or 0 < len(parent.key) == self._block_bytes
        return is_full and (not self._block_bytes or len(key) <= self._block_bytes)

    def root(self, digest: bytes) -> Node:
        """The namespace's root, made if there is none."""
        if digest not in self.roots:
            self.roots[digest] = Node(digest, None)
        return self.roots[digest]

    def match(self, digest: bytes, packed: bytes) -> tuple[list[Node], int]:
        """The nodes that hold the most leading tokens, and how many tokens those are.

        Of the last node perhaps only a part, unless the states are whole.
        """
        node: Node | None = self.roots.get(digest)
        if node is None:
            return [], 0
        if not self._block_bytes:
            whole = node.longest_within(packed)
            return ([whole], whole.n_tokens) if whole is not None else ([], 0)
        path: list[Node] = []
        n_tokens = 0
        for key in self.blocks(packed):
            kid, n = node.nearest(key)
            if kid is None:
                break
            path.append(kid)
            n_tokens += n
            if n * TOKEN_BYTES < self._block_bytes:
                break
            node = kid
        return path, n_tokens

    def remove(self, node: Node) -> None:
        """Take a node without children out, and its root with it if that has no others."""
        root = node.parent
        node.detach()
        if root is not None and root.parent is None and not root.has_kids:
            self.roots.pop(root.key, None)

    def check_integrity(self) -> None:
        """Raises AssertionError if links, keys or their order are wrong."""
        for digest, root in self.roots.items():
            assert root.key == digest
            for node in root.subtree():
                node.check_links()
