"""States of a real context are cut anywhere, put together again, and go on as if they had been computed."""

import struct
from typing import Any

import numpy as np
import pytest

from llmatic.engines.llama.tiers.codec import SlicedCodec, WholeCodec
from llmatic.engines.llama.tiers.layout import UnknownFormat
from tests.engines.llama.tiers.states import Open, feed, made_up

TOKENS = [int(token) for token in np.random.default_rng(3).integers(0, 256, 40)]

CACHES = pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_unified": False},
        {"type_k": "q8_0", "type_v": "q8_0"},
        {"type_k": "q8_0", "type_v": "q4_0", "is_unified": False},
        {"type_k": "f32", "type_v": "bf16"},
        {"is_unified": False, "has_flash_attention": False},
    ],
)


@CACHES
def test_any_cut_comes_together_again(open_small: Open, options: dict[str, Any]) -> None:
    backend, codec = open_small(**options), SlicedCodec()
    feed(backend, 0, TOKENS)
    blob, n = backend.save(0), len(TOKENS)
    codec.probe(blob, n)
    assert codec.row_bytes(n) < blob.size
    for at in range(1, n):
        head, tail = codec.cut(blob, n, [(0, at), (at, n)])
        assert codec.compose([(head, at), (tail, n - at)]).tobytes() == blob.tobytes()
    assert codec.compose([(codec.cut(blob, n, [(0, n)])[0], n)]).tobytes() == blob.tobytes()


@CACHES
def test_a_prefix_goes_on_in_another_slot_as_if_computed_there(
    open_small: Open, options: dict[str, Any]
) -> None:
    backend, codec = open_small(**options), SlicedCodec()
    feed(backend, 1, TOKENS)
    blob = backend.save(1)
    codec.probe(blob, len(TOKENS))
    n = 17
    first, second, _ = codec.cut(blob, len(TOKENS), [(0, 10), (10, 30), (30, 40)])
    backend.restore(2, codec.compose([(first, 10), (second, 7)]), n)
    restored = feed(backend, 2, TOKENS[n : n + 1])
    backend.clear()
    feed(backend, 0, TOKENS[:n])
    assert np.abs(feed(backend, 0, TOKENS[n : n + 1]) - restored).max() < 0.02
    assert np.abs(feed(backend, 0, [1]) - restored).max() > 0.1


def test_cells_in_disorder_are_put_in_order(open_small: Open) -> None:
    backend, codec = open_small(), SlicedCodec()
    for n, slot in enumerate([0, 1, 0, 1, 0]):
        feed(backend, slot, TOKENS[n * 4 : n * 4 + 4])
    backend.free(0)
    feed(backend, 1, TOKENS[20:40])
    blob, n = backend.save(1), backend.length(1)
    positions = blob[16 : 16 + 12 * n].view(np.int32).reshape(n, 3)[:, 0]
    assert (np.diff(positions) < 0).any(), "the cells lie in order, so this test shows nothing"
    codec.probe(blob, n)
    (rows,) = codec.cut(blob, n, [(0, n)])
    backend.restore(2, codec.compose([(rows, n)]), n)
    assert np.array_equal(codec.cut(backend.save(2), n, [(0, n)])[0], rows)
    assert np.abs(feed(backend, 2, [7]) - feed(backend, 1, [7])).max() < 0.02


def test_a_sequence_that_shares_cells_has_all_its_tokens(open_small: Open) -> None:
    backend, codec = open_small(), SlicedCodec()
    feed(backend, 0, TOKENS[:20])
    backend.fork(0, 1, 12)
    feed(backend, 1, TOKENS[30:35])
    blob = backend.save(1)
    codec.probe(blob, 17)
    (rows,) = codec.cut(blob, 17, [(0, 17)])
    backend.restore(2, codec.compose([(rows, 17)]), 17)
    assert np.abs(feed(backend, 2, [7]) - feed(backend, 1, [7])).max() < 0.02


def test_layout_keys_tell_caches_apart(open_small: Open) -> None:
    keys = []
    shapes: tuple[dict[str, Any], ...] = (
        {},
        {},
        {"type_v": "q8_0"},
        {"is_unified": False},
        {"layers": 1},
        {"has_flash_attention": False},
    )
    for options in shapes:
        backend, codec = open_small(**options), SlicedCodec()
        feed(backend, 0, TOKENS)
        codec.probe(backend.save(0), len(TOKENS))
        keys.append(codec.layout_key)
    assert keys[0] == keys[1]
    assert len(set(keys)) == 5


def test_extras_of_cells_survive() -> None:
    n, codec = 5, SlicedCodec()
    cells = np.arange(6 * n, dtype=np.int32).reshape(n, 6)
    cells[:, 0], cells[:, 1], cells[:, 5] = np.arange(n), 1, 0
    parts = [struct.pack("<IiII", 0xAF143CD8, 0, 1, n), cells.tobytes(), struct.pack("<II", 0, 1)]
    for row in (4, 7):
        parts += [struct.pack("<iQ", 8, row), bytes(range(row * n))]
    blob = np.frombuffer(b"".join(parts), np.uint8)
    codec.probe(blob, n)
    head, tail = codec.cut(blob, n, [(0, 2), (2, 5)])
    assert codec.compose([(head, 2), (tail, 3)]).tobytes() == blob.tobytes()


def test_two_caches_without_values_are_understood() -> None:
    n, codec = 4, SlicedCodec()
    cells = np.stack([np.arange(n), np.ones(n), np.zeros(n)], 1).astype(np.int32).tobytes()
    parts = [struct.pack("<Ii", 0xAF143CD8, 0)]
    for n_layers in (2, 3):
        parts += [struct.pack("<II", 1, n), cells, struct.pack("<II", 0, n_layers)]
        for layer in range(n_layers):
            parts += [struct.pack("<iQ", 1, 10), bytes([n_layers * 16 + layer]) * 10 * n]
    blob = np.frombuffer(b"".join(parts), np.uint8)
    codec.probe(blob, n)
    head, tail = codec.cut(blob, n, [(0, 1), (1, 4)])
    assert codec.compose([(head, 1), (tail, 3)]).tobytes() == blob.tobytes()
    assert codec.row_bytes(1) == 50


@pytest.mark.parametrize("at", [0, 8, 12, 16, 20, 16 + 12 * 40, 20 + 12 * 40, 24 + 12 * 40, 30 + 12 * 40])
def test_a_blob_of_another_form_is_refused(at: int) -> None:
    codec, good = SlicedCodec(), made_up(TOKENS)
    bad = good.copy()
    bad[at] ^= 0x55
    with pytest.raises(UnknownFormat):
        SlicedCodec().probe(bad, len(TOKENS))
    codec.probe(good, len(TOKENS))
    with pytest.raises(UnknownFormat):
        codec.cut(bad, len(TOKENS), [(0, 1)])


def test_a_blob_of_another_length_is_refused() -> None:
    codec, good, n = SlicedCodec(), made_up(TOKENS), len(TOKENS)
    codec.probe(good, n)
    for blob, n_tokens in (
        (good[:-1], n),
        (good, n - 1),
        (good, n + 1),
        (good[:7], n),
        (good[:0], n),
        (good, 0),
    ):
        with pytest.raises(UnknownFormat):
            codec.cut(blob, n_tokens, [(0, 1)])
        with pytest.raises(UnknownFormat):
            SlicedCodec().probe(blob, n_tokens)


def test_a_cache_that_forgets_tokens_is_refused() -> None:
    n, codec = 4, SlicedCodec()
    parts = [struct.pack("<Ii", 0xAF143CD8, 0)]
    for cells in ([0, 1, 2, 3], [2, 3]):
        meta = np.stack([cells, np.ones(len(cells)), np.zeros(len(cells))], 1).astype(np.int32)
        parts += [struct.pack("<II", 1, len(cells)), meta.tobytes(), struct.pack("<II", 0, 1)]
        for _ in range(2):
            parts += [struct.pack("<iQ", 1, 10), bytes(10 * len(cells))]
    with pytest.raises(UnknownFormat):
        codec.probe(np.frombuffer(b"".join(parts), np.uint8), n)


def test_a_state_in_two_streams_is_refused() -> None:
    n, codec = 3, SlicedCodec()
    cells = np.stack([np.arange(n), np.ones(n), np.zeros(n)], 1).astype(np.int32).tobytes()
    parts = [struct.pack("<IiIII", 0xAF143CD8, 0, 3, 0, n), cells, struct.pack("<II", 0, 1)]
    parts += [struct.pack("<iQ", 1, 10), bytes(range(10 * n))] * 2
    good, bad = (np.frombuffer(b"".join([*parts, struct.pack("<I", more)]), np.uint8) for more in (0, 1))
    codec.probe(good, n)
    (rows,) = codec.cut(good, n, [(0, n)])
    assert codec.compose([(rows, n)]).size == good.size
    with pytest.raises(UnknownFormat):
        codec.cut(bad, n, [(0, n)])
    with pytest.raises(UnknownFormat):
        SlicedCodec().probe(bad, n)


def test_nothing_is_done_unprobed() -> None:
    with pytest.raises(UnknownFormat):
        SlicedCodec().cut(made_up(TOKENS), len(TOKENS), [(0, 1)])
    with pytest.raises(UnknownFormat):
        _ = SlicedCodec().layout_key


def test_a_whole_state_is_not_cut() -> None:
    codec, blob = WholeCodec(), made_up(TOKENS)
    codec.probe(blob, len(TOKENS))
    (rows,) = codec.cut(blob, len(TOKENS), [(0, len(TOKENS))])
    assert codec.compose([(rows, len(TOKENS))]).tobytes() == blob.tobytes()
    with pytest.raises(UnknownFormat):
        codec.cut(blob, len(TOKENS), [(0, 3)])
    with pytest.raises(UnknownFormat):
        codec.probe(blob[4:], len(TOKENS))
