"""What llama.cpp would abort on, or silently misread, is refused before it gets there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmatic.core.errors import ConfigError, EngineFailed
from llmatic.engines.llama.backend import Backend, DecodeResult, open_backend
from llmatic.engines.llama.options import Options
from tests.engines.llama.small_model import write_model

DONE, NO_ROOM = DecodeResult.DONE, DecodeResult.NO_ROOM


def open_small(path: Path, options: Options | None = None, **changes: Any) -> Backend:
    sizes: dict[str, Any] = {"n_gpu_layers": 0, "n_context": 256, "n_running": 3, "n_threads": 1} | changes
    return open_backend(path, options or Options(batch=64, ubatch=64), **sizes)


@pytest.fixture
def backend(model_path: Path) -> Iterator[Backend]:
    backend = open_small(model_path)
    yield backend
    backend.close()
    backend.model.close()


def prefill(backend: Backend, tokens: list[int], slot: int = 0, start: int = 0) -> np.ndarray[Any, Any]:
    n = len(tokens)
    assert backend.decode(tokens, range(start, start + n), [slot] * n, [n - 1]) is DONE
    return backend.logits(0).copy()


def test_a_fork_continues_as_its_source(backend: Backend) -> None:
    prefill(backend, [1, 2, 3, 4])
    backend.fork(0, 1, 3)
    forked = prefill(backend, [4], slot=1, start=3)
    again = prefill(backend, [5], slot=0, start=4)
    backend.free(2)
    assert np.isfinite(forked).all()
    assert backend.length(1) == 4
    assert np.abs(prefill(backend, [5], slot=1, start=4) - again).max() < 0.05


def test_rows_of_logits_come_in_order(backend: Backend) -> None:
    assert backend.decode([1, 2, 9, 8], [0, 1, 0, 1], [0, 0, 1, 1], [1, 2, 3]) is DONE
    rows = [backend.logits(n).copy() for n in range(3)]
    backend.clear()
    assert np.abs(prefill(backend, [1, 2]) - rows[0]).max() < 0.05
    assert np.abs(prefill(backend, [9, 8], slot=1) - rows[2]).max() < 0.05
    assert np.abs(rows[0] - rows[1]).max() > 0.1


@pytest.mark.parametrize(
    "batch",
    [
        ([], [], [], []),
        ([1] * 65, range(65), [0] * 65, []),
        ([-1], [0], [0], [0]),
        ([268], [0], [0], [0]),
        ([2**40], [0], [0], [0]),
        ([1], [1], [0], [0]),
        ([1], [-1], [0], [0]),
        ([1, 1], [0, 0], [0, 0], [0]),
        ([1, 1], [0, 2], [0, 0], [0]),
        ([1, 1], [1, 0], [0, 0], [0]),
        ([1], [0], [3], [0]),
        ([1], [0], [-1], [0]),
        ([1], [0, 1], [0], [0]),
        ([1], [0], [0], [1]),
        ([1], [0], [0], [-1]),
        ([1, 1], [0, 1], [0, 0], [1, 0]),
        ([1, 1], [0, 1], [0, 0], [0, 0]),
        ([1] * 40, range(40), [0] * 40, list(range(36))),
    ],
    ids=str,
)
def test_wrong_batches_never_reach_llama(backend: Backend, batch: tuple[Any, Any, Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        backend.decode(*batch)
    prefill(backend, [1, 2])


def test_rows_that_were_not_asked_for_do_not_exist(backend: Backend) -> None:
    with pytest.raises(ValueError, match="output row"):
        backend.logits(0)
    backend.decode([1], [0], [0], [])
    with pytest.raises(ValueError, match="output row"):
        backend.logits(0)
    prefill(backend, [2], start=1)
    for row in (-1, 1):
        with pytest.raises(ValueError, match="output row"):
            backend.logits(row)


@pytest.mark.parametrize(
    "arguments", [(0, 0, 1), (0, 3, 1), (-1, 1, 1), (0, 1, 5), (0, 1, -1), (0, 2, 1)], ids=str
)
def test_wrong_forks_are_refused(backend: Backend, arguments: tuple[int, int, int]) -> None:
    prefill(backend, [1, 2])
    prefill(backend, [1, 2], slot=2)
    with pytest.raises(ValueError, match="slot"):
        backend.fork(*arguments)


@pytest.mark.parametrize("slot", [-1, 3, 2**31])
def test_wrong_slots_are_refused(backend: Backend, slot: int) -> None:
    with pytest.raises(ValueError, match="slots run"):
        backend.free(slot)


def test_a_full_cache_changes_nothing(backend: Backend) -> None:
    for start in range(0, 240, 60):
        prefill(backend, [1] * 60, start=start)
    assert backend.decode([1] * 30, range(30), [1] * 30, [29]) is NO_ROOM
    assert backend.length(1) == 0
    prefill(backend, [2, 3], slot=1)


def test_an_interruption_stops_decoding(backend: Backend) -> None:
    backend.interrupt()
    assert backend.decode([1, 2], [0, 1], [0, 0], [1]) is DecodeResult.ABORTED
    assert backend.length(0) == 0


def test_closing_twice(model_path: Path) -> None:
    backend = open_small(model_path)
    for _ in range(2):
        backend.close()
        backend.model.close()


def test_progress_is_told(model_path: Path) -> None:
    shares: list[float] = []
    backend = open_small(model_path, on_progress=shares.append)
    backend.close()
    backend.model.close()
    assert shares[-1] == 1.0


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model", None])
def test_files_that_are_no_models(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.gguf"):
        open_small(path)


def test_a_truncated_file(tmp_path: Path, model_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(model_path.read_bytes()[:-5000])
    with pytest.raises(ConfigError, match="could not load"):
        open_small(path)


@pytest.mark.parametrize(
    "changes", [{"n_running": 257}, {"n_running": 0}, {"n_context": 2, "n_running": 3}], ids=str
)
def test_impossible_sizes(model_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="parallel sequences"):
        open_small(model_path, **changes)


def test_types_of_the_cache(model_path: Path) -> None:
    with pytest.raises(ConfigError, match="could not create a context"):
        open_small(model_path, Options(type_k="q8_0", type_v="q8_0", batch=64))  # heads of 16, blocks of 32
    backend = open_small(model_path, Options(type_k="bf16", type_v="bf16", batch=64))
    prefill(backend, [1, 2, 3])
    backend.close()
    backend.model.close()


def test_vocabulary(backend: Backend) -> None:
    vocabulary = backend.model.vocabulary
    assert vocabulary.n_tokens == 268
    names = {vocabulary.markup(i) for i in vocabulary.eog}
    assert {"<|end|>", "<|im_end|>"} <= names
    assert vocabulary.hidden == (267,)
    assert (
        b"".join(vocabulary.pieces[i] for i in vocabulary.tokenize("the €", parse_special=True))
        == "the €".encode()
    )
    assert vocabulary.tokenize("", parse_special=True) == []
    assert vocabulary.tokenize("a\0b", parse_special=True)
    for token in (-1, 268):
        with pytest.raises(ValueError, match="outside"):
            vocabulary.markup(token)


def test_lone_surrogates_are_replaced(backend: Backend) -> None:
    assert backend.model.vocabulary.tokenize("\ud800", parse_special=True)


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_small(write_model(tmp_path / "bert.gguf", arch="bert"))


@pytest.mark.parametrize("kv_unified", [True, False])
def test_a_saved_state_continues_as_its_source(model_path: Path, kv_unified: bool) -> None:
    backend = open_small(model_path, Options(batch=64, ubatch=64, kv_unified=kv_unified))
    try:
        prefill(backend, [1, 2, 3, 4])
        state = backend.save(0)
        wanted = prefill(backend, [5], start=4)
        with pytest.raises(EngineFailed if kv_unified else ValueError):  # it is not empty
            backend.restore(0, state, 4)
        assert backend.length(0) == 5
        backend.restore(2, state, 4)
        assert backend.length(2) == 4
        np.testing.assert_allclose(prefill(backend, [5], slot=2, start=4), wanted, atol=1e-3)
        with pytest.raises(EngineFailed, match="not taken"):
            backend.restore(1, state[: len(state) // 2], 4)
        with pytest.raises(EngineFailed, match="not taken"):
            backend.restore(1, state, 3)
        assert backend.length(1) == 0
        backend.restore(1, state, 4)
    finally:
        backend.close()
        backend.model.close()


def test_a_copy_that_is_not_made_yet_is_neither_saved_nor_overwritten(model_path: Path) -> None:
    """Between parts of a cache llama.cpp copies in the next decode."""
    backend = open_small(model_path, Options(batch=64, ubatch=64, kv_unified=False))
    try:
        prefill(backend, [1, 2, 3, 4])
        state = backend.save(0)
        backend.fork(0, 1, 4)
        with pytest.raises(EngineFailed, match="not been made"):
            backend.save(1)
        backend.free(1)
        with pytest.raises(EngineFailed, match="not been made"):
            backend.restore(1, state, 4)
        prefill(backend, [5], start=4)
        backend.restore(1, state, 4)
    finally:
        backend.close()
        backend.model.close()


def test_trimming(backend: Backend) -> None:
    prefill(backend, [1, 2, 3, 4])
    wanted = prefill(backend, [5], start=4)
    backend.trim(0, 4)
    assert backend.length(0) == 4
    np.testing.assert_array_equal(prefill(backend, [5], start=4), wanted)
    with pytest.raises(ValueError, match="holds 5 tokens, not 6"):
        backend.trim(0, 6)
