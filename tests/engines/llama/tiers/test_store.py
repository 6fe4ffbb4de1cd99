"""What is put can be had again, never from another namespace, never more than the budgets allow."""

import random
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from llmatic.core.types import CacheRetention
from llmatic.engines.llama.tiers.codec import Codec, SlicedCodec, WholeCodec
from llmatic.engines.llama.tiers.disk import DiskStore
from llmatic.engines.llama.tiers.keeper import NODE_BYTES
from llmatic.engines.llama.tiers.store import StateStore
from tests.engines.llama.tiers.states import made_up

BLOCK = 4
ROW = 16
FULL = BLOCK * ROW + NODE_BYTES
LARGE = 1 << 20
A, B = b"a", b"b"


def sliced() -> Codec:
    codec = SlicedCodec()
    codec.probe(made_up([1, 2, 3]), 3)
    return codec


class Asking:
    """A store with a clock; states are made up from namespace and tokens."""

    def __init__(
        self, ram_bytes: int = LARGE, disk: DiskStore | None = None, codec: Codec | None = None
    ) -> None:
        self.codec = codec or sliced()
        self.store = StateStore(self.codec, ram_bytes=ram_bytes, disk=disk, block_tokens=BLOCK)
        self.now = 1_000_000.0

    def put(
        self,
        tokens: Sequence[int],
        namespace: bytes = A,
        retention: CacheRetention | None = None,
        keyed: bool = False,
    ) -> None:
        state = made_up(tokens, namespace[0])
        self.store.put(namespace, tokens, state, retention=retention, keyed=keyed, now=self.now)
        self.store.check_integrity()

    def match(self, tokens: Sequence[int], namespace: bytes = A) -> int:
        return self.store.match(namespace, tokens)

    def get(self, tokens: Sequence[int], n: int, namespace: bytes = A) -> bool:
        """Whether it was there; it must be right."""
        state = self.store.get(namespace, tokens, n, self.now)
        self.store.check_integrity()
        assert state is None or state.tobytes() == made_up(tokens[:n], namespace[0]).tobytes()
        return state is not None


def test_any_beginning_of_what_was_put_is_there() -> None:
    asking, tokens = Asking(), list(range(11))
    asking.put(tokens)
    for n in range(1, 12):
        assert asking.match(tokens[:n]) == n
        assert asking.get(tokens, n)
        assert asking.match([*tokens[:n], 99, 98, 97, 96, 95]) == n
    assert asking.match([99]) == 0
    assert not asking.get([99], 1)
    assert not asking.get(tokens, 0)
    assert not asking.get([*tokens, 5], 12)


def test_namespaces_never_meet() -> None:
    asking, tokens = Asking(), list(range(9))
    asking.put(tokens, A)
    assert asking.match(tokens, B) == 0
    assert not asking.get(tokens, 3, B)
    asking.put(tokens[:5], B)
    assert asking.match(tokens, B) == 5
    assert asking.get(tokens, 9, A)
    assert asking.get(tokens, 5, B)


def test_only_what_is_new_is_kept() -> None:
    asking = Asking()
    asking.put(range(16))
    asking.put([*range(16), *range(50, 58)])
    assert asking.store.stats()["put_tokens"] == 24
    assert asking.store.stats()["ram_bytes"] == 6 * FULL
    asking.put([*range(8), 99])
    asking.put(range(10))
    assert asking.store.stats()["put_tokens"] == 25
    assert asking.get([*range(8), 99], 9)


def test_a_growing_prompt_replaces_its_short_last_block() -> None:
    asking = Asking()
    for n in range(1, 14):
        asking.put(range(n))
        assert asking.store.stats()["ram_blocks"] == (n + BLOCK - 1) // BLOCK
    assert asking.get(range(13), 13)


def test_the_least_recently_used_end_goes_first() -> None:
    asking = Asking(ram_bytes=5 * FULL)
    asking.put([1] * 8)
    asking.put([*[1] * 4, *[2] * 8])
    asking.put([3] * 4)
    assert asking.get([1] * 8, 8)
    asking.put([4] * 4)
    assert asking.match([1] * 4 + [2] * 8) == 8
    assert asking.match([1] * 8) == 8
    asking.put([5] * 8)
    assert asking.match([1] * 4 + [2] * 8) == 4
    assert asking.match([3] * 4) == 0


def test_keyed_prompts_outlive_others_by_an_hour() -> None:
    for passed_s, survivor in ((3500.0, 1), (3700.0, 2)):
        asking = Asking(ram_bytes=2 * FULL)
        asking.put([1] * 4, keyed=True)
        asking.now += passed_s
        asking.put([2] * 4)
        asking.now += 1
        asking.put([3] * 4)
        assert [asking.match([token] * 4) for token in (1, 2, 3)] == [
            4 * (n in (survivor, 3)) for n in (1, 2, 3)
        ]


def test_too_large_a_state_is_trimmed_to_its_beginning() -> None:
    asking = Asking(ram_bytes=3 * FULL + 10)
    asking.put(range(40))
    assert asking.match(range(40)) == 12
    assert asking.get(range(40), 12)
    asking = Asking(ram_bytes=FULL - 1)
    asking.put(range(40))
    assert asking.match(range(40)) == 0


def test_no_tier_keeps_nothing() -> None:
    asking = Asking(ram_bytes=0)
    asking.put(range(40), keyed=True, retention="24h")
    assert asking.match(range(40)) == 0
    asking.store.prefetch(A, range(40))
    asking.store.flush()


def test_a_state_in_another_form_is_not_kept() -> None:
    asking = Asking()
    asking.store.put(A, [1, 2, 3], made_up([1, 2]), retention=None, keyed=False, now=1)
    assert asking.match([1, 2, 3]) == 0
    assert asking.store.stats()["unknown"] == 1
    asking.store.put(A, [], made_up([1]), retention=None, keyed=False, now=1)
    asking.store.check_integrity()


def test_whole_states_only_match_whole() -> None:
    asking = Asking(codec=WholeCodec())
    asking.put([1, 2, 3, 4, 5, 6])
    asking.put([1, 2])
    asking.put([1, 2, 3, 9])
    assert asking.match([1, 2, 3, 4, 5]) == 2
    assert asking.match([1, 2, 3, 4, 5, 6, 7]) == 6
    assert asking.match([1]) == 0
    assert asking.match([1, 2, 3, 8, 8]) == 2
    assert asking.get([1, 2, 3, 4, 5, 6, 7], 6)
    assert not asking.get([1, 2, 3, 4, 5, 6, 7], 5)
    asking.put([1, 2])
    assert asking.store.stats()["ram_blocks"] == 3


def test_arrays_are_as_good_as_lists() -> None:
    asking = Asking()
    asking.put(range(9))
    tokens = np.arange(9, dtype=np.int32)
    assert asking.store.match(A, tokens) == 9
    assert asking.store.get(A, tokens, 5, 1) is not None


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    return next((n for n in count() if n >= min(len(a), len(b)) or a[n] != b[n]), 0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["sliced", "whole"])
@pytest.mark.parametrize("has_disk", [False, True])
def test_random_use_against_a_list_of_all_that_was_put(
    seed: int, kind: str, has_disk: bool, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    ram_bytes = draw.choice([0, 2 * FULL, 7 * FULL, LARGE])
    max_bytes, queue_bytes = draw.choice([500, 3000, LARGE]), draw.choice([100, 400, LARGE])
    disk = DiskStore(tmp_path, "model", max_bytes=max_bytes, queue_bytes=queue_bytes) if has_disk else None
    asking = Asking(ram_bytes, disk, sliced() if kind == "sliced" else WholeCodec())
    seen: dict[bytes, list[list[int]]] = {A: [], B: []}
    n_hits = 0
    for _ in range(700):
        namespace = draw.choice([A, B])
        old = draw.choice(seen[namespace] or [[]])
        tokens = [*old[: draw.randint(0, len(old))], *(draw.randint(0, 2) for _ in range(draw.randint(1, 9)))]
        asking.now += draw.choice([0, 0.1, 100, 5000, 40000])
        best = max((shared(tokens, other) for other in seen[namespace]), default=0)
        if kind == "whole":
            best = max((len(o) for o in seen[namespace] if o == tokens[: len(o)]), default=0)
        n = asking.match(tokens, namespace)
        assert n <= best
        if not has_disk and ram_bytes == LARGE:
            assert n == best
        if draw.random() < 0.5:
            asking.put(tokens, namespace, draw.choice([None, "in_memory", "24h"]), draw.random() < 0.2)
            seen[namespace].append(tokens)
        elif draw.random() < 0.3:
            asking.store.prefetch(namespace, tokens)
            asking.store.check_integrity()
        elif n:
            wanted = n if kind == "whole" else draw.randint(1, n)
            is_there = asking.get(tokens, wanted, namespace)
            assert is_there or has_disk
            n_hits += is_there
    assert n_hits or ram_bytes == 0
    asking.store.close(5)
    asking.store.check_integrity()
