"""Reading an answer as it is written: what is thinking, what is content, what are calls.

Owns the composition of a family's markers and of its calls' readers. Pure; a parser belongs to one answer.
"""

import re
from collections.abc import Iterable, Sequence

from llmatic.engines.chat.events import AnswerEvent, CallBegin, Content, Thought
from llmatic.engines.chat.families import Family
from llmatic.engines.chat.syntax import CallReader, Function

_SPACE = " \t\r\n"


class SectionsParser:
    """An AnswerParser for families whose answers are thinking, content and sections of calls.

    Thinking is stripped of the whitespace around it, and content of the whitespace that touches thinking,
    calls or the family's silent markers. Owns `_buffer`, the text that is not decided yet.
    """

    def __init__(
        self,
        family: Family,
        functions: Sequence[Function] | None,
        *,
        starts_thinking: bool = False,
        is_held: bool = False,
        is_required: bool = False,
    ) -> None:
        """`functions` None: nothing is a call. `starts_thinking`: the prompt ends inside of thinking.

        `is_held`: a grammar sees to it that what begins as a call is one, so that one which was cut off
        before its name is no text. `is_required`: the grammar allows nothing but calls.
        """
        self._family = family
        self._functions = functions
        self._is_held = is_held
        self._is_required = is_required
        self._silent = _silent(family, functions)
        self._first_markers = _markers(family, functions, self._silent, is_first=True)
        self._later_markers = _markers(family, functions, self._silent, is_first=False)
        self._closing = _Markers([] if family.thinking is None else [family.thinking.close])
        self._buffer = ""
        self._at = 0  # of the buffer's first character
        self._space = ""  # held back behind content or thinking; stands right before the buffer
        self._is_trimming = starts_thinking
        self._has_content = False
        self._is_thinking = starts_thinking
        self._has_thought = False
        self._reader: CallReader | None = None
        self._opened_by = ""
        self._n_fed = 0
        self._has_begun = False
        self._ids: set[str] = set()

    @property
    def is_thinking(self) -> bool:
        """See AnswerParser."""
        return self._is_thinking

    @property
    def is_calling(self) -> bool:
        """See AnswerParser."""
        return self._reader is not None

    def begin(self, text: str) -> None:
        """`text`, which nobody needs to be told of, is the answer's beginning, before all that is fed."""
        self._at -= len(text)
        self.feed(text)
        if self._is_thinking:
            self._space = ""

    def feed(self, text: str) -> list[AnswerEvent]:
        """See AnswerParser."""
        self._buffer += text
        events: list[AnswerEvent] = []
        is_going_on = True
        while is_going_on and self._buffer:
            if self._reader is not None:
                is_going_on = self._read_calls(events, self._reader)
            elif self._is_thinking:
                is_going_on = self._read_thinking(events)
            else:
                is_going_on = self._read_content(events)
        return _merged(events)

    def finish(self) -> list[AnswerEvent]:
        """See AnswerParser."""
        events: list[AnswerEvent] = []
        if self._reader is not None:
            if self._has_begun or not self._is_held:
                self._take_calls(events, self._reader.finish(), None)
        elif self._is_thinking:
            self._think(events, self._buffer)
        else:
            self._write(events, self._buffer)
            if self._space and not self._is_trimming:
                self._emit(events, self._space, self._at - len(self._space))
        self._buffer = self._space = ""
        return _merged(events)

    def _read_thinking(self, events: list[AnswerEvent]) -> bool:
        before, marker = self._cut(self._closing)
        self._think(events, before)
        if not marker:
            return False
        self._pass(marker)
        self._is_thinking, self._space, self._is_trimming = False, "", True
        return True

    def _think(self, events: list[AnswerEvent], text: str) -> None:
        self._pass(text)
        text = self._space + text
        if not self._has_thought:
            text = text.lstrip(_SPACE)
        thought = text.rstrip(_SPACE)
        self._space = text[len(thought) :]
        if thought:
            self._has_thought = True
            events.append(Thought(thought))

    def _read_content(self, events: list[AnswerEvent]) -> bool:
        before, marker = self._cut(self._later_markers if self._has_content else self._first_markers)
        is_first = not (self._has_content or before.strip(_SPACE))
        if marker and not is_first and marker not in self._later_markers.texts:
            before += marker  # counts at the beginning only
            self._write(events, before)
            return True
        self._write(events, before)
        if not marker:
            return False
        self._pass(marker)
        family = self._family
        if family.thinking is not None and marker in (family.thinking.open, family.thinking.close):
            self._is_thinking = marker == family.thinking.open
            self._space, self._is_trimming, self._has_thought = "", True, False
        elif marker in self._silent:
            self._space, self._is_trimming = "", True
        else:
            self._open(marker)
        return True

    def _open(self, marker: str) -> None:
        assert self._family.calls is not None
        self._reader = self._family.calls.reader(marker, self._functions or ())
        self._opened_by, self._n_fed, self._has_begun = marker, 0, False

    def _read_calls(self, events: list[AnswerEvent], reader: CallReader) -> bool:
        text = self._buffer
        self._n_fed += len(text)
        self._pass(text)
        found, rest = reader.feed(text)
        self._take_calls(events, found, rest)
        return rest is not None

    def _take_calls(self, events: list[AnswerEvent], found: list[AnswerEvent], rest: str | None) -> None:
        """What a reader found; `rest`: the section has ended and this text follows."""
        begins_at = self._at - self._n_fed
        is_text = rest is not None and not self._has_begun and len(rest) == self._n_fed
        for event in found:
            if isinstance(event, CallBegin):
                self._has_begun, self._space, self._is_trimming = True, "", True
                event = self._with_own_id(event)
            if isinstance(event, Content):
                if not self._has_begun and event.at == 0:
                    self._give_back_opener(events, begins_at)
                self._emit(events, event.text, begins_at + event.at)
            else:
                events.append(event)
        if rest is None:
            return
        self._at -= len(rest)
        self._buffer = rest
        self._reader = None
        if is_text and not self._has_begun:
            self._give_back_opener(events, begins_at)
        else:
            self._space, self._is_trimming, self._has_content = "", True, True

    def _with_own_id(self, event: CallBegin) -> CallBegin:
        """A model may call two calls the same; then the second one has no id."""
        if event.id in self._ids:
            return CallBegin(event.name)
        self._ids.add(event.id)
        return event

    def _give_back_opener(self, events: list[AnswerEvent], begins_at: int) -> None:
        text = self._space + self._opened_by
        self._emit(events, text, begins_at - len(text))
        self._space, self._is_trimming = "", False

    def _write(self, events: list[AnswerEvent], text: str) -> None:
        """Content, but for the whitespace at its end; that is held back."""
        self._pass(text)
        text = self._space + text
        at = self._at - len(text)
        if self._is_trimming:
            kept = text.lstrip(_SPACE)
            at += len(text) - len(kept)
            text = kept
        content = text.rstrip(_SPACE)
        self._space = text[len(content) :]
        if content:
            self._is_trimming = False
            self._emit(events, content, at)

    def _emit(self, events: list[AnswerEvent], text: str, at: int) -> None:
        self._has_content = self._has_content or bool(text.strip(_SPACE))
        if at < 0:
            text, at = text[-at:], 0
        if text and not self._is_required:
            events.append(Content(text, at))

    def _pass(self, text: str) -> None:
        """`text`, the buffer's beginning, is dealt with."""
        self._buffer = self._buffer[len(text) :]
        self._at += len(text)

    def _cut(self, markers: "_Markers") -> tuple[str, str]:
        """(the buffer before the first marker, the marker); without one the text that can begin none, ""."""
        found = markers.search(self._buffer)
        if found is not None:
            return self._buffer[: found.start()], found.group()
        return self._buffer[: markers.held_from(self._buffer)], ""


class _Markers:
    """Texts to look for. An empty set finds nothing."""

    __slots__ = ("_longest", "_pattern", "_starts", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = frozenset(texts)
        longest_first = sorted(self.texts, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._longest = len(longest_first[0]) if longest_first else 0
        self._starts = frozenset(text[0] for text in self.texts)

    def search(self, text: str) -> re.Match[str] | None:
        """The first of the texts in `text`, of those at one place the longest."""
        return self._pattern.search(text)

    def held_from(self, text: str) -> int:
        """Where the end of `text` begins that may be the beginning of one of the texts."""
        for at in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[at] in self._starts and any(marker.startswith(text[at:]) for marker in self.texts):
                return at
        return len(text)


def _markers(
    family: Family, functions: Sequence[Function] | None, silent: Sequence[str], *, is_first: bool
) -> _Markers:
    """What is no content; `is_first`: where no content was written yet."""
    markers = [*silent]
    thinking = family.thinking
    if thinking is not None and (is_first or thinking.is_anywhere):
        markers += [thinking.open, thinking.close]
    if family.calls is not None and functions is not None:
        markers += [text for text in family.calls.opens if is_first or not family.counts_at_beginning(text)]
    return _Markers(markers)


def _silent(family: Family, functions: Sequence[Function] | None) -> tuple[str, ...]:
    """The markers that are neither content nor calls."""
    if functions is None:
        return (*family.unseen, *([family.lead_in + family.content_lead] if family.content_lead else ()))
    if not family.call_lead:
        return family.unseen
    return (*family.unseen, *(family.call_lead.replace("$name", function.name) for function in functions))


def _merged(events: list[AnswerEvent]) -> list[AnswerEvent]:
    """Neighbours of one kind as one event."""
    merged: list[AnswerEvent] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, Content) and isinstance(last, Content) and last.at + len(last.text) == event.at:
            merged[-1] = Content(last.text + event.text, last.at)
        elif isinstance(event, Thought) and isinstance(last, Thought):
            merged[-1] = Thought(last.text + event.text)
        else:
            merged.append(event)
    return merged
