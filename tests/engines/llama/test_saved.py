"""What is slower to read than to compute is left on disk."""

from collections.abc import Sequence
from typing import Any, cast

from llmatic.engines.llama.saved import SavedStates
from llmatic.engines.llama.tiers.store import StateStore


class Store:
    """10 tokens in RAM and 90 on disk, which takes `read_s` each to read."""

    def __init__(self) -> None:
        self.now = self.read_s = 0.0
        self.n_prefetched = 0

    def match(self, _namespace: bytes, _tokens: Sequence[int], *, is_near: bool) -> int:
        return 10 if is_near else 100

    def prefetch(self, _namespace: bytes, _tokens: Sequence[int]) -> int:
        self.n_prefetched += 1
        self.now += 90 * self.read_s
        return 90


def opened(store: Store) -> SavedStates:
    return SavedStates(cast(StateStore, cast(Any, store)), clock=lambda: store.now, prompt_s=lambda: 0.004)


def test_a_quick_disk_is_read() -> None:
    store = Store()
    store.read_s = 0.001
    saved = opened(store)
    for _ in range(5):
        saved.prefetch(b"", [])
        assert saved.match(b"", []) == 100
    assert store.n_prefetched == 5


def test_a_slow_disk_is_left_alone_and_tried_again() -> None:
    store = Store()
    store.read_s = 0.008
    saved = opened(store)
    saved.prefetch(b"", [])
    assert saved.match(b"", []) == 10
    for _ in range(100):
        saved.prefetch(b"", [])
    assert 1 < store.n_prefetched < 20
    store.read_s = 0.0001
    for _ in range(100):
        saved.prefetch(b"", [])
    assert saved.match(b"", []) == 100
