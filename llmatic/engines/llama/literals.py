"""What stands for users' control-token texts, and for media, while a chat template runs.

Owns placeholders of private-use characters that occur nowhere else in a conversation: before rendering every
control token's text in what a client sent is replaced by one, media by another kind, and the rendered text is
cut at them afterwards. Pure; one object per prompt.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_OPEN, _LITERAL, _OTHER = "\ue000", "\ue001", "\ue002"
_SEPARATOR = "\n\x00\n"


class Literals:
    """The control-token texts in one conversation's strings.

    `texts`: all strings of the conversation. `pattern`: finds control-token texts; None: there are none.
    """

    def __init__(self, pattern: re.Pattern[str] | None, texts: Sequence[str]) -> None:
        whole = _SEPARATOR.join(texts)
        self._texts = sorted(set(pattern.findall(whole))) if pattern is not None else []
        mark = _OPEN
        while mark in whole:
            mark += _OPEN
        self._mark = mark
        self._pattern = pattern if self._texts else None
        self._holders = {text: f"{mark}{n}{_LITERAL}" for n, text in enumerate(self._texts)}
        self.sentinel = mark + _OTHER

    def hide(self, value: Any) -> Any:
        """`value` with every typed control token replaced, in strings and names at any depth."""
        pattern = self._pattern
        if pattern is None:
            return value
        return _map_strings(value, lambda text: pattern.sub(lambda m: self._holders[m.group()], text))

    def reveal(self, text: str) -> str:
        """`text` as it was before `hide`."""
        for literal, holder in self._holders.items():
            text = text.replace(holder, literal)
        return text

    def media(self, index: int) -> str:
        """What stands for media item `index`."""
        return f"{self._mark}{index}{_OTHER}"

    def cut(self, rendered: str) -> Iterator[tuple[str, bool] | int]:
        """The rendered text in pieces: (text, whether it is the template's), or the index of a media item."""
        if self._mark not in rendered and _escaped(self._mark) not in rendered:
            yield rendered, True
            return
        pieces = self._holder_pattern().split(rendered)
        # Groups of the pattern: literal or media number, plain or as JSON escapes it.
        for k in range(0, len(pieces), 5):
            if pieces[k]:
                yield pieces[k], True
            if k + 1 == len(pieces):
                return
            plain, medium, escaped, escaped_medium = pieces[k + 1 : k + 5]
            if medium or escaped_medium:
                yield int(medium or escaped_medium)
            else:
                text = self._texts[int(plain or escaped)]
                yield (text if plain else json.dumps(text)[1:-1]), False

    def _holder_pattern(self) -> re.Pattern[str]:
        forms = []
        for spell in (str, _escaped):
            for close in (_LITERAL, _OTHER):
                forms.append(f"{re.escape(spell(self._mark))}([0-9]+){re.escape(spell(close))}")
        return re.compile("|".join(forms))


def strings(value: Any) -> list[str]:
    """Every string in a JSON value, names included."""
    found: list[str] = []
    names: set[str] = set()
    _collect(value, found, names)
    return [*found, *names]


def _collect(value: Any, found: list[str], names: set[str]) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, Mapping):
        names.update(value)
        for item in value.values():
            _collect(item, found, names)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, found, names)


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    return value


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]
