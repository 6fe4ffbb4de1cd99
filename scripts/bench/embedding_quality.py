"""How near every variant's vectors are to sentence-transformers' own, and what that costs in a search.

Compares vectors of random texts of 5 to 200 words and of the project's own sentences, then ranks the
project's paragraphs for sentences cut out of them (`retrieval`).
"""

import argparse
import math
import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.bench import encoders, keepalive, library, processes, retrieval
from scripts.bench.encoders import DEFAULT, GGUF, Texts
from scripts.bench.report import Bar, Report

COLUMNS = ("variant", "largest difference", "mean cosine", "lowest cosine", "recall@1", "nDCG@10")
N_AT_ONCE = 1024
SAME, ALIKE, GGUF_ALIKE = 1e-5, 0.995, 0.999


def add_arguments(parser: argparse.ArgumentParser) -> None:
    encoders.add_arguments(parser)
    parser.add_argument("--texts", type=int, default=512, help="random texts; default: %(default)s")
    parser.add_argument("--pairs", type=int, default=1000, help="at most; default: %(default)s")


def run(arguments: argparse.Namespace) -> Report:
    import numpy as np

    mixed = Texts(random.Random(f"{arguments.rng} quality")).mixed(arguments.texts)
    queries, documents = retrieval.pairs(limit=arguments.pairs)
    texts = [*mixed, *queries, *documents]
    path = arguments.cache / "library.npy"
    with library.running(encoders.folder(), arguments.cache, threads=arguments.threads) as rival:
        rival.encode(texts, save=path)
    wanted = np.load(path)
    rows = [("library", 0.0, 1.0, 1.0, *_search(wanted, len(mixed), len(queries)).values())]
    with encoders.serving(arguments) as server:
        for name in arguments.variants:
            print(f"bench: vectors of {name}", file=sys.stderr)
            raw = keepalive.run(encoders.vectors(server.port, name, texts))
            found = np.frombuffer(b"".join(raw), np.float32).reshape(wanted.shape)
            near = nearness(found, wanted)
            rows.append((name, *near.values(), *_search(found, len(mixed), len(queries)).values()))
    facts = {"texts": len(texts), "pairs": len(queries), "machine": processes.machine()}
    return Report("embedding-quality", COLUMNS, rows, judge(rows), facts)


def nearness(found: Any, wanted: Any) -> dict[str, float]:
    """Of unit vectors, shapes [n, size]."""
    cosines = (found.astype("float64") * wanted).sum(axis=1)
    return {
        "largest difference": float(abs(found - wanted).max()),
        "mean cosine": float(cosines.mean()),
        "lowest cosine": float(cosines.min()),
    }


def judge(rows: Sequence[tuple[Any, ...]]) -> list[Bar]:
    """Exact variants are all but equal, the others near: by their mean, and GGUF in f16 by each vector."""
    bars = []
    for row in rows[1:]:
        name, figures = row[0], dict(zip(COLUMNS[1:], row[1:], strict=True))
        if name in ("torch", DEFAULT):
            bars.append(_bar(name, "largest difference", figures, "at most", SAME))
        elif name in GGUF and GGUF[name] == "f16":
            bars.append(_bar(name, "lowest cosine", figures, "at least", GGUF_ALIKE))
        else:
            bars.append(_bar(name, "mean cosine", figures, "at least", ALIKE))
    return bars


def _bar(name: str, figure: str, figures: Mapping[str, float], sense: Any, bound: float) -> Bar:
    return Bar(f"{name}: {figure}", figures.get(figure, math.nan), sense, bound)


def _search(vectors: Any, n_mixed: int, n_pairs: int) -> dict[str, float]:
    middle = n_mixed + n_pairs
    return retrieval.figures(vectors[n_mixed:middle], vectors[middle:])
