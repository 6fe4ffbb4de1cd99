"""LoRA adapters on a real model of two layers."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llmatic.core.errors import InvalidRequest, Unavailable
from llmatic.core.types import Adapter
from llmatic.engines.llama.adapters import Adapters, AdapterSet
from llmatic.engines.llama.backend import Backend
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from tests.engines.llama.small_adapter import pairs, write_adapter, write_merged

TOKENS = [3, 14, 15, 92, 65, 35]
Logits = NDArray[np.float32]


class Rig:
    """A backend and its adapters."""

    def __init__(self, path: Path, n_max: int = 32) -> None:
        model = Model(path, Options(), n_gpu_layers=0)
        self.backend = Backend(model, Options(), n_context=256, n_sequences=2, n_threads=1)
        self.adapters = Adapters(self.backend.model.handle, n_max=n_max)

    def logits(self, *adapters: Adapter) -> Logits:
        """The last token's, of a fresh sequence."""
        self.adapters.use(self.backend._context, adapters)
        return self.decode()

    def decode(self) -> Logits:
        self.backend.clear()
        n = len(TOKENS)
        self.backend.decode(TOKENS, list(range(n)), [0] * n, [n - 1])
        return self.backend.logits(0).copy()

    def close(self) -> None:
        self.backend.close()
        self.adapters.close()
        self.backend.model.close()


@pytest.fixture
def rig(model_path: Path) -> Iterator[Rig]:
    rig = Rig(model_path)
    yield rig
    rig.close()


@pytest.fixture
def two(model_path: Path) -> Iterator[Rig]:
    rig = Rig(model_path, n_max=2)
    yield rig
    rig.close()


def merged(base: Path, path: Path, *contributions: tuple[int, float]) -> Logits:
    rig = Rig(write_merged(base, path, *contributions))
    logits = rig.decode()
    rig.close()
    return logits


def adapter(folder: Path, seed: int = 1, scale: float = 1.0) -> Adapter:
    path = folder / f"adapter{seed}.gguf"
    if not path.exists():
        write_adapter(path, seed)
    return Adapter(str(path), scale)


@pytest.mark.parametrize("scale", [1.0, 0.25, -0.5])
def test_the_logits_are_those_of_merged_weights(
    rig: Rig, model_path: Path, tmp_path: Path, scale: float
) -> None:
    base, found = rig.decode(), rig.logits(adapter(tmp_path, 1, scale))
    wanted = merged(model_path, tmp_path / "merged.gguf", (1, scale))
    assert np.abs(found - base).max() > 0.1
    assert np.abs(found - wanted).max() < 0.01


def test_two_adapters_at_once(rig: Rig, model_path: Path, tmp_path: Path) -> None:
    found = rig.logits(adapter(tmp_path, 1, 0.5), adapter(tmp_path, 2))
    wanted = merged(model_path, tmp_path / "merged.gguf", (1, 0.5), (2, 1.0))
    assert np.abs(found - wanted).max() < 0.01
    assert np.abs(found - rig.logits(adapter(tmp_path, 2))).max() > 0.1


def test_switching_gives_the_same_bits_again(rig: Rig, tmp_path: Path) -> None:
    one, two = adapter(tmp_path, 1), adapter(tmp_path, 2)
    sets: list[AdapterSet] = [(), (one,), (two,), (Adapter(one.path, 0.5),)]
    first = [rig.logits(*s) for s in sets]
    assert len({logits.tobytes() for logits in first}) == len(sets)
    for k in (1, 1, 0, 2, 0, 3, 1, 2, 0):
        assert (rig.logits(*sets[k]) == first[k]).all()


def test_a_set_that_was_never_decoded_leaves_no_trace(rig: Rig, tmp_path: Path) -> None:
    wanted = rig.logits(adapter(tmp_path, 1))
    for seed in (2, 3, 4):
        rig.adapters.use(rig.backend._context, (adapter(tmp_path, seed),))
    assert (rig.logits(adapter(tmp_path, 1)) == wanted).all()


def test_equal_sets_are_equal_when_pinned(rig: Rig, tmp_path: Path) -> None:
    pin = rig.adapters.pin
    one, two = adapter(tmp_path, 1), adapter(tmp_path, 2, 0.5)
    assert pin((one, two)) == pin((two, one)) == pin(pin((one, two)))
    assert pin((one, Adapter(two.path, 0.0))) == pin((one,))
    assert pin((Adapter(one.path, 0.25), Adapter(one.path, 0.75))) == pin((one,))
    assert pin((one, Adapter(one.path, -1.0))) == ()


def test_twice_the_same_file_adds_up(rig: Rig, tmp_path: Path) -> None:
    half = adapter(tmp_path, 1, 0.5)
    assert (rig.logits(half, half) == rig.logits(adapter(tmp_path, 1))).all()


def test_identity_is_of_content_and_scale(rig: Rig, tmp_path: Path) -> None:
    identity = rig.adapters.identity
    one, two = adapter(tmp_path, 1), adapter(tmp_path, 2)
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(Path(one.path).read_bytes())
    assert identity(()) == identity((Adapter(one.path, 0.0),)) == b""
    assert identity((one,)) == identity((Adapter(str(copy)),)) == identity(rig.adapters.pin((one,)))
    different = {identity(s) for s in [(one,), (two,), (Adapter(one.path, 0.5),), (one, two)]}
    assert len(different) == 4


def test_identity_and_pin_are_for_any_thread(rig: Rig, tmp_path: Path) -> None:
    sets = [(adapter(tmp_path, seed),) for seed in range(1, 5)]
    found: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: found.append([rig.adapters.identity(s) for s in sets] * 20))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(f == found[0] for f in found)


def test_a_replaced_file_is_another_adapter(rig: Rig, tmp_path: Path) -> None:
    one = adapter(tmp_path, 1)
    base, old = rig.decode(), rig.adapters.pin((one,))
    first = rig.logits(*old)
    write_adapter(Path(one.path), 2)
    new = rig.adapters.pin((one,))
    assert new != old
    assert rig.adapters.identity(new) != rig.adapters.identity(old)
    assert (rig.logits(*new) == rig.logits(adapter(tmp_path, 2))).all()
    assert (rig.logits(one) == rig.logits(*new)).all()
    assert (rig.logits(*old) == first).all()  # still loaded: its sequences go on with what they began with
    assert (rig.logits() == base).all()


def test_a_file_replaced_before_it_was_loaded(rig: Rig, tmp_path: Path) -> None:
    one = adapter(tmp_path, 1)
    old = rig.adapters.pin((one,))
    write_adapter(Path(one.path), 2)
    with pytest.raises(Unavailable, match="replaced"):
        rig.adapters.prepare(old)
    assert len(rig.adapters) == 0


def test_the_least_recently_used_is_dropped(two: Rig, tmp_path: Path) -> None:
    sets = [two.adapters.pin((adapter(tmp_path, seed),)) for seed in (1, 2, 3)]
    first = [two.logits(*s) for s in sets]
    assert len(two.adapters) == 2
    Path(sets[1][0].path).unlink()
    assert (two.logits(*sets[1]) == first[1]).all()  # 1 went, not 2
    assert (two.logits(*sets[0]) == first[0]).all()
    assert len(two.adapters) == 2


def test_what_is_set_or_in_use_is_never_dropped(two: Rig, tmp_path: Path) -> None:
    pinned = [two.adapters.pin((adapter(tmp_path, seed),)) for seed in (1, 2, 3, 4)]
    wanted = two.logits(*pinned[0])
    two.adapters.prepare(pinned[1])
    two.adapters.prepare(pinned[2], in_use=[pinned[1]])
    assert len(two.adapters) == 3
    assert (two.decode() == wanted).all()
    two.adapters.prepare(pinned[3])
    assert len(two.adapters) == 2
    assert (two.decode() == wanted).all()


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.gguf")
    return folder / "pipe.gguf"


def broken(folder: Path, model: Path) -> dict[str, tuple[Path, str]]:
    whole = write_adapter(folder / "whole.gguf")
    data = whole.read_bytes()
    name = "blk.0.attn_q.weight"
    a, b = pairs(1)[name]
    shapes = {"wrong shape": (a[:, :16], b), "ranks": (a, b[:, :2]), "three": (a[None].repeat(2, 0), b)}
    cases = {
        "missing": (folder / "nothing.gguf", "No such file"),
        "folder": (folder, "no regular file"),
        "pipe": (pipe(folder), "no regular file"),
        "text": (write(folder, "text.gguf", b"x" * 100), "no GGUF file"),
        "empty": (write(folder, "empty.gguf", b""), "too short"),
        "half": (write(folder, "half.gguf", data[: len(data) // 2]), "cut off"),
        "header": (write(folder, "header.gguf", data[:200]), "cut off"),
        "model": (model, "no LoRA adapter"),
        "kind": (write_adapter(folder / "kind.gguf", kind="model"), "no LoRA adapter"),
        "alpha": (write_adapter(folder / "alpha.gguf", alpha="eight"), "no 32-bit float"),
        "architecture": (write_adapter(folder / "arch.gguf", arch="qwen2"), "arch mismatch"),
        "unknown matrix": (write_adapter(folder / "u.gguf", content={"blk.7.x.weight": (a, b)}), "not exist"),
        "activated": (write_adapter(folder / "alora.gguf", invocation=(1, 2)), "invocation tokens"),
        "whole numbers": (
            write_adapter(folder / "i.gguf", content={name: (a.astype(np.int32), b)}), "number type",
        ),
    }  # fmt: skip
    words = {"wrong shape": "incorrect shape", "ranks": "do not fit", "three": "do not fit"}
    for case, pair in shapes.items():
        cases[case] = (write_adapter(folder / f"{case}.gguf", content={name: pair}), words[case])
    return cases


def test_broken_files_are_refused_and_change_nothing(rig: Rig, model_path: Path, tmp_path: Path) -> None:
    good = adapter(tmp_path, 1)
    wanted = rig.logits(good)
    for case, (path, words) in broken(tmp_path, model_path).items():
        with pytest.raises(InvalidRequest) as caught:
            rig.adapters.use(rig.backend._context, (good, Adapter(str(path))))
        message = caught.value.message
        assert words in message, case
        assert str(tmp_path) not in message, case
        assert caught.value.code == "adapter_unusable"
        assert (rig.decode() == wanted).all(), case


@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, 1e39])
def test_scales_must_be_numbers(rig: Rig, tmp_path: Path, scale: float) -> None:
    with pytest.raises(InvalidRequest, match="no scale"):
        rig.adapters.pin((adapter(tmp_path, 1, float(scale)),))


def test_a_path_that_no_file_can_have(rig: Rig) -> None:
    with pytest.raises(InvalidRequest):
        rig.adapters.pin((Adapter("a\0b"),))


def test_a_touched_file_is_the_same_adapter(rig: Rig, tmp_path: Path) -> None:
    one = adapter(tmp_path, 1)
    before = rig.adapters.pin((one,))
    os.utime(one.path, (1, 1))
    assert rig.adapters.pin((one,)) == before


def test_close_twice(model_path: Path, tmp_path: Path) -> None:
    rig = Rig(model_path)
    rig.logits(adapter(tmp_path, 1))
    rig.close()
    rig.adapters.close()
