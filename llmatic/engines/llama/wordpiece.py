"""WordPiece as BERT's own tokenizer cuts texts.

Owns the cutting, because llama.cpp's differs: it loses vowel signs (category Mc) and all but the first part
of what decomposes into several letters, Hangul for example. Pure Python, and still quicker than a call of
llama.cpp for each text. One thread at a time.

Sources: google-research/bert, tokenization.py; huggingface/tokenizers, BertNormalizer and BertPreTokenizer.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence

BEGINNING = "\u2581"  # how GGUF files mark the beginnings of words
N_WORD_MAX = 100
N_KNOWN_MAX = 100_000
_IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


class WordPiece:
    """Cuts texts into tokens.

    `pieces`: the file's texts and their ids, those at the beginning of words marked. `unknown` stands for a
    word that cannot be made of pieces.
    """

    def __init__(
        self, pieces: Mapping[str, int], *, unknown: int, lowercase: bool = True, strip_accents: bool = True
    ) -> None:
        marked = {text: token for text, token in pieces.items() if text.startswith(BEGINNING)}
        self._first = {text[1:]: token for text, token in marked.items()}
        self._later = {text: token for text, token in pieces.items() if text not in marked}
        self._unknown = (unknown,)
        self._strips = strip_accents
        self._characters = _Characters(lowercase=lowercase, strip_accents=strip_accents)
        self._n_longest = max(map(len, pieces), default=0)
        self._known: dict[str, Sequence[int]] = {}

    def tokenize(self, text: str) -> list[int]:
        """The tokens of `text`, no special ones."""
        if self._strips and not text.isascii():
            text = unicodedata.normalize("NFD", text)
        known = self._known
        ids: list[int] = []
        for word in text.translate(self._characters).split(" "):
            if word:
                found = known.get(word)
                ids += self._learn(word) if found is None else found
        return ids

    def _learn(self, word: str) -> Sequence[int]:
        if len(word) > N_WORD_MAX:
            return self._unknown
        if len(self._known) >= N_KNOWN_MAX:
            self._known.clear()
        ids = self._known[word] = tuple(self._cut(word)) or self._unknown
        return ids

    def _cut(self, word: str) -> Iterator[int]:
        """The longest piece first; nothing at all if something is left that is no piece."""
        found: list[int] = []
        pieces, first = self._first, 0
        while first < len(word):
            for last in range(min(len(word), first + self._n_longest), first, -1):
                token = pieces.get(word[first:last])
                if token is not None:
                    found.append(token)
                    pieces, first = self._later, last
                    break
            else:
                return
        yield from found


class _Characters(dict[int, str]):
    """Character → what it becomes; what stands alone gets blanks around it. Filled as characters come."""

    def __init__(self, *, lowercase: bool, strip_accents: bool) -> None:
        super().__init__()
        self._lowercase, self._strip_accents = lowercase, strip_accents

    def __missing__(self, code: int) -> str:
        if len(self) >= N_KNOWN_MAX:
            self.clear()
        self[code] = made = self._make(code, chr(code))
        return made

    def _make(self, code: int, character: str) -> str:
        if character in "\t\n\r":
            return " "
        category = unicodedata.category(character)
        if code in (0, 0xFFFD) or category in ("Cc", "Cf", "Co", "Cs"):
            return ""
        if character.isspace():
            return " "
        if self._strip_accents and category == "Mn":
            return ""
        is_ascii_sign = code < 128 and not character.isalnum()
        stands_alone = is_ascii_sign or category[0] == "P" or any(a <= code <= b for a, b in _IDEOGRAPHS)
        made = character.lower() if self._lowercase else character
        return f" {made} " if stands_alone else made
