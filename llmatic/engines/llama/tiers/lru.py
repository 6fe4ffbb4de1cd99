"""Who goes first when a tier is full. Pure; locked by whoever owns it.

A tier is one line of nodes per rank, each in the order of last use. A node's children must have been used no
later than itself and rank no higher: whoever touches a path does so from its end to its beginning. Then the
oldest node of the tier never has descendants in it, without anyone looking.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from llmatic.engines.llama.tiers.tree import Node


class Tier:
    """Nodes with sizes, at most `budget_bytes` of them if the owner heeds `oldest` and `is_over`.

    A node of rank r counts as if it had been used `credits_s[r]` seconds later than it was; credits rise.
    """

    def __init__(self, budget_bytes: int, credits_s: Sequence[float]) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._credits_s = tuple(credits_s)
        self._lines: list[OrderedDict[Node, float]] = [OrderedDict() for _ in credits_s]
        self._sizes: dict[Node, int] = {}

    def __contains__(self, node: Node) -> bool:
        return node in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def newest_first(self) -> Iterator[Node]:
        """All nodes, higher ranks first, each before its descendants."""
        for line in reversed(self._lines):
            yield from reversed(line)

    @property
    def is_over(self) -> bool:
        """Whether something has to go."""
        return self.used_bytes > self.budget_bytes

    def add(self, node: Node, size_bytes: int, rank: int, now: float) -> None:
        """Take the node in as the one used last."""
        self.discard(node)
        self._sizes[node] = size_bytes
        self.used_bytes += size_bytes
        self._lines[rank][node] = now

    def touch(self, node: Node, rank: int, now: float) -> float | None:
        """The node is used now. When it was used before; None if it is not here."""
        if node not in self._sizes:
            return None
        before = None
        for line in self._lines:
            before = line.pop(node, before)
        self._lines[rank][node] = now
        return before

    def discard(self, node: Node) -> None:
        """Forget the node if it is here."""
        size = self._sizes.pop(node, None)
        if size is not None:
            self.used_bytes -= size
            for line in self._lines:
                line.pop(node, None)

    def oldest(self) -> Node | None:
        """Who goes first."""
        best, best_age = None, float("inf")
        for line, credit_s in zip(self._lines, self._credits_s, strict=True):
            if line:
                node, used = next(iter(line.items()))
                if best is None or used + credit_s < best_age:
                    best, best_age = node, used + credit_s
        return best

    def unused_since(self, rank: int, when: float) -> Node | None:
        """The oldest node of that rank if it was last used before `when`."""
        for node, used in self._lines[rank].items():
            return node if used < when else None
        return None

    def check_integrity(self) -> None:
        """Raises AssertionError if sums, lines or their order are wrong."""
        assert self.used_bytes == sum(self._sizes.values())
        place: dict[Node, tuple[int, int]] = {}
        used: dict[Node, float] = {}
        for rank, line in enumerate(self._lines):
            assert list(line.values()) == sorted(line.values())
            for position, (node, when) in enumerate(line.items()):
                assert node not in place
                place[node], used[node] = (rank, position), when
        assert place.keys() == self._sizes.keys()
        for node, where in place.items():
            above = node.parent
            if above in place:
                assert place[above] > where
                assert used[above] >= used[node]
