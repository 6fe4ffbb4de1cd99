"""What computes: the interface that torch and OpenVINO stand behind, and what a loaded model consists of.

Owns no state and no library. The engine's thread calls `rows`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmatic.engines.encoding.backend import Matrix
from llmatic.engines.encoding.options import Precision
from llmatic.engines.sentence.padding import Column


class Computer(Protocol):
    """A model that computes rows from columns."""

    @property
    def name(self) -> str:
        """The library's."""
        ...

    @property
    def precision(self) -> Precision:
        """What it computes in, which may be more exact than what was asked for."""
        ...

    def padded(self, n_items: int, n_tokens: int) -> int:
        """To what length a batch of so many items, the longest of so many tokens, is best filled up."""
        ...

    def rows(self, columns: Sequence[Column]) -> Matrix:
        """float32 [n, n_columns] from one array [n, length] for each of the model's columns. Blocks."""
        ...

    def close(self) -> None:
        """Free the model. Idempotent."""
        ...


class Unconvertible(Exception):
    """The model cannot be had in OpenVINO; the words say why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model takes and gives, whoever computes it.

    `columns`: the names of its inputs, in order. `tokenizer`: the text of a tokenizer.json. `pad_id`: what
    stands behind the end of shorter inputs. `n_context`: the longest input in tokens, by its tokenizer.
    """

    columns: tuple[str, ...]
    tokenizer: str
    pad_id: int
    n_context: int
    n_vocab: int
    n_columns: int
