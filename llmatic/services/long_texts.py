"""Judges texts of any length by a model that reads only so much at once.

Owns the cutting: a text that is too long is judged in windows that overlap, so that nothing at a border is
seen in halves only, and every category gets the highest score that a window has. The server knows no tokens;
the engine refuses what is too long, and that is cut again. A text that fits is judged as it is. Never knows
what judges. Event loop's thread.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from llmatic.core.errors import ContextLengthExceeded

Scores = Mapping[str, float]  # category → from 0 to 1
Judge = Callable[[Sequence[str]], Awaitable[list[Scores]]]

_HOPELESS, _HOPEFUL = 6, 4  # characters a token: more are not tried at once; so many are
_OVERLAP = 8  # windows share an eighth
_SHORTEST = 16


async def judge_whole(texts: Sequence[str], n_context: int, judge: Judge) -> list[Scores]:
    """The scores of each text, however long. `n_context`: the tokens that the model reads at once.

    Raises what `judge` raises; ContextLengthExceeded only if even a few characters are too long.
    """
    pieces = [
        windows(text, n_context * _HOPEFUL) if len(text) > n_context * _HOPELESS else [text] for text in texts
    ]
    found = iter(await _judge([piece for several in pieces for piece in several], judge))
    return [highest([next(found) for _ in several]) for several in pieces]


def windows(text: str, size: int) -> list[str]:
    """Pieces of at most about `size` characters that cover the text; each shares an eighth with the next.

    They begin at the beginning of a word where there is one near.
    """
    overlap = max(1, size // _OVERLAP)
    found: list[str] = []
    begin = 0
    while begin + size < len(text):
        found.append(text[begin : begin + size])
        begin += size - overlap
        space = text.rfind(" ", begin - overlap // 2, begin)
        begin = begin if space < 0 else space + 1
    return [*found, text[begin:]]


def highest(several: Sequence[Scores]) -> Scores:
    """The highest score of each category."""
    return {category: max(scores[category] for scores in several) for category in several[0]}


async def _judge(pieces: list[str], judge: Judge) -> list[Scores]:
    """Together; if the engine refuses one as too long, the longer half of them apart from the shorter."""
    try:
        return await judge(pieces)
    except ContextLengthExceeded:
        if len(pieces) == 1:
            return [highest(await _judge_cut(pieces[0], judge))]
    order = sorted(range(len(pieces)), key=lambda place: len(pieces[place]))
    found: dict[int, Scores] = {}
    for places in (order[: len(order) // 2], order[len(order) // 2 :]):
        scores = await _judge([pieces[place] for place in places], judge)
        found |= zip(places, scores, strict=True)
    return [found[place] for place in range(len(pieces))]


async def _judge_cut(text: str, judge: Judge) -> list[Scores]:
    """In ever smaller windows, until the engine takes them."""
    size = len(text)
    while True:
        size = size // 2 + size // _OVERLAP
        try:
            return await judge(windows(text, size))
        except ContextLengthExceeded:
            if size < _SHORTEST:
                raise
