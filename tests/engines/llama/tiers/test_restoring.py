"""From one context through RAM and disk into another one: the text goes on as if nothing had happened."""

from pathlib import Path

import numpy as np

from llmatic.engines.llama.backend import Backend
from llmatic.engines.llama.tiers import DiskStore, SlicedCodec, StateStore, WholeCodec
from llmatic.engines.llama.tiers.codec import Codec
from tests.engines.llama.tiers.states import Open, feed

TOKENS = [int(token) for token in np.random.default_rng(5).integers(0, 256, 150)]
NOW = 1_000_000.0


def probed(backend: Backend) -> SlicedCodec:
    codec = SlicedCodec()
    feed(backend, 0, [1, 2, 3])
    codec.probe(backend.save(0), 3)
    backend.free(0)
    return codec


def fill(backend: Backend, slot: int, tokens: list[int]) -> None:
    for start in range(0, len(tokens), 64):
        feed(backend, slot, tokens[start : start + 64])


def store_of(backend: Backend, codec: Codec, directory: Path, ram_bytes: int = 1 << 24) -> StateStore:
    disk = DiskStore(directory, f"small {codec.layout_key}", max_bytes=1 << 24)
    return StateStore(codec, ram_bytes=ram_bytes, disk=disk)


def test_a_prompt_survives_its_context(open_small: Open, tmp_path: Path) -> None:
    first = open_small()
    store = store_of(first, probed(first), tmp_path)
    fill(first, 1, TOKENS)
    store.put(b"", TOKENS, first.save(1), retention=None, keyed=False, now=NOW)
    expected = feed(first, 1, [7])
    store.close()

    second = open_small()
    store = store_of(second, probed(second), tmp_path)
    assert store.match(b"", [*TOKENS, 7]) == len(TOKENS)
    state = store.get(b"", TOKENS, len(TOKENS), NOW)
    assert state is not None
    second.restore(2, state, len(TOKENS))
    assert np.array_equal(feed(second, 2, [7]), expected)
    store.close()


def test_a_branch_of_a_prompt_goes_on_right(open_small: Open, tmp_path: Path) -> None:
    backend = open_small(is_unified=False)
    store = store_of(backend, probed(backend), tmp_path, ram_bytes=0)
    fill(backend, 0, TOKENS)
    store.put(b"", TOKENS, backend.save(0), retention="24h", keyed=False, now=NOW)
    for n in (1, 63, 64, 65, 100, 149):
        other = [*TOKENS[:n], 1, 2]
        matched = store.match(b"", other)
        assert n <= matched <= n + 2
        state = store.get(b"", other, n, NOW)
        assert state is not None
        backend.free(1)
        backend.restore(1, state, n)
        restored = feed(backend, 1, [9])
        backend.free(1)
        fill(backend, 1, TOKENS[:n])
        assert np.abs(feed(backend, 1, [9]) - restored).max() < 0.02
    store.close()


def test_a_growing_conversation_is_pieced_together_right(open_small: Open, tmp_path: Path) -> None:
    backend = open_small(type_k="q8_0", type_v="q8_0")
    store = store_of(backend, probed(backend), tmp_path)
    for start, end in ((0, 30), (30, 64), (64, 90), (90, 150)):
        feed(backend, 0, TOKENS[start:end])
        store.put(b"", TOKENS[:end], backend.save(0), retention=None, keyed=False, now=NOW)
    assert store.stats()["put_tokens"] == 30 + 64 + 26 + 64 + 22
    state = store.get(b"", TOKENS, 150, NOW)
    assert state is not None
    assert state.tobytes() == backend.save(0).tobytes()
    store.close()


def test_a_whole_state_goes_on_right(open_small: Open, tmp_path: Path) -> None:
    backend = open_small()
    store = store_of(backend, WholeCodec(), tmp_path, ram_bytes=0)
    fill(backend, 0, TOKENS)
    store.put(b"", TOKENS, backend.save(0), retention=None, keyed=False, now=NOW)
    assert store.match(b"", TOKENS[:100]) == 0
    state = store.get(b"", [*TOKENS, 1], len(TOKENS), NOW)
    assert state is not None
    backend.restore(1, state, len(TOKENS))
    assert np.abs(feed(backend, 1, [9]) - feed(backend, 0, [9])).max() < 0.02
    store.close()
