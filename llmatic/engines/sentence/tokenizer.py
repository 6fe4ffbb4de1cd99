"""A Hugging Face tokenizer as the input reader wants it.

Owns the library `tokenizers`, whose objects are set up here (no padding, no truncation) and never handed out.
Used in the intake thread; the library itself bears any thread.
"""

from collections.abc import Sequence

from tokenizers import Tokenizer as Library

from llmatic.engines.encoding.inputs import Frame

_PROBE = "a"


class FastTokenizer:
    """A tokenizer.json's text. `n_vocab`: the rows of the model's table, which may be more than it names."""

    def __init__(self, text: str, *, n_vocab: int, has_types: bool, filler: int) -> None:
        self._library = Library.from_str(text)
        self._library.no_padding()
        self._library.no_truncation()
        self._n_vocab = n_vocab
        self._frame = _frame(self._library, has_types=has_types, filler=filler)

    @property
    def n_vocab(self) -> int:
        """Token ids are below this."""
        return self._n_vocab

    @property
    def frame(self) -> Frame:
        """The special tokens that the model wants."""
        return self._frame

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text without the special ones around it."""
        encodings = self._library.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def _frame(library: Library, *, has_types: bool, filler: int) -> Frame:
    """Where the library puts what: every token of a probe belongs to text 0, to text 1 or to none."""
    single = library.encode(_PROBE)
    pair = library.encode(_PROBE, _PROBE)
    first, last = _span(single.sequence_ids, 0)
    query, query_end = _span(pair.sequence_ids, 0)
    text, text_end = _span(pair.sequence_ids, 1)
    ids, types = pair.ids, pair.type_ids
    # A part without tokens has no type id; its neighbour's stands in and is never used.
    of_parts = (types[0], types[query], types[query_end - 1 if query_end == text else query_end], types[text])
    return Frame(
        before=tuple(single.ids[:first]),
        after=tuple(single.ids[last:]),
        pair_before=tuple(ids[:query]),
        pair_between=tuple(ids[query_end:text]),
        pair_after=tuple(ids[text_end:]),
        pair_types=(*of_parts, types[-1]) if has_types else None,
        filler=filler,
    )


def _span(owners: list[int | None], owner: int) -> tuple[int, int]:
    places = [place for place, found in enumerate(owners) if found == owner]
    return places[0], places[-1] + 1
