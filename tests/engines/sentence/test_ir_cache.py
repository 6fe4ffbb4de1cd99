import fcntl
import json
import os
from pathlib import Path

import pytest

from llmatic.engines.sentence.computing import Shape
from llmatic.engines.sentence.ir_cache import key_of, load_entry, locked, store_entry

SHAPE = Shape(("input_ids", "attention_mask"), "{}", 0, 256, 99, 3)


def save(path: Path) -> None:
    path.write_text("<net/>", encoding="utf-8")
    path.with_suffix(".bin").write_bytes(b"weights")


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    assert load_entry(tmp_path, "k") is None
    stored = store_entry(tmp_path, "k", SHAPE, save)
    assert load_entry(tmp_path, "k") == stored
    assert stored.shape == SHAPE
    assert stored.model.read_text(encoding="utf-8") == "<net/>"
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "meta.json"])
@pytest.mark.parametrize("damage", ["changed", "empty"])
def test_a_damaged_entry_is_removed(tmp_path: Path, name: str, damage: str) -> None:
    path = store_entry(tmp_path, "k", SHAPE, save).model.with_name(name)
    path.write_bytes(b"" if damage == "empty" else b"[" + path.read_bytes()[1:])
    assert load_entry(tmp_path, "k") is None
    assert not path.exists()


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "meta.json"])
def test_an_entry_with_a_file_missing_does_not_count_and_can_be_stored_again(
    tmp_path: Path, name: str
) -> None:
    store_entry(tmp_path, "k", SHAPE, save).model.with_name(name).unlink()
    assert load_entry(tmp_path, "k") is None
    store_entry(tmp_path, "k", SHAPE, save)
    assert load_entry(tmp_path, "k") is not None


def test_a_failed_attempt_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half", encoding="utf-8")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        store_entry(tmp_path, "k", SHAPE, fail)
    assert list(tmp_path.iterdir()) == []


def test_the_key_tells_files_tasks_and_forms_apart(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}), encoding="utf-8")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(2 << 20))
    os.utime(weights, ns=(1, 1))
    key = key_of(tmp_path, "embed", "f32")
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    os.utime(tmp_path / "config.json", ns=(5, 5))
    assert key_of(tmp_path, "embed", "f32") == key
    others = {key, key_of(tmp_path, "rank", "f32"), key_of(tmp_path, "embed", "int8")}
    os.utime(weights, ns=(2, 2))
    others.add(key_of(tmp_path, "embed", "f32"))
    (tmp_path / "config.json").write_text(json.dumps({"a": 2}), encoding="utf-8")
    others.add(key_of(tmp_path, "embed", "f32"))
    assert len(others) == 5


def test_only_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path / "new", "k"):
            with (tmp_path / "new" / "k.lock").open("ab") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
