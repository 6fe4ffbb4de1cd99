"""Which tokens the cells of the cache hold, and who holds them.

Owns a radix tree per namespace. A node is a run of cells; the sequences whose text goes through it are its
holders, so that a prefix held by many is counted once and ends with its last holder. Pure: never calls
llama.cpp, has no clock and no thread. What a running sequence has written since it was last indexed is not
in here: the scheduler counts that itself.

Two sequences that computed the same tokens side by side have a node each: cells are counted as they are.
"""

from collections.abc import Iterable, Iterator, Sequence

_STRIDE = 64


class Node:
    """Tokens `start` … `end` of every holder's text. `n_active` of the holders are running."""

    __slots__ = ("children", "holders", "n_active", "parent", "start", "tokens", "used")

    def __init__(self, parent: "Node | None", start: int, tokens: list[int]) -> None:
        self.parent = parent
        self.start = start
        self.tokens = tokens
        self.children: dict[int, list[Node]] = {}
        self.holders: set[int] = set()
        self.n_active = 0
        self.used = 0

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.start + len(self.tokens)


class Match:
    """The first `n_tokens` of a text are held by `slot`."""

    __slots__ = ("n_tokens", "slot")

    def __init__(self, slot: int, n_tokens: int) -> None:
        self.slot = slot
        self.n_tokens = n_tokens


class CellTree:
    """Every text in the cache. A slot has one, is active (running) or idle, and ends where a node ends."""

    def __init__(self) -> None:
        self._roots: dict[bytes, Node] = {}
        self._tips: dict[int, Node] = {}
        self._active: set[int] = set()
        self._clock = 0
        self.n_cells = 0
        self.n_idle_cells = 0

    def open(self, slot: int, namespace: bytes) -> None:
        """An empty text for an active slot."""
        assert slot not in self._tips
        root = self._roots.get(namespace)
        if root is None:
            root = self._roots[namespace] = Node(None, 0, [])
        root.holders.add(slot)
        root.n_active += 1
        self._tips[slot] = root
        self._active.add(slot)

    def length(self, slot: int) -> int:
        """Tokens of the slot's text."""
        return self._tips[slot].end

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """The active slot's text goes on in cells of its own."""
        assert slot in self._active
        if not tokens:
            return
        tip = self._tips[slot]
        if tip.parent is None or tip.children or len(tip.holders) > 1:
            node = Node(tip, tip.end, list(tokens))
            node.holders.add(slot)
            node.n_active = 1
            tip.children.setdefault(tokens[0], []).append(node)
            self._tips[slot] = tip = node
        else:
            tip.tokens += tokens
        self.n_cells += len(tokens)
        self._touch(tip)

    def fork(self, source: int, target: int, n_tokens: int) -> None:
        """The active, empty slot `target` shares the first `n_tokens` of `source`."""
        assert target in self._active
        assert self.length(target) == 0
        node = self._tips[source]
        while node.start >= n_tokens and node.parent is not None:
            node = node.parent
        if node.start < n_tokens < node.end:
            node = self._split(node, n_tokens - node.start)
        assert node.end == n_tokens
        self._tips[target] = node
        self._touch(node)
        for held in _path(node):
            if held.parent is None:
                assert target in held.holders, "a text was shared across namespaces"
            else:
                held.holders.add(target)
                held.n_active += 1
                if held.n_active == 1:
                    self.n_idle_cells -= len(held.tokens)

    def trim(self, slot: int, n_tokens: int) -> None:
        """Cut the slot's text to its first `n_tokens`."""
        node = self._tips[slot]
        while node.start >= n_tokens and node.parent is not None:
            parent = node.parent
            self._let_go(node, slot)
            node = parent
        if n_tokens < node.end:
            upper = self._split(node, n_tokens - node.start)
            self._let_go(node, slot)
            node = upper
        assert node.end == n_tokens
        self._tips[slot] = node

    def drop(self, slot: int) -> None:
        """Forget the slot."""
        self.trim(slot, 0)
        root = self._tips.pop(slot)
        root.holders.discard(slot)
        if slot in self._active:
            self._active.discard(slot)
            root.n_active -= 1
        if not root.holders:
            self._roots = {name: node for name, node in self._roots.items() if node is not root}

    def rest(self, slot: int) -> None:
        """The active slot is idle from now on."""
        self._active.remove(slot)
        for node in _path(self._tips[slot]):
            node.n_active -= 1
            if node.n_active == 0:
                self.n_idle_cells += len(node.tokens)
        self._touch(self._tips[slot])

    def wake(self, slot: int) -> None:
        """The idle slot is active again."""
        assert slot not in self._active
        self._active.add(slot)
        for node in _path(self._tips[slot]):
            node.n_active += 1
            if node.n_active == 1:
                self.n_idle_cells -= len(node.tokens)
        self._touch(self._tips[slot])

    def move(self, source: int, target: int) -> None:
        """`target` takes the place of `source`, text and all."""
        assert target not in self._tips
        tip = self._tips.pop(source)
        self._tips[target] = tip
        for node in _path(tip):
            node.holders.discard(source)
            node.holders.add(target)
        if source in self._active:
            self._active.discard(source)
            self._active.add(target)

    def match(self, namespace: bytes, tokens: Sequence[int]) -> Match | None:
        """The longest beginning of `tokens` that a slot holds; None if there is none."""
        node, n_known = self._roots.get(namespace), 0
        found: Match | None = None
        while node is not None and n_known < len(tokens):
            best, n_best = None, 0
            for child in node.children.get(tokens[n_known], ()):
                n_common = common(child.tokens, 0, tokens, n_known)
                if n_common > n_best:
                    best, n_best = child, n_common
            if best is None:
                break
            n_known += n_best
            found = Match(next(iter(best.holders)), n_known)
            node = best if n_best == len(best.tokens) else None
        return found

    def n_idle_in(self, slot: int, n_tokens: int) -> int:
        """How many of the first `n_tokens` of the slot's text no active slot holds."""
        total = 0
        for node in _path(self._tips[slot]):
            if node.n_active == 0 and node.start < n_tokens:
                total += min(node.end, n_tokens) - node.start
        return total

    def last_used(self, slot: int) -> int:
        """When the end of the slot's text was last used; larger is later."""
        return self._tips[slot].used

    def is_redundant(self, slot: int) -> bool:
        """Whether all of the slot's text is held by others too."""
        tip = self._tips[slot]
        return tip.parent is None or len(tip.holders) > 1

    def oldest_leaf(self) -> Node | None:
        """The least recently used run of cells at the end of idle texts only; None if there is none."""
        tips = (tip for slot, tip in self._tips.items() if slot not in self._active)
        leaves = (tip for tip in tips if not tip.children and tip.parent is not None and not tip.n_active)
        return min(leaves, key=lambda node: node.used, default=None)

    def text(self, slot: int) -> list[int]:
        """The slot's tokens."""
        runs = [node.tokens for node in _path(self._tips[slot])]
        return [token for run in reversed(runs) for token in run]

    def check_integrity(self) -> None:
        """Raise AssertionError if anything contradicts itself. For tests."""
        n_cells = n_idle = 0
        seen: set[int] = set()
        for root in self._roots.values():
            assert root.holders
            for node in _subtree(root):
                n_cells += len(node.tokens)
                n_idle += len(node.tokens) if not node.n_active else 0
                assert node.n_active == len(node.holders & self._active)
                assert node.holders, "a node that nobody holds"
                assert node.parent is None or (node.tokens and node.holders <= node.parent.holders)
                for first, children in node.children.items():
                    assert children
                    for child in children:
                        assert child.parent is node
                        assert child.start == node.end
                        assert child.tokens[0] == first
                seen |= {slot for slot in node.holders if self._tips[slot] is node}
        assert seen == set(self._tips)
        assert n_cells == self.n_cells
        assert n_idle == self.n_idle_cells

    def _split(self, node: Node, n_upper: int) -> Node:
        """Cut a node in two; `node` becomes the lower part. Returns the upper one."""
        parent = node.parent
        assert parent is not None
        upper = Node(parent, node.start, node.tokens[:n_upper])
        upper.holders = set(node.holders)
        upper.n_active = node.n_active
        upper.used = node.used
        siblings = parent.children[node.tokens[0]]
        siblings[siblings.index(node)] = upper
        node.tokens = node.tokens[n_upper:]
        node.start += n_upper
        node.parent = upper
        upper.children[node.tokens[0]] = [node]
        return upper

    def _let_go(self, node: Node, slot: int) -> None:
        parent = node.parent
        assert parent is not None
        node.holders.discard(slot)
        if slot in self._active:
            node.n_active -= 1
            if node.n_active == 0:
                self.n_idle_cells += len(node.tokens)
        if node.holders:
            return
        self.n_cells -= len(node.tokens)
        self.n_idle_cells -= len(node.tokens)
        siblings = parent.children[node.tokens[0]]
        siblings.remove(node)
        if not siblings:
            del parent.children[node.tokens[0]]

    def _touch(self, node: Node) -> None:
        self._clock += 1
        for held in _path(node):
            held.used = self._clock


def common(left: Sequence[int], left_from: int, right: Sequence[int], right_from: int) -> int:
    """How many tokens of `left` from `left_from` on equal those of `right` from `right_from` on."""
    limit = min(len(left) - left_from, len(right) - right_from)
    n = 0
    while n < limit:
        width = min(_STRIDE, limit - n)
        ours = left[left_from + n : left_from + n + width]
        theirs = right[right_from + n : right_from + n + width]
        if type(ours) is not type(theirs):
            ours, theirs = tuple(ours), tuple(theirs)
        if ours != theirs:
            return n + next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        n += width
    return n


def _path(node: Node | None) -> Iterator[Node]:
    """The node and everything above it."""
    while node is not None:
        yield node
        node = node.parent


def _subtree(root: Node) -> Iterable[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += [child for children in node.children.values() for child in children]
