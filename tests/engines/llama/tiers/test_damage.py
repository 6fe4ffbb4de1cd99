"""Whatever is wrong with a file costs a miss and nothing else."""

import errno
import fcntl
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmatic.core.errors import ConfigError
from llmatic.core.types import CacheRetention
from llmatic.engines.llama.tiers.blockfile import Block
from llmatic.engines.llama.tiers.disk import DiskStore
from llmatic.engines.llama.tiers.tree import Node, digest_of, pack
from tests.engines.llama.tiers.stores import NOW, TOKENS, A, Opened, OpenStore


def test_no_damaged_byte_gets_through(open_it: OpenStore, tmp_path: Path) -> None:
    opened = open_it()
    opened.put(TOKENS[:4], keyed=True)
    (file,) = opened.files()
    opened.close()
    good = file.read_bytes()
    for at in range(len(good)):
        file.write_bytes(good[:at] + bytes([good[at] ^ 0x21]) + good[at + 1 :])
        opened = open_it()
        assert not opened.get(TOKENS, 4)
        assert opened.stat("disk_corrupt") == 1
        opened.close()
        assert not file.exists()


@pytest.mark.parametrize("at", [0, 1, 100, 130, 190, -1])
@pytest.mark.parametrize("is_running", [False, True])
def test_truncated_files_are_dropped(open_it: OpenStore, at: int, is_running: bool) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS[:4])
    (file,) = opened.files()
    good = file.read_bytes()
    if not is_running:
        opened.close()
    file.write_bytes(good[:at])
    if not is_running:
        opened = open_it()
        assert opened.match(TOKENS) == 0
    assert not opened.get(TOKENS, 4)
    assert opened.match(TOKENS) == 0
    opened.settle()
    assert not file.exists()


@pytest.mark.parametrize("n", [4, 3000])
def test_bytes_behind_the_end_are_not_ours(open_it: OpenStore, n: int) -> None:
    opened = open_it(ram_bytes=0, is_whole=True)
    opened.put(list(range(n)))
    (file,) = opened.files()
    file.write_bytes(file.read_bytes() + b"x")
    assert not opened.get(list(range(n)), n)


def test_another_models_file_is_not_used(open_it: OpenStore) -> None:
    ours, theirs = open_it(ram_bytes=0), open_it(ram_bytes=0, model="other")
    ours.put(TOKENS[:4])
    theirs.put(TOKENS[:4])
    (file,), (other) = ours.files(), theirs.files()
    assert file.name == other[0].name
    assert file.parent != other[0].parent
    shutil.copy(other[0], file)
    assert not ours.get(TOKENS, 4)
    ours.settle()
    shutil.copy(other[0], file)
    assert open_it().match(TOKENS) == 0


def test_a_file_under_another_name_is_not_used(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put([1] * 4)
    opened.put([2] * 4)
    first, second = opened.files()
    shutil.copy(first, second)
    assert opened.get([1] * 4, 4) != opened.get([2] * 4, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"id": bytes(16)},
        {"namespace": bytes(32)},
        {"rows": np.zeros(63, np.uint8)},
        {"key": pack(TOKENS[:5])},
        {"key": pack(TOKENS[1:5])},
        {"parent_id": bytes(16)},
    ],
)
def test_files_that_do_not_fit_are_deleted(open_it: OpenStore, change: dict[str, Any]) -> None:
    opened = open_it()
    root = Node(digest_of(A), None)
    kid = root.add(pack(TOKENS[:4]))
    fitting = Block(kid.id, root.id, root.key, kid.key, np.zeros(64, np.uint8), 0, NOW)
    assert opened.disk.write(replace(fitting, **change))
    assert len(opened.files()) == 1
    opened.close()
    opened = open_it()
    assert opened.match(TOKENS) == 0
    assert opened.files() == []
    opened.disk.write(fitting)
    opened.close()
    assert open_it().match(TOKENS) == 4


def test_rows_of_another_size_are_not_used(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS[:4])
    opened.settle()
    root = Node(digest_of(A), None)
    kid = root.add(pack(TOKENS[:4]))
    opened.disk.write(Block(kid.id, root.id, root.key, kid.key, np.zeros(63, np.uint8), 0, NOW))
    assert not opened.get(TOKENS, 4)


def test_files_whose_beginning_is_missing_are_deleted(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS[:4])
    (first,) = opened.files()
    opened.put(TOKENS)
    assert len(opened.files()) == 3
    opened.close()
    first.unlink()
    opened = open_it()
    assert opened.match(TOKENS) == 0
    assert opened.files() == []


def test_a_file_deleted_while_running_is_a_miss(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS)
    opened.files()[0].unlink()
    assert not opened.get(TOKENS, 10)
    opened.put(TOKENS)
    opened.settle()
    assert opened.get(TOKENS, 10)


def test_a_file_that_cannot_be_read_is_a_miss(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS[:4])
    (file,) = opened.files()
    file.unlink()
    file.mkdir()
    assert not opened.get(TOKENS, 4)
    assert opened.stat("disk_failures") == 1
    assert open_it().match(TOKENS) == 0


def test_leftovers_go_but_not_what_is_being_written(open_it: OpenStore) -> None:
    opened = open_it()
    abandoned = opened.disk.directory / f"{'a' * 32}-1-2-3.tmp"
    busy = opened.disk.directory / f"{'b' * 32}-1-2-3.tmp"
    foreign = opened.disk.directory / "notes.txt"
    for path in (abandoned, busy, foreign):
        path.write_bytes(b"x")
    with busy.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        open_it()
        assert not abandoned.exists()
        assert busy.exists()
    open_it()
    assert not busy.exists()
    assert foreign.read_bytes() == b"x"


@pytest.mark.parametrize("n_good", [0, 1, 3])
def test_a_full_disk_costs_only_what_was_not_written(open_it: OpenStore, n_good: int) -> None:
    written = 0

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal written
        written += 1
        if written > 2 * n_good:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)

    opened = open_it(ram_bytes=0, write=write)
    opened.put(TOKENS)
    opened.settle()
    assert opened.match(TOKENS) == min(10, 4 * n_good)
    assert opened.stat("disk_failures") == (n_good < 3)
    assert len(opened.files()) == n_good
    assert "No space" in opened.disk.last_error or n_good == 3


def test_a_full_disk_leaves_ram_alone(open_it: OpenStore) -> None:
    def write(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    opened = open_it(write=write)
    opened.put(TOKENS, keyed=True)
    opened.settle()
    assert opened.get(TOKENS, 10)
    assert opened.stat("disk_blocks") == 0


def test_short_writes_are_finished(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0, write=lambda descriptor, data: os.write(descriptor, data[:7]))
    opened.put(TOKENS)
    opened.settle()
    assert opened.get(TOKENS, 10)


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cache directory"):
        DiskStore(tmp_path / "file" / "cache", "model", max_bytes=1)


def test_a_directory_that_vanishes_is_made_again(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    shutil.rmtree(opened.disk.directory.parent)
    opened.put(TOKENS)
    opened.settle()
    assert opened.get(TOKENS, 10)


def test_what_cannot_be_scanned_in_time_goes(open_it: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_it()
    opened.put(TOKENS)
    opened.close()
    monkeypatch.setattr("llmatic.engines.llama.tiers.disk.SCAN_LIMIT_S", -1.0)
    opened = open_it()
    assert opened.match(TOKENS) == 0
    assert opened.files() == []


@pytest.mark.parametrize("seed", range(4))
def test_random_use_while_everything_goes_wrong(open_it: OpenStore, seed: int) -> None:
    draw = random.Random(seed)

    def write(descriptor: int, data: memoryview) -> int:
        if draw.random() < 0.1:
            raise OSError(errno.EIO, "Input/output error")
        return os.write(descriptor, data)

    def damage(opened: Opened) -> None:
        for path in draw.sample(opened.files(), min(2, len(opened.files()))):
            data = bytearray(path.read_bytes())
            data[draw.randrange(len(data))] ^= 1
            path.write_bytes(data) if draw.random() < 0.5 else path.unlink()

    retentions: list[CacheRetention | None] = [None, "in_memory", "24h"]
    opened = open_it(ram_bytes=3000, max_bytes=4000, write=write)
    now, n_hits = NOW, 0
    prompts: list[list[int]] = [[]]
    for _ in range(400):
        now = opened.now = now + draw.choice([0, 1, 100, 20000])
        old = draw.choice(prompts)
        tokens = [*old[: draw.randint(0, len(old))], *(draw.randint(0, 2) for _ in range(draw.randint(1, 9)))]
        chance = draw.random()
        if chance < 0.02:
            opened.close()
            opened = open_it(ram_bytes=draw.choice([0, 3000]), max_bytes=4000, write=write)
        elif chance < 0.05:
            damage(opened)
        elif chance < 0.5:
            opened.put(tokens, retention=draw.choice(retentions), keyed=draw.random() < 0.3)
            prompts.append(tokens)
        elif n := opened.match(tokens):
            n_hits += opened.get(tokens, draw.randint(1, n))
    assert n_hits
    opened.settle()
