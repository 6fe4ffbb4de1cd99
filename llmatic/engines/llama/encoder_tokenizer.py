"""A GGUF encoder's tokens: those of texts, and the special ones that belong around them.

Owns the order of special tokens around one text and around a pair. Texts are never searched for control
tokens. One thread at a time; nothing of it is shared with the thread that computes but what is read-only.
"""

from collections.abc import Sequence

from llmatic.engines.encoding.inputs import Frame
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.rank_template import RankTemplate
from llmatic.engines.llama.vocabulary import Vocabulary
from llmatic.engines.llama.wordpiece import WordPiece

_UNKNOWN = 100  # BERT's, which is what llama.cpp takes where a file does not say


class EncoderTokenizer:
    """`engines.encoding.inputs.Tokenizer` on llama.cpp, and without it where that loses letters."""

    def __init__(self, model: Model, template: RankTemplate | None = None) -> None:
        """`template`: how pairs are written, if not as two texts with special tokens around them."""
        self._vocabulary = model.vocabulary
        self._wordpiece = _wordpiece(model) if model.vocabulary.is_wordpiece else None
        self.frame = _frame(model.vocabulary, template)

    @property
    def n_vocab(self) -> int:
        """Token ids are below this."""
        return self._vocabulary.n_tokens

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text alone; what looks like a control token is text."""
        if self._wordpiece is not None:
            return [self._wordpiece.tokenize(text) for text in texts]
        return [self._vocabulary.tokenize(text, parse_special=False) for text in texts]


def _wordpiece(model: Model) -> WordPiece:
    """The defaults are llama.cpp's."""
    special = model.vocabulary.control
    lowercase = model.metadata("tokenizer.ggml.normalizer.lowercase") != "false"
    strips = model.metadata("tokenizer.ggml.normalizer.strip_accents")
    return WordPiece(
        {text: token for token, text in enumerate(model.vocabulary.entries()) if token not in special},
        unknown=int(model.metadata("tokenizer.ggml.unknown_token_id") or _UNKNOWN),
        lowercase=lowercase,
        strip_accents=lowercase if strips is None else strips == "true",
    )


def _frame(vocabulary: Vocabulary, template: RankTemplate | None) -> Frame:
    """The order is llama.cpp's own, for pairs that of its server.

    Its WordPiece always begins and ends a text; its server leaves the end of a pair away where the file does
    not ask for it, as files of old converters do not, though the models have all learnt with it.
    """
    begin = _known(vocabulary.bos) if vocabulary.add_bos or vocabulary.is_wordpiece else ()
    end = _known(vocabulary.eos) if vocabulary.add_eos else ()
    if vocabulary.is_wordpiece:
        end = _known(vocabulary.sep) or end
    filler = next((token for token in (vocabulary.eos, vocabulary.bos) if token is not None), 0)
    pair_before, pair_between, pair_after = begin, _between(vocabulary), end
    if template is not None:
        pair_before, pair_between, pair_after = (
            tuple(vocabulary.tokenize(text, parse_special=True))
            for text in (template.before, template.between, template.after)
        )
    return Frame(begin, end, pair_before, pair_between, pair_after, filler=filler)


def _between(vocabulary: Vocabulary) -> tuple[int, ...]:
    sep = vocabulary.eos if vocabulary.sep is None else vocabulary.sep
    found = (_known(vocabulary.eos) if vocabulary.add_eos else ()) + (
        _known(sep) if vocabulary.add_sep else ()
    )
    return found or _known(sep)


def _known(token: int | None) -> tuple[int, ...]:
    return () if token is None else (token,)
