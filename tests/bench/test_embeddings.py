"""The pure parts of the benchmarks of embeddings: who is judged by what."""

import argparse
import base64
import json
from pathlib import Path

import numpy as np
import pytest

from scripts.bench import embedding_memory, embedding_quality, encoders, keepalive, retrieval
from scripts.bench.duel import Turn
from scripts.bench.embeddings import PARTS, judge
from scripts.bench.library import NAME
from scripts.bench.problem import Problem


def turn(part: str, side: str, **figures: float) -> Turn:
    return Turn(
        part, 1, side, {name.replace("__", "/").replace("_", " "): v for name, v in figures.items()}, 0.0
    )


GOOD = [
    turn("bulk", "torch", bulk__s=96.0),
    turn("bulk", "default", bulk__s=150.0),
    turn("bulk", "bf16", bulk__s=181.0),
    turn("bulk", NAME, bulk__s=100.0),
    turn("callers", "default", callers__s=610.0, callers_p95_ms=190.0, batch_ms=100.0),
    turn("callers", NAME, callers__s=100.0),
    turn("single", "default", single__s=251.0),
    turn("single", NAME, single__s=100.0),
    turn("behind", "default", idle_p95_ms=3.0, behind_p95_ms=14.0),
]
VARIANTS = ["default", "torch", "bf16"]


def test_the_bars_of_a_good_run_hold() -> None:
    bars = judge(GOOD, PARTS, VARIANTS)
    assert [round(bar.value, 3) for bar in bars] == [0.96, 1.81, 6.1, 1.9, 2.51, 4.667]
    assert all(bar.holds for bar in bars)


@pytest.mark.parametrize("place", range(len(GOOD)))
def test_each_figure_counts(place: int) -> None:
    """The served sides made worse, the library better: every bar that reads the figure falls."""
    worse = 2.0 if GOOD[place].side == NAME or GOOD[place].model == "behind" else 0.5
    figures = {
        name: value * (1 / worse if name == "idle p95 ms" else worse)
        for name, value in GOOD[place].figures.items()
    }
    turns = [*GOOD[:place], Turn(GOOD[place].model, 1, GOOD[place].side, figures, 0.0), *GOOD[place + 1 :]]
    changed = judge(turns, PARTS, VARIANTS)
    if GOOD[place].side == "default" and GOOD[place].model == "bulk":
        assert all(bar.holds for bar in changed)  # not the best of the others
    else:
        assert not all(bar.holds for bar in changed)


def test_only_what_was_run_is_judged() -> None:
    assert judge(GOOD[3:4], ["bulk"], ["gguf-f16"])[0].holds is False
    assert judge([], ["single"], ["bf16"]) == []


def test_vectors_are_judged_by_what_their_variant_promises() -> None:
    rows = [
        ("library", 0.0, 1.0, 1.0, 0.5, 0.6),
        ("default", 2e-5, 1.0, 1.0, 0.5, 0.6),
        ("torch", 1e-6, 1.0, 1.0, 0.5, 0.6),
        ("bf16", 0.1, 0.996, 0.9, 0.5, 0.6),
        ("gguf-f16", 0.1, 0.9999, 0.998, 0.5, 0.6),
    ]
    assert [bar.holds for bar in embedding_quality.judge(rows)] == [False, True, True, False]


def test_nearness() -> None:
    wanted = np.array([[1, 0], [0, 1]], np.float32)
    found = np.array([[1, 0], [0.6, 0.8]], np.float32)
    assert embedding_quality.nearness(found, wanted) == pytest.approx(
        {"largest difference": 0.6, "mean cosine": 0.9, "lowest cosine": 0.8}
    )


def test_ranks_of_a_search() -> None:
    found = retrieval.figures_of_ranks([0, 2, 10])
    assert found == pytest.approx({"recall@1": 1 / 3, "nDCG@10": (1 + 0.5) / 3})
    queries = np.array([[1, 0], [0, 1]], np.float32)
    documents = np.array([[0.8, 0.6], [0.9, 0.1]], np.float32)
    assert retrieval.figures(queries, documents) == retrieval.figures_of_ranks([1, 1])


def test_pairs_are_made_of_paragraphs(tmp_path: Path) -> None:
    words = " ".join(f"word{letter} and" for letter in "abcdefghijkl")
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(
        f"# Title\n\nShort.\n\n{words}\n\n```\n{words} code\n```\n\n| a | table |\n"
    )
    (tmp_path / "docs" / "a.md").write_text(f"Other {words}\n\n{words}\n")
    queries, documents = retrieval.pairs(tmp_path)
    assert documents == [words, f"Other {words}"]
    assert all(len(query.split()) == retrieval.N_QUERY_WORDS for query in queries)
    assert set(queries[0].split()) <= set(words.split())
    assert len(retrieval.pairs(limit=300)[0]) == 300


def test_memory_is_loaded_with_exactly_the_texts_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["word"] * 3000))
    monkeypatch.setattr(encoders, "folder", lambda: tmp_path)
    arguments = argparse.Namespace(rng=1, texts=3000)
    bodies = [json.loads(raw.partition(b"\r\n\r\n")[2]) for raw in embedding_memory.requests(arguments, "m")]
    counts = [1 if isinstance(body["input"], str) else len(body["input"]) for body in bodies]
    assert sum(counts) == 3000
    assert len(set(counts)) > 2


def test_rows_of_a_reply() -> None:
    items = [{"index": n, "embedding": base64.b64encode(bytes([n] * 4)).decode()} for n in range(2)]
    assert encoders.rows(json.dumps({"data": items}).encode(), 2) == [b"\0\0\0\0", b"\1\1\1\1"]
    with pytest.raises(Problem, match="2 vectors came for 3 texts"):
        encoders.rows(json.dumps({"data": items}).encode(), 3)


class _Transport:
    """What was written, and answers by hand."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.mark.anyio
async def test_replies_are_read_however_they_are_cut() -> None:
    import asyncio

    connection = keepalive.Connection()
    transport = _Transport()
    connection._transport = transport  # type: ignore[assignment]
    for cut in range(1, 60, 7):
        asked = asyncio.ensure_future(connection.ask(b"x"))
        await asyncio.sleep(0)
        raw = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"
        connection.data_received(raw[:cut])
        if raw[cut:]:
            connection.data_received(raw[cut:])
        assert await asked == b"hello world"
    assert transport.written == b"x" * len(range(1, 60, 7))


@pytest.mark.anyio
async def test_a_refusal_and_a_hang_up_end_the_benchmark() -> None:
    import asyncio

    connection = keepalive.Connection()
    connection._transport = _Transport()  # type: ignore[assignment]
    asked = asyncio.ensure_future(connection.ask(b"x"))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 429 No\r\ncontent-length: 4\r\n\r\nbusy")
    with pytest.raises(Problem, match="answered 429: busy"):
        await asked
    asked = asyncio.ensure_future(connection.ask(b"x"))
    await asyncio.sleep(0)
    connection.connection_lost(None)
    with pytest.raises(Problem, match="closed the connection"):
        await asked
    with pytest.raises(Problem, match="no Content-Length"):
        keepalive.read_head(b"HTTP/1.1 200 OK")
