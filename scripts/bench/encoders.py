"""all-MiniLM-L6-v2 on every backend, and the texts and requests that the commands on embeddings share.

Owns what the variants are called and configured as. Never measures.
"""

import argparse
import base64
import json
import random
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.bench import keepalive, servers
from scripts.bench.keepalive import Connection, http_request
from scripts.bench.problem import Problem
from scripts.bench.servers import Server

PATH = "/v1/embeddings"
DEFAULT = "default"
SENTENCE: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "torch": {"backend": "torch"},
    "bf16": {"backend": "openvino", "precision": "bf16"},
    "int8": {"backend": "openvino", "precision": "int8"},
}
GGUF = {"gguf-f16": "f16", "gguf-q8": "q8_0"}
VARIANTS = (*SENTENCE, *GGUF)
SHORT_WORDS, MIXED_WORDS = 8, (5, 200)
_FIRST_WORD, _LAST_WORD = 2000, 12000


def add_arguments(parser: argparse.ArgumentParser, *, variants: Sequence[str] = VARIANTS) -> None:
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(variants), help="default: %(default)s"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rng", type=int, default=1, help="decides the texts")


def folder() -> Path:
    """Where the installed model lies."""
    from scripts.bench.gguf_encoder import minilm_folder

    return minilm_folder()


@contextmanager
def serving(arguments: argparse.Namespace) -> Generator[Server]:
    """Our server with every variant loaded, each a model of the variant's name.

    They are loaded one after another: a model that is loaded is timed, which wants a quiet machine.
    """
    models = {name: _entry(name, arguments) for name in arguments.variants}
    with servers.ours(arguments.cache, models, name="llmatic-embeddings") as server:
        for name in arguments.variants:
            print(f"bench: loading {name}", file=sys.stderr, flush=True)
            keepalive.run(vectors(server.port, name, ["to load it"]))
        yield server


def _entry(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    common = {"threads": arguments.threads, "max_queue": 1024}
    if name in SENTENCE:
        return {"engine": "sentence", "source": str(folder()), "options": SENTENCE[name], **common}
    from scripts.bench.gguf_encoder import write_encoder

    path = arguments.cache / f"minilm-{name}.gguf"
    if not path.is_file():
        kind: Any = GGUF[name]
        write_encoder(path, kind=kind)
    return {"engine": "llama", "source": str(path), **common}


class Texts:
    """Random texts of words that are one token each to the model, so that their length is known."""

    def __init__(self, rng: random.Random) -> None:
        words = (folder() / "vocab.txt").read_text(encoding="utf-8").split()
        self._words = [word for word in words[_FIRST_WORD:_LAST_WORD] if word.isalpha() and word.isascii()]
        self._rng = rng

    def short(self, n: int) -> list[str]:
        """Texts of 8 words."""
        return [self._text(SHORT_WORDS) for _ in range(n)]

    def mixed(self, n: int) -> list[str]:
        """Texts of 5 to 200 words."""
        return [self._text(self._rng.randint(*MIXED_WORDS)) for _ in range(n)]

    def _text(self, n_words: int) -> str:
        return " ".join(self._rng.choices(self._words, k=n_words))


def request(model: str, texts: Sequence[str], **more: Any) -> bytes:
    """The bytes of a request for base64, which is what OpenAI's SDKs ask for."""
    wanted = texts[0] if len(texts) == 1 else list(texts)
    body = {"model": model, "input": wanted, "encoding_format": "base64", **more}
    return http_request(PATH, json.dumps(body).encode())


def rows(body: bytes, n_texts: int) -> list[bytes]:
    """The vectors of a reply, float32, in order. Raises Problem if they are not as many as the texts."""
    data: list[Mapping[str, Any]] = json.loads(body)["data"]
    if [item["index"] for item in data] != list(range(n_texts)):
        raise Problem(f"{len(data)} vectors came for {n_texts} texts, or out of order")
    return [base64.b64decode(item["embedding"]) for item in data]


async def vectors(port: int, model: str, texts: Sequence[str], per_request: int = 64) -> list[bytes]:
    """The vectors of all texts, float32."""
    connection = await Connection.open(port)
    found: list[bytes] = []
    for first in range(0, len(texts), per_request):
        part = texts[first : first + per_request]
        found += rows(await connection.ask(request(model, part)), len(part))
    connection.close()
    return found
