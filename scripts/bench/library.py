"""sentence-transformers as it is used without a server: in a process of its own, with as many threads.

    python -m scripts.bench.library FOLDER THREADS      reads orders from stdin, one JSON object a line

Owns that process and the orders. It computes only while an order runs, so that an idle one costs nothing.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.problem import Problem

NAME = "sentence-transformers"


@dataclass(frozen=True)
class Library:
    """The running process."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, save: Path | None = None) -> float:
        """Seconds that one call of `encode` took for all texts; the vectors are written to `save` (.npy)."""
        order = {"texts": list(texts), "batch_size": batch_size, "save": str(save) if save else None}
        return float(self._ask(order)["seconds"])

    def one_by_one(self, texts: Sequence[str]) -> list[float]:
        """Seconds that a call of `encode` took for each text."""
        return [float(each) for each in self._ask({"texts": list(texts), "batch_size": None})["each"]]

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise Problem(f"{NAME} ended with code {self.process.wait()}; its words: {self.log}")
        reply: dict[str, Any] = json.loads(line)
        return reply


@contextmanager
def running(folder: Path, cache: Path, *, threads: int) -> Generator[Library]:
    """The library with the model of `folder` loaded and warm."""
    log = cache / "library.log"
    command = [sys.executable, "-m", "scripts.bench.library", str(folder), str(threads)]
    with log.open("w") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True
        )
    library = Library(process, log)
    try:
        library.encode(["to warm up"] * 8)
        yield library
    finally:
        process.terminate()
        process.wait()


def main(folder: str, threads: int) -> None:
    """Serve orders until stdin ends."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu")
    for line in sys.stdin:
        order = json.loads(line)
        texts, batch_size = order["texts"], order["batch_size"]
        if batch_size is None:
            marks = [time.perf_counter()]
            for text in texts:
                model.encode(text, show_progress_bar=False)
                marks.append(time.perf_counter())
            reply: dict[str, Any] = {"each": [b - a for a, b in itertools.pairwise(marks)]}
        else:
            start_s = time.perf_counter()
            vectors = model.encode(texts, batch_size=batch_size, show_progress_bar=False)
            reply = {"seconds": time.perf_counter() - start_s}
            if order.get("save"):
                np.save(order["save"], vectors)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
