"""The text of a chat answer taken apart.

Owns what stands between the family's parser and what may be sent: characters out of bytes, stop texts, which
token's log probability belongs to the content, the numbers of calls. Pure; one per choice; the engine's
thread.

Stop texts end a choice where they appear in its content, never inside thinking or a call.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmatic.core.types import CallDelta, FinishReason, TokenLogprob
from llmatic.engines.chat.events import (
    AnswerEvent,
    AnswerParser,
    CallArguments,
    CallBegin,
    CallEnd,
    Content,
    Thought,
)
from llmatic.engines.llama.detokenizer import TextStream


@dataclass(slots=True)
class Parts:
    """What one token or more have made certain."""

    content: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[CallDelta] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.content or self.thoughts or self.calls)


class ParsedText:
    """One choice's text as its family's parser reads it.

    `n_thinking` tokens were thinking, its marks included; `is_stopped`: a stop text came.
    """

    __slots__ = (
        "_content",
        "_decoder",
        "_entries",
        "_n_calls",
        "_n_raw",
        "_n_whole_calls",
        "_parser",
        "n_thinking",
    )

    def __init__(self, parser: AnswerParser, stops: Sequence[str]) -> None:
        """The parser is this choice's own."""
        self._parser = parser
        self._decoder = TextStream()
        self._content = TextStream(stops)
        self._entries: deque[tuple[int, int, TokenLogprob]] = deque()  # first character, one past the last
        self._n_raw = 0
        self._n_calls = 0
        self._n_whole_calls = 0
        self.n_thinking = 0

    @property
    def is_stopped(self) -> bool:
        """Whether a stop text has been found in the content."""
        return self._content.is_stopped

    @property
    def stopped_by(self) -> str:
        """The stop text that has been found, or nothing."""
        return self._content.stopped_by

    @property
    def is_thinking(self) -> bool:
        """Whether the next token belongs to the thinking."""
        return self._parser.is_thinking

    @property
    def is_between_characters(self) -> bool:
        """Whether the last token has ended a character."""
        return not self._decoder.is_pending

    def push(self, piece: bytes, text: str | None, entry: TokenLogprob | None) -> Parts:
        """Add a token's bytes (`text`: the same decoded, if whole UTF-8) and its log probability."""
        text = self._decoder.push(piece, text)
        start, self._n_raw = self._n_raw, self._n_raw + len(text)
        if entry is not None:
            self._entries.append((start, max(self._n_raw, start + 1), entry))
        was_thinking = self._parser.is_thinking
        parts = self._take(self._parser.feed(text) if text else [])
        self.n_thinking += was_thinking or self._parser.is_thinking
        return parts

    def finish(self) -> Parts:
        """No more tokens."""
        rest = self._decoder.finish()
        events = self._parser.feed(rest) if rest else []
        parts = self._take([*events, *self._parser.finish()])
        if text := self._content.finish():
            parts.content.append(text)
        return parts

    def reason(self, reason: FinishReason) -> FinishReason:
        """Why the choice has ended: a choice that ends after whole calls ended because of them."""
        is_calling = reason == "stop" and not self.is_stopped and self._n_whole_calls > 0
        return "tool_calls" if is_calling else reason

    def take_logprobs(self, *, is_end: bool) -> tuple[TokenLogprob, ...]:
        """Those of the tokens whose content has gone out."""
        return self._content.take_logprobs(is_end=is_end)

    def _take(self, events: Sequence[AnswerEvent]) -> Parts:
        parts = Parts()
        for event in events:
            if isinstance(event, Content):
                if text := self._add_content(event):
                    parts.content.append(text)
            elif isinstance(event, Thought):
                parts.thoughts.append(event.text)
            elif isinstance(event, CallBegin):
                parts.calls.append(CallDelta(self._n_calls, event.name, event.id))
                self._n_calls += 1
            elif isinstance(event, CallArguments):
                parts.calls.append(CallDelta(self._n_calls - 1, arguments=event.text))
            else:
                assert isinstance(event, CallEnd)
                self._n_whole_calls += 1
        return parts

    def _add_content(self, event: Content) -> str:
        """The content that may go out; every token in it hands its log probability over where it begins."""
        entries, end = self._entries, event.at + len(event.text)
        out, at = [], event.at
        while entries and entries[0][0] < end:
            first, last, entry = entries.popleft()
            if last <= event.at:
                continue
            start = max(first, event.at)
            out.append(self._content.push(b"", event.text[at - event.at : start - event.at]))
            # An entry belongs to the place where the text behind it begins.
            at = start
            out.append(self._content.push(b"", "", entry))
        out.append(self._content.push(b"", event.text[at - event.at :]))
        return "".join(out)
