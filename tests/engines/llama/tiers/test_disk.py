"""Prompts survive the process in files, as long as was asked and there is room."""

import os
import shutil
import stat
import threading
import time
from typing import Any

import pytest

from llmatic.core.types import CacheRetention
from llmatic.engines.llama.tiers.layout import Rows
from tests.engines.llama.tiers.stores import NOW, TOKENS, A, OpenStore


def test_prompts_survive_the_process(open_it: OpenStore) -> None:
    first = open_it()
    first.put(TOKENS)
    first.put([*TOKENS[:4], 77, 78], namespace=b"b")
    first.close()
    second = open_it()
    assert second.store.stats()["ram_bytes"] == 0
    assert second.match([*TOKENS, 5]) == 10
    assert second.get(TOKENS, 7)
    assert second.get([*TOKENS[:4], 77, 78], 6, b"b")
    assert second.match(TOKENS, b"b") == 4
    assert second.match(TOKENS, b"c") == 0


def test_keyed_prompts_and_those_for_a_day_are_written_at_once(open_it: OpenStore) -> None:
    opened = open_it()
    opened.put([1] * 5)
    assert len(opened.files()) == 0
    opened.put([2] * 5, keyed=True)
    assert len(opened.files()) == 2
    opened.put([3] * 5, retention="24h")
    assert len(opened.files()) == 4
    opened.put([1] * 5, keyed=True)
    assert len(opened.files()) == 6


def test_wishes_can_be_renewed_without_a_state(open_it: OpenStore) -> None:
    opened = open_it()
    opened.put([1] * 5, retention="in_memory")

    def renew(tokens: list[int], retention: CacheRetention | None, keyed: bool) -> bool:
        wishes = {"retention": retention, "keyed": keyed, "now": opened.now}
        return opened.store.renew(A, tokens, **wishes)  # type: ignore[arg-type]

    assert renew([1] * 5, "in_memory", True)
    assert not renew([1] * 6, None, True)
    assert not renew([1] * 3, None, True)
    assert not renew([2], None, True)
    assert opened.files() == []
    assert renew([1] * 5, None, False)
    assert len(opened.files()) == 2
    assert renew([1] * 4, "24h", False)
    assert sorted(file.name[-5:] for file in opened.files()) == ["-1.kv", "-2.kv"]


def test_what_may_only_be_in_memory_is_never_written(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=3000)
    for token in range(20):
        opened.put([token] * 6, retention="in_memory", keyed=True)
    opened.put([*[1] * 6, *[2] * 6], retention="in_memory")
    opened.close()
    assert opened.files() == []
    opened = open_it(ram_bytes=0)
    opened.put([1] * 9, retention="in_memory")
    assert opened.match([1] * 9) == 0


def test_a_short_prompt_does_not_take_a_longer_one_to_the_disk(open_it: OpenStore) -> None:
    opened = open_it()
    opened.put([1, 2, 3, 4], retention="in_memory")
    opened.put([1, 2], keyed=True)
    assert opened.match([1, 2, 3, 4]) == 4
    opened.close()
    assert open_it().match([1, 2, 3, 4]) == 2


def test_a_longer_prompt_in_memory_leaves_the_file_of_a_shorter_one(open_it: OpenStore) -> None:
    opened = open_it()
    opened.put([1, 2], keyed=True)
    opened.put([1, 2, 3, 4], retention="in_memory")
    opened.close()
    assert open_it().match([1, 2, 3, 4]) == 2


@pytest.mark.parametrize(("wish", "rank"), [({"keyed": True}, 1), ({"retention": "24h"}, 2)])
def test_a_longer_prompt_inherits_the_wishes_of_a_shorter_one(
    open_it: OpenStore, wish: dict[str, Any], rank: int
) -> None:
    opened = open_it()
    opened.put([1, 2], **wish)
    opened.put([1, 2, 3, 4])
    (file,) = opened.files()
    assert file.name.endswith(f"-{rank}.kv")
    opened.disk.close()
    assert open_it().match([1, 2, 3, 4]) == 4


def test_a_prefetch_does_not_push_itself_out(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS)
    opened.close()
    opened = open_it(ram_bytes=2500)
    opened.store.prefetch(A, TOKENS)
    assert opened.stat("ram_blocks") == 2
    assert opened.stat("ram_evictions") == 0


def test_a_block_replaced_while_it_is_read_leaves_no_trace(open_it: OpenStore) -> None:
    opened = open_it()
    opened.put(TOKENS[:2])
    opened.close()
    opened = open_it()
    read = opened.disk.read

    def read_slowly(id: bytes) -> Rows | None:
        rows = read(id)
        opened.put(TOKENS[:3])
        return rows

    opened.disk.read = read_slowly  # type: ignore[method-assign]
    opened.store.prefetch(A, TOKENS)
    opened.store.check_integrity()
    assert opened.match(TOKENS) == 3
    assert opened.stat("ram_blocks") == 1


def test_only_what_the_disk_can_hold_is_flushed(open_it: OpenStore) -> None:
    opened = open_it(max_bytes=700)
    for token in range(9):
        opened.put([token] * 4)
    opened.close()
    assert opened.stat("disk_evictions") == 0
    assert opened.match([8] * 4) == 4
    again = open_it()
    assert [token for token in range(9) if again.match([token] * 4)] == [6, 7, 8]


def test_what_ram_has_no_room_for_is_brought_back(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=4000)
    opened.put(TOKENS)
    opened.put([50] * 10)
    opened.settle()
    assert opened.match(TOKENS) == 10
    opened.store.prefetch(A, TOKENS)
    opened.settle()
    shutil.rmtree(opened.disk.directory)
    assert opened.get(TOKENS, 10)
    assert not opened.get([50] * 10, 10)
    assert opened.stat("lost") == 1


def test_without_ram_everything_lies_on_disk(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS)
    opened.settle()
    assert opened.stat("ram_bytes") == 0
    assert opened.get(TOKENS, 10)
    assert opened.stat("disk_written") == 3


def test_whole_states_survive_too(open_it: OpenStore) -> None:
    many = list(range(3000))
    opened = open_it(is_whole=True)
    opened.put(many)
    opened.put([1, 2])
    opened.close()
    opened = open_it(is_whole=True)
    assert opened.match([*many, 1]) == 3000
    assert opened.get([*many, 1], 3000)
    assert opened.match([1, 2, 3]) == 2


def test_the_budget_holds_and_the_oldest_go(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put([1] * 4)
    (file,) = opened.files()
    size = file.stat().st_size
    assert opened.stat("disk_bytes") == size
    opened.close()
    opened = open_it(ram_bytes=0, max_bytes=3 * size)
    for token in (2, 3):
        opened.put([token] * 4)
    opened.now += 100
    assert opened.get([1] * 4, 4)
    opened.put([4] * 4)
    assert [opened.match([token] * 4) for token in (1, 2, 3, 4)] == [4, 0, 4, 4]
    assert sum(file.stat().st_size for file in opened.files()) == 3 * size
    opened.close()
    opened = open_it(ram_bytes=0, max_bytes=2 * size)
    assert [opened.match([token] * 4) for token in (1, 2, 3, 4)] == [4, 0, 0, 4]


def test_a_day_is_kept_before_others_and_no_longer(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put([1] * 4, retention="24h")
    size = opened.files()[0].stat().st_size
    opened.close()
    opened = open_it(ram_bytes=0, max_bytes=2 * size)
    for token in (2, 3, 4):
        opened.now += 7 * 3600
        opened.put([token] * 4, keyed=True)
    assert [opened.match([token] * 4) for token in (1, 2, 3, 4)] == [4, 0, 0, 4]
    opened.now = NOW + 24 * 3600 + 1
    opened.put([5] * 4)
    assert [opened.match([token] * 4) for token in (1, 4, 5)] == [0, 4, 4]
    opened.put([6] * 4, retention="24h")
    opened.close()
    opened = open_it(ram_bytes=0)
    assert opened.match([6] * 4) == 4
    opened.now = NOW + 49 * 3600
    opened.put([7] * 4)
    assert opened.match([6] * 4) == 0
    assert opened.stat("disk_expired") == 1


def test_what_expired_is_not_written_again(open_it: OpenStore) -> None:
    opened = open_it()
    opened.put(TOKENS, retention="24h")
    opened.now += 25 * 3600
    opened.put([99])
    assert opened.match(TOKENS) == 10
    opened.close()
    assert open_it().match(TOKENS) == 0


def test_a_file_from_the_future_expires_too(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS[:4], retention="24h")
    (file,) = opened.files()
    opened.close()
    os.utime(file, (4e9, 4e9))
    opened = open_it(ram_bytes=0)
    opened.now = time.time() + 25 * 3600
    assert not opened.get(TOKENS, 4)


def test_a_rank_that_was_lost_is_taken_from_what_lies_behind(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS[:4])
    (first,) = opened.files()
    opened.put(TOKENS, retention="24h")
    opened.close()
    first.with_name(first.name.replace("-0", "-2")).rename(first)
    assert open_it().match(TOKENS) == 10


def test_a_higher_rank_survives_too(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=0)
    opened.put(TOKENS)
    opened.put(TOKENS[:4], retention="24h")
    assert sorted(file.name[-5:] for file in opened.files()) == ["-0.kv", "-0.kv", "-2.kv"]
    opened.close()
    opened = open_it(ram_bytes=0)
    assert opened.get(TOKENS, 10)
    opened.now += 25 * 3600
    opened.put([1])
    assert opened.match(TOKENS) == 0


def test_nobody_else_may_read_the_files(open_it: OpenStore) -> None:
    opened = open_it()
    opened.put(TOKENS, keyed=True)
    for path in opened.files():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"salt" not in path.read_bytes()
    assert stat.S_IMODE(opened.disk.directory.stat().st_mode) == 0o700


def test_two_processes_do_not_hurt_each_other(open_it: OpenStore) -> None:
    stores = [open_it(ram_bytes=3000, max_bytes=1500) for _ in range(2)]
    n_right = 0
    for turn in range(150):
        one = stores[turn % 2]
        one.now += 1
        tokens = [turn * 7 % 5, turn * 3 % 4, *range(turn % 9)]
        one.put(tokens, keyed=turn % 3 == 0)
        n = one.match(list(reversed(tokens)))
        n_right += one.get(tokens, len(tokens))
        if n:
            one.get(list(reversed(tokens)), n)
        if turn % 10 == 0:
            one.settle()
    assert n_right


def test_threads_share_a_store(open_it: OpenStore) -> None:
    opened = open_it(ram_bytes=6000, max_bytes=4000)
    prompts = [[a, b, *range(10 + a)] for a in range(5) for b in range(3)]
    failures: list[BaseException] = []

    def intake() -> None:
        try:
            for _ in range(40):
                for tokens in prompts:
                    assert opened.store.match(A, tokens) <= len(tokens)
                    opened.store.prefetch(A, tokens)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=intake)
    thread.start()
    n_right = 0
    for turn in range(600):
        tokens = prompts[turn * 7 % len(prompts)]
        opened.now += 1
        n = opened.match(tokens)
        n_right += bool(n) and opened.get(tokens, n)
        opened.put(tokens, keyed=turn % 5 == 0)
    thread.join()
    assert not failures
    assert n_right
    opened.settle()
