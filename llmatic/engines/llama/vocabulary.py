"""A model's vocabulary: text to token ids, token ids to bytes.

Owns tables that are computed once at load. Read-only afterwards, so every method may be called from any
thread while the model is loaded. Nobody else tokenises. Ids are checked here before llama.cpp sees them:
it aborts the process on an id outside the vocabulary.
"""

import ctypes
import re
from collections.abc import Sequence
from typing import Any

import llama_cpp as C

from llmatic.core.errors import ConfigError

_ATTR_UNKNOWN = 1 << 0
_ATTR_UNUSED = 1 << 1
_ATTR_CONTROL = 1 << 3
_MAX_TEXT_BYTES = 2**31 - 1


class Vocabulary:
    """Tokens of one loaded model.

    `pieces[id]` is the token's bytes as text (empty for control tokens), `texts[id]` the same as a string,
    or None where it is no whole UTF-8. `eog` are the tokens that end a turn; `hidden` those that no answer
    may contain (unused and padding entries). Ids that the model lacks are None. `add_bos`, `add_eos` and
    `add_sep`: the model wants that token at the beginning, at the end, between two texts.
    """

    def __init__(self, model: Any) -> None:
        """Read the tables of a loaded llama_model. Raises ConfigError if it has no vocabulary."""
        self._vocab = C.llama_model_get_vocab(model)
        self.n_tokens = int(C.llama_vocab_n_tokens(self._vocab)) if self._vocab else 0
        if self.n_tokens <= 0 or C.llama_vocab_type(self._vocab) == C.LLAMA_VOCAB_TYPE_NONE:
            raise ConfigError("the model file has no vocabulary")
        attributes = [int(C.llama_vocab_get_attr(self._vocab, i)) for i in range(self.n_tokens)]
        self.eog = frozenset(i for i in range(self.n_tokens) if C.llama_vocab_is_eog(self._vocab, i))
        self.control = frozenset(i for i, a in enumerate(attributes) if a & (_ATTR_CONTROL | _ATTR_UNKNOWN))
        self.pieces = self._read_pieces(special=False)
        self.texts = [_decode(piece) for piece in self.pieces]
        unused = {i for i, a in enumerate(attributes) if a & _ATTR_UNUSED and i not in self.eog}
        self.hidden = tuple(sorted(unused | self._suppressed()))
        self.add_bos = bool(C.llama_vocab_get_add_bos(self._vocab))
        self.bos = self._id(C.llama_vocab_bos)
        self.eos = self._id(C.llama_vocab_eos)
        self.sep = self._id(C.llama_vocab_sep)
        self.add_eos = bool(C.llama_vocab_get_add_eos(self._vocab))
        self.add_sep = bool(C.llama_vocab_get_add_sep(self._vocab))
        self.is_wordpiece = C.llama_vocab_type(self._vocab) == C.LLAMA_VOCAB_TYPE_WPM
        infill = [self._id(f) for f in (C.llama_vocab_fim_pre, C.llama_vocab_fim_suf, C.llama_vocab_fim_mid)]
        self.infill = None if None in infill else tuple(i for i in infill if i is not None)
        self.special_pattern = self._special_pattern()

    def _read_pieces(self, *, special: bool) -> list[bytes]:
        size = 256
        buffer = ctypes.create_string_buffer(size)
        pieces = []
        for token in range(self.n_tokens):
            n = C.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if n < 0:
                size = -n
                buffer = ctypes.create_string_buffer(size)
                n = C.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            pieces.append(buffer.raw[:n])
        return pieces

    def _suppressed(self) -> set[int]:
        n = ctypes.c_int32(0)
        ids = C.llama_vocab_get_suppress_tokens(self._vocab, ctypes.byref(n))
        return {int(ids[i]) for i in range(n.value) if 0 <= ids[i] < self.n_tokens} if ids else set()

    def _id(self, ask: Any) -> int | None:
        token = int(ask(self._vocab))
        return token if 0 <= token < self.n_tokens else None

    def _special_pattern(self) -> re.Pattern[str] | None:
        texts = sorted({self.markup(i) for i in self.control} - {""}, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts))) if texts else None

    @property
    def addresses(self) -> tuple[int, int]:
        """Of llama.cpp's vocabulary and of its `llama_tokenize`, for libraries that call it themselves."""
        vocab = ctypes.cast(self._vocab, ctypes.c_void_p).value
        tokenize = ctypes.cast(C.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value
        assert vocab is not None
        assert tokenize is not None
        return vocab, tokenize

    def entries(self) -> list[str]:
        """Every token as the file writes it."""
        texts = (C.llama_vocab_get_text(self._vocab, token) or b"" for token in range(self.n_tokens))
        return [text.decode("utf-8", "replace") for text in texts]

    def markup(self, token: int) -> str:
        """The token as it is written in a prompt, control tokens included: '<|im_end|>'."""
        if not 0 <= token < self.n_tokens:
            raise ValueError(f"token {token} is outside the vocabulary of {self.n_tokens}")
        text: bytes = C.llama_vocab_get_text(self._vocab, token) or b""
        return text.decode("utf-8", "replace") if token in self.control else (self.texts[token] or "")

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Token ids of `text` without BOS or EOS. `parse_special`: markup becomes control tokens."""
        data = text.encode("utf-8", "replace")
        if not data:
            return []
        if len(data) > _MAX_TEXT_BYTES:
            raise ValueError("text is too long to tokenise")
        n_room = len(data) + 16
        ids = (ctypes.c_int32 * n_room)()
        n = C.llama_tokenize(self._vocab, data, len(data), ids, n_room, False, parse_special)
        if n < 0 and n != -(2**31):
            n_room = -n
            ids = (ctypes.c_int32 * n_room)()
            n = C.llama_tokenize(self._vocab, data, len(data), ids, n_room, False, parse_special)
        if n < 0:
            raise ValueError("text cannot be tokenised")
        return ids[:n]

    def spell(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids` with control tokens written out, for echoing a prompt."""
        return b"".join(self.spell_one(i) for i in ids)

    def spell_one(self, token: int) -> bytes:
        """The bytes of one token, a control token written out."""
        return self.markup(token).encode() if token in self.control else self.pieces[token]


def _decode(piece: bytes) -> str | None:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None
