"""A store over files for the tests of the disk tier."""

import os
from collections.abc import Callable
from pathlib import Path

from llmatic.core.types import CacheRetention
from llmatic.engines.llama.tiers.codec import SlicedCodec, WholeCodec
from llmatic.engines.llama.tiers.disk import DiskStore
from llmatic.engines.llama.tiers.store import StateStore
from tests.engines.llama.tiers.states import made_up

BLOCK, LARGE = 4, 1 << 20
TOKENS = list(range(10))
NOW = 1_000_000.0
A = b"a"


class Opened:
    """A store over files, its states made up from the tokens."""

    def __init__(self, directory: Path, *, model: str = "model", ram_bytes: int = LARGE,
                 max_bytes: int = LARGE, write: Callable[[int, memoryview], int] = os.write,
                 is_whole: bool = False) -> None:  # fmt: skip
        codec = WholeCodec() if is_whole else SlicedCodec()
        codec.probe(made_up([1, 2, 3]), 3)
        self.disk = DiskStore(directory, model, max_bytes=max_bytes, write=write)
        self.store = StateStore(codec, ram_bytes=ram_bytes, disk=self.disk, block_tokens=BLOCK)
        self.store.check_integrity()
        self.now = NOW

    def put(
        self,
        tokens: list[int],
        *,
        retention: CacheRetention | None = None,
        keyed: bool = False,
        namespace: bytes = A,
    ) -> None:
        state = made_up(tokens, namespace[0])
        self.store.put(namespace, tokens, state, retention=retention, keyed=keyed, now=self.now)
        self.store.check_integrity()

    def match(self, tokens: list[int], namespace: bytes = A) -> int:
        return self.store.match(namespace, tokens)

    def get(self, tokens: list[int], n: int, namespace: bytes = A) -> bool:
        state = self.store.get(namespace, tokens, n, self.now)
        self.store.check_integrity()
        assert state is None or state.tobytes() == made_up(tokens[:n], namespace[0]).tobytes()
        return state is not None

    def settle(self) -> None:
        assert self.disk.drain(30)
        self.store.check_integrity()

    def files(self) -> list[Path]:
        self.settle()
        return sorted(self.disk.directory.iterdir())

    def stat(self, name: str) -> float:
        self.settle()
        return self.store.stats()[name]

    def close(self) -> None:
        self.store.close(30)


OpenStore = Callable[..., Opened]
