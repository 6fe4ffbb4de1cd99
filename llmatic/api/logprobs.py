"""Log probabilities in the two shapes that OpenAI gives them.

/completions has parallel lists with character offsets, chat has one object per token. Tokens that are no
whole characters are written with escapes, as OpenAI writes them. Pure; any thread.
"""

from codecs import getincrementaldecoder
from collections.abc import Iterable
from typing import Any

from llmatic.core.types import TokenLogprob, TopLogprob

_Utf8Decoder = getincrementaldecoder("utf-8")


class OffsetCounter:
    """Character offsets of the tokens of one choice, carried from chunk to chunk."""

    def __init__(self, start: int) -> None:
        self._offset = start
        self._decoder = _Utf8Decoder("replace")

    def place(self, data: bytes) -> int:
        """The offset of the next token; a token inside a character has that character's offset."""
        offset = self._offset
        self._offset += len(self._decoder.decode(data))
        return offset


def completion_logprobs(tokens: Iterable[TokenLogprob], offsets: OffsetCounter) -> dict[str, list[Any]]:
    """The `logprobs` object of /completions.

    `top_logprobs` holds the k likeliest tokens and always the chosen one; for the first token of an
    echoed prompt, which nothing precedes, both entries are null.
    """
    texts: list[str] = []
    logprobs: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    places: list[int] = []
    for token in tokens:
        text = _legacy_text(token.data)
        texts.append(text)
        logprobs.append(token.logprob)
        places.append(offsets.place(token.data))
        if token.logprob is None:
            tops.append(None)
        else:
            top = {_legacy_text(other.data): other.logprob for other in token.top}
            top.setdefault(text, token.logprob)
            tops.append(top)
    return {"tokens": texts, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": places}


def chat_logprobs(tokens: Iterable[TokenLogprob], n_top: int) -> dict[str, Any]:
    """The `logprobs` object of a chat choice, with `n_top` alternatives for each token."""
    content = [
        {
            **_chat_token(token.data, token.logprob),
            "top_logprobs": [_chat_top(other) for other in token.top[:n_top]],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _chat_top(token: TopLogprob) -> dict[str, Any]:
    return _chat_token(token.data, token.logprob)


def _chat_token(data: bytes, logprob: float | None) -> dict[str, Any]:
    text = _text_of(data)
    return {
        "token": _escaped(data) if text is None else text,
        "logprob": logprob,
        "bytes": list(data),
    }


def _legacy_text(data: bytes) -> str:
    text = _text_of(data)
    return "bytes:" + _escaped(data) if text is None else text


def _text_of(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)
