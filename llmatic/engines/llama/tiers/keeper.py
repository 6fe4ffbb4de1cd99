"""Which blocks are in RAM and which on disk, and who goes when a tier is full.

Owns the tree and both tiers' bookkeeping. Called by the store with its lock held; never waits, never copies
rows, never reads files: it only tells the disk's queue what to write and delete.

Always true: a block is in RAM or on disk or both; what is on disk has all blocks before it on disk; in each
tier a block was used no later than those before it.
"""

from llmatic.engines.llama.tiers.blockfile import Block, Found, file_bytes
from llmatic.engines.llama.tiers.codec import Codec
from llmatic.engines.llama.tiers.disk import DiskStore
from llmatic.engines.llama.tiers.lru import Tier
from llmatic.engines.llama.tiers.tree import TOKEN_BYTES, Node, Tree

KEYED_CREDIT_S = 3600.0
DAY_S = 86400.0
NODE_BYTES = 1024  # what a block costs besides its rows, roughly
_FILE_TIME_ACCURACY_S = 60.0
_STEP_S = 1e-6


class Keeper:
    """See the module. `block_tokens` 0: whole states."""

    def __init__(self, codec: Codec, block_tokens: int, ram_bytes: int, disk: DiskStore | None) -> None:
        """Take over what `disk` has found."""
        self.tree = Tree(block_tokens)
        self.ram = Tier(ram_bytes, (0, KEYED_CREDIT_S))
        self.files = Tier(disk.max_bytes if disk else 0, (0, KEYED_CREDIT_S, float("inf")))
        self.now = 0.0
        self.n_evicted_ram = self.n_evicted_disk = self.n_expired = 0
        self._codec = codec
        self._disk = disk
        self._filed: dict[bytes, Node] = {}
        if disk:
            self._adopt(disk.found)
            disk.found = []

    def touch(self, path: list[Node], now: float) -> None:
        """All of a path was used. Two uses never have the same time, so that files keep their order."""
        self.now = max(now, self.now + _STEP_S)
        stale: list[bytes] = []
        for node in reversed(path):
            self.ram.touch(node, node.is_keyed, self.now)
            used = self.files.touch(node, node.rank, self.now)
            if used is not None and used < self.now - _FILE_TIME_ACCURACY_S:
                stale.append(node.id)
        if stale and self._disk:
            self._disk.touch(stale, self.now)

    def mark(self, path: list[Node], *, may_be_filed: bool, is_keyed: bool, is_day: bool) -> None:
        """What the caller asks for all blocks of a path; nobody takes back what another one asked."""
        for node in path:
            before = node.rank
            node.may_be_filed |= may_be_filed
            node.is_keyed |= is_keyed
            node.is_day |= is_day
            if node.is_filed and node.rank != before and self._disk:
                self._disk.rank(node.id, node.rank)

    def take_in(self, path: list[Node]) -> None:
        """Enter into the RAM tier what has got rows. The caller touches the path next and then trims."""
        for node in reversed(path):
            if node.rows is not None and node not in self.ram:
                self.ram.add(node, node.rows.nbytes + NODE_BYTES, node.is_keyed, self.now)

    def trim(self) -> None:
        """Let the RAM tier lose what is too much, to the disk if possible."""
        while self.ram.is_over and (node := self.ram.oldest()):
            if not node.is_filed and node.may_be_filed:
                self.file(node)
            self.ram.discard(node)
            node.rows = None
            self.n_evicted_ram += 1
            if not node.is_filed:
                self.remove(node)

    def file(self, last: Node) -> bool:
        """Have a block that may be filed written, after those before it. False if not all could be queued."""
        path = last.path()
        new = [node for node in path if not node.is_filed]
        if not new:
            return True
        if not self._disk or not self._disk.has_room(new[0].rows.nbytes if new[0].rows is not None else 0):
            return False
        self.now += _STEP_S
        for node in reversed(path):
            if not node.is_filed and node.rows is not None:
                node.is_filed = True
                self._filed[node.id] = node
                self.files.add(node, file_bytes(node.key, node.rows.nbytes), node.rank, self.now)
            else:
                self.files.touch(node, node.rank, self.now)
        waiting = set(new)
        self._make_room_for(waiting)
        digest = path[0].parent.key if path[0].parent is not None else b""
        for node in new:
            if node not in waiting or node.rows is None:
                return False
            above = node.parent.id if node.parent is not None else b""
            block = Block(node.id, above, digest, node.key, node.rows, node.rank, self.now)
            if not self._disk.write(block):
                for unwritten in waiting:
                    self._unmark(unwritten)
                return False
            waiting.discard(node)
        return True

    def _make_room_for(self, waiting: set[Node]) -> None:
        while self.files.is_over and (node := self.files.oldest()):
            if node in waiting:
                waiting.discard(node)
                self._unmark(node)
            else:
                self.n_evicted_disk += 1
                self.unfile(node)

    def _unmark(self, node: Node) -> None:
        node.is_filed = False
        self.files.discard(node)
        self._filed.pop(node.id, None)

    def unfile(self, node: Node) -> None:
        """The block's file, and those of all blocks behind it, are not to be used any more."""
        below = node.subtree()
        for each in below:
            if each.is_filed:
                self._unmark(each)
                if self._disk:
                    self._disk.delete(each.id)
        for each in below:
            if each.rows is None and each.parent is not None:
                self.remove(each)

    def lose(self, id: bytes) -> None:
        """The block of this id could not be written."""
        if id in self._filed:
            self.unfile(self._filed[id])

    def remove(self, node: Node) -> None:
        """Forget the block and all behind it."""
        for each in reversed(node.subtree()):
            self.ram.discard(each)
            each.rows = None
            if each.is_filed:
                self._unmark(each)
                if self._disk:
                    self._disk.delete(each.id)
            self.tree.remove(each)

    def expire(self, now: float) -> None:
        """Delete what was kept for a day and has not been used for one; it will not be written again."""
        while node := self.files.unused_since(2, now - DAY_S):
            self.n_expired += 1
            for each in node.subtree():
                each.may_be_filed = each.is_day = False
            self.unfile(node)

    def _adopt(self, found: list[Found]) -> None:
        """Make a tree of the files; those whose beginning is missing are deleted."""
        assert self._disk is not None
        behind: dict[bytes, list[Found]] = {}
        for file in found:
            behind.setdefault(file.parent_id, []).append(file)
        waiting = [self.tree.root(digest) for digest in {file.namespace for file in found}]
        used: dict[Node, float] = {}
        while waiting:
            node = waiting.pop()
            for file in behind.pop(node.id, []):
                kid = self._adopted(node, file)
                if kid is None:
                    self._disk.delete(file.id)
                else:
                    used[kid] = file.used
                    waiting.append(kid)
        for orphans in behind.values():
            for file in orphans:
                self._disk.delete(file.id)
        self._order(used)
        for digest in [digest for digest, root in self.tree.roots.items() if not root.has_kids]:
            del self.tree.roots[digest]
        self._make_room_for(set())

    def _adopted(self, parent: Node, file: Found) -> Node | None:
        if not self.tree.takes(parent, file.key):
            return None
        if self._codec.row_bytes(len(file.key) // TOKEN_BYTES) not in (0, file.n_row_bytes):
            return None
        kid = parent.add(file.key)
        if kid.id != file.id:
            kid.detach()
            return None
        kid.is_filed = kid.may_be_filed = True
        kid.is_keyed, kid.is_day = file.rank == 1, file.rank == 2
        self._filed[kid.id] = kid
        self.files.add(kid, file_bytes(file.key, file.n_row_bytes), 0, 0)
        return kid

    def _order(self, used: dict[Node, float]) -> None:
        """Touch all files as they were used; parents, which come before their children, as late as those."""
        depth: dict[Node, int] = {}
        for node in used:
            depth[node] = 1 + (depth.get(node.parent, 0) if node.parent else 0)
        for node in reversed(used):
            above = node.parent
            if above is not None and above in used:
                used[above] = max(used[above], used[node])
                above.is_keyed |= node.is_keyed
                above.is_day |= node.is_day
        for node in sorted(used, key=lambda each: (used[each], -depth[each])):
            self.files.touch(node, node.rank, used[node])
            self.now = max(self.now, used[node])

    def check_integrity(self) -> None:
        """Raises AssertionError if anything that is always true is not."""
        self.ram.check_integrity()
        self.files.check_integrity()
        assert not self.ram.is_over
        assert not self.files.is_over
        nodes = [node for root in self.tree.roots.values() for node in root.subtree() if node is not root]
        assert all(root.has_kids for root in self.tree.roots.values())
        for node in nodes:
            above = node.parent
            assert above is not None
            assert self.tree.takes(above, node.key)
            assert node.rows is not None or node.is_filed
            assert (node.rows is not None) == (node in self.ram)
            assert node.is_filed == (node in self.files) == (self._filed.get(node.id) is node)
            assert node.may_be_filed or not node.is_filed
            if above.parent is not None:
                assert above.is_filed or not node.is_filed
                assert above.may_be_filed or not node.may_be_filed
                assert above.rank >= node.rank
                assert above.is_keyed or not node.is_keyed
            if node.rows is not None:
                assert self._codec.row_bytes(node.n_tokens) in (0, node.rows.nbytes)
        assert len(self.ram) == sum(node.rows is not None for node in nodes)
        assert len(self.files) == len(self._filed) == sum(node.is_filed for node in nodes)
        self.tree.check_integrity()
