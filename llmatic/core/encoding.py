"""The values of encoders: texts in, rows of numbers out.

Owns the meaning of an encode request and of its events. An encoder embeds (a row is a vector), ranks (a row
is one score) or classifies (a row has one probability for each label). Never does I/O and never knows HTTP or
a model library. Everything here is immutable and may be read from any thread.
"""

from dataclasses import dataclass
from typing import Literal

from llmatic.core.types import EncodeTask, Finished, Priority, Started

InputType = Literal["query", "document"]
TooLong = Literal["refuse", "truncate"]


@dataclass(frozen=True, slots=True)
class EncodeRequest:
    """One row of numbers is wanted for each of `texts` or, instead, of `token_ids`.

    `query`: what every text is ranked against (task "rank"). `input_type`: which of the model's prompts comes
    before each text (task "embed"); None: none. `dimensions`: so many leading components of each vector,
    brought to unit length again; None: all. `too_long` None: what the model's registry entry says. `param`:
    the request's field that refusals name; `query_param` likewise for the query. `client`: whose request it
    is, for fairness.
    """

    id: str
    task: EncodeTask
    texts: tuple[str, ...] = ()
    token_ids: tuple[tuple[int, ...], ...] = ()
    query: str | None = None
    input_type: InputType | None = None
    dimensions: int | None = None
    too_long: TooLong | None = None
    param: str = "input"
    query_param: str = "query"
    client: str = ""
    priority: Priority = Priority.DEFAULT

    @property
    def n_rows(self) -> int:
        """How many rows it asks for."""
        return len(self.texts) or len(self.token_ids)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Some rows of the answer, in no particular order of `rows`; every row comes once.

    `data`: float32, little-endian, shape [len(rows), number of columns], row after row.
    """

    rows: tuple[int, ...]
    data: bytes


EncodeEvent = Started | Encoded | Finished
