import random

import pytest

from llmatic.engines.llama.cells import CellTree, common


def held(texts: dict[int, list[int]], *, namespace: bytes = b"") -> CellTree:
    """A tree of active slots, each with cells of its own."""
    tree = CellTree()
    for slot, text in texts.items():
        tree.open(slot, namespace)
        tree.extend(slot, text)
    return tree


def matched(tree: CellTree, tokens: list[int], namespace: bytes = b"") -> int:
    match = tree.match(namespace, tokens)
    tree.check_integrity()
    return match.n_tokens if match else 0


def test_the_longest_beginning_is_found() -> None:
    tree = held({0: [1, 2, 3, 4], 1: [1, 2, 9], 2: [7]})
    assert matched(tree, [1, 2, 3, 5]) == 3
    assert matched(tree, [1, 2, 9, 9]) == 3
    assert matched(tree, [7, 7]) == 1
    assert matched(tree, [8]) == 0
    assert matched(tree, []) == 0


def test_namespaces_are_apart() -> None:
    tree = held({0: [1, 2]}, namespace=b"a")
    tree.open(1, b"b")
    assert matched(tree, [1, 2], b"b") == 0
    assert matched(tree, [1, 2], b"") == 0
    with pytest.raises(AssertionError, match="namespaces"):
        tree.fork(0, 1, 1)


def test_shared_cells_are_counted_once_and_end_with_their_last_holder() -> None:
    tree = held({0: [1, 2, 3, 4]})
    tree.open(1, b"")
    tree.fork(0, 1, 3)
    tree.extend(1, [5])
    assert tree.n_cells == 5
    tree.drop(0)
    assert tree.n_cells == 4
    assert tree.text(1) == [1, 2, 3, 5]
    tree.drop(1)
    assert tree.n_cells == 0
    assert matched(tree, [1, 2]) == 0


def test_cells_are_idle_when_nobody_who_runs_holds_them() -> None:
    tree = held({0: [1, 2, 3, 4]})
    tree.rest(0)
    assert tree.n_idle_cells == 4
    tree.open(1, b"")
    tree.fork(0, 1, 3)
    assert tree.n_idle_cells == 1
    assert tree.n_idle_in(0, 4) == 1
    tree.check_integrity()
    tree.drop(1)
    assert tree.n_idle_cells == 4
    tree.wake(0)
    assert tree.n_idle_cells == 0
    tree.check_integrity()


def test_a_text_is_cut_in_the_middle_of_what_it_shares() -> None:
    tree = held({0: [1, 2, 3, 4]})
    tree.open(1, b"")
    tree.fork(0, 1, 4)
    tree.extend(1, [5, 6])
    tree.trim(1, 2)
    assert tree.text(1) == [1, 2]
    assert tree.text(0) == [1, 2, 3, 4]
    assert tree.n_cells == 4
    tree.check_integrity()


def test_the_least_recently_used_leaf_goes_before_what_others_go_through() -> None:
    tree = held({0: [1, 2, 3]})
    tree.open(1, b"")
    tree.fork(0, 1, 2)
    tree.extend(1, [8, 8])
    for slot in (1, 0):
        tree.rest(slot)
    leaf = tree.oldest_leaf()
    assert leaf is not None
    assert leaf.tokens == [8, 8]
    tree.drop(1)
    assert tree.text(0) == [1, 2, 3]


def test_a_text_within_another_is_redundant() -> None:
    tree = held({0: [1, 2, 3]})
    tree.open(1, b"")
    assert tree.is_redundant(1)
    tree.fork(0, 1, 3)
    assert tree.is_redundant(1)
    tree.extend(1, [4])
    assert not tree.is_redundant(1)
    assert tree.is_redundant(0)


def test_a_text_moves_to_another_slot() -> None:
    tree = held({0: [1, 2]})
    tree.move(0, 5)
    tree.extend(5, [3])
    assert tree.text(5) == [1, 2, 3]
    tree.check_integrity()


@pytest.mark.parametrize("n_same", [0, 1, 63, 64, 65, 200])
def test_common_counts_equal_tokens_of_lists_and_tuples(n_same: int) -> None:
    left, right = [1] * 200, (*[1] * n_same, 2)
    assert common(left, 0, right, 0) == n_same
    assert common(right, 0, left, 0) == n_same
    assert common(left, 150, right, 0) == min(50, n_same)


@pytest.mark.parametrize("seed", range(5))
def test_random_texts_are_what_they_would_be_alone(seed: int) -> None:
    rng = random.Random(seed)
    tree, texts, idle = CellTree(), dict[int, list[int]](), set[int]()
    for _ in range(400):
        slot = rng.randrange(8)
        if slot not in texts:
            tree.open(slot, b"")
            texts[slot] = []
            if texts and rng.random() < 0.7:
                source = rng.choice(list(texts))
                n_tokens = rng.randint(0, len(texts[source]))
                if source != slot and n_tokens:
                    tree.fork(source, slot, n_tokens)
                    texts[slot] = texts[source][:n_tokens]
        elif rng.random() < 0.3:
            n_tokens = rng.randint(0, len(texts[slot]))
            tree.trim(slot, n_tokens)
            del texts[slot][n_tokens:]
        elif slot in idle:
            idle.discard(slot)
            if rng.random() < 0.5:
                tree.wake(slot)
            else:
                tree.drop(slot)
                del texts[slot]
        elif rng.random() < 0.3:
            tree.rest(slot)
            idle.add(slot)
        else:
            more = [rng.randrange(3) for _ in range(rng.randint(0, 5))]
            tree.extend(slot, more)
            texts[slot] += more
        tree.check_integrity()
        assert all(tree.text(slot) == text for slot, text in texts.items())
        query = [rng.randrange(3) for _ in range(6)]
        best = max((common(text, 0, query, 0) for text in texts.values()), default=0)
        match = tree.match(b"", query)
        assert (match.n_tokens if match else 0) <= best
        if match:
            assert texts[match.slot][: match.n_tokens] == query[: match.n_tokens]
