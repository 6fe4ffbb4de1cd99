import re

import pytest

from llmatic.core.types import CallDelta, TokenLogprob
from llmatic.engines.chat.events import AnswerEvent, CallArguments, CallBegin, CallEnd, Content, Thought
from llmatic.engines.llama.parsed import ParsedText, Parts


class Scripted:
    """A parser of `{thought}`, `[call:arguments]` and content; each mark comes whole in one piece."""

    def __init__(self) -> None:
        self._n_read = 0
        self._state = "content"

    @property
    def is_thinking(self) -> bool:
        return self._state == "thinking"

    @property
    def is_calling(self) -> bool:
        return self._state == "calling"

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        for mark in re.findall(r"[{}\]]|\[\w+:|[^{}\[\]]+", text):
            if mark == "{":
                self._state = "thinking"
            elif mark.startswith("["):
                self._state = "calling"
                events.append(CallBegin(mark[1:-1]))
            elif mark in "}]":
                if self._state == "calling":
                    events.append(CallEnd())
                self._state = "content"
            elif self._state == "content":
                events.append(Content(mark, self._n_read))
            else:
                events.append(CallArguments(mark) if self.is_calling else Thought(mark))
            self._n_read += len(mark)
        return events

    def finish(self) -> list[AnswerEvent]:
        return []


def entry(number: int, text: str) -> TokenLogprob:
    return TokenLogprob(number, text.encode(), -float(number))


class Run:
    """What came out of a list of tokens."""

    def __init__(
        self, tokens: list[str | bytes], stops: tuple[str, ...] = (), *, is_ended: bool = True
    ) -> None:
        self.parsed = parsed = ParsedText(Scripted(), stops)
        self.content, self.thoughts = "", ""
        self.calls: list[CallDelta] = []
        self.logprobs: list[int] = []
        for number, token in enumerate(tokens):
            piece = token if isinstance(token, bytes) else token.encode()
            text = None if isinstance(token, bytes) else token
            self._add(parsed.push(piece, text, entry(number, repr(token))))
            self.logprobs += [item.token_id for item in parsed.take_logprobs(is_end=False)]
            if parsed.is_stopped:
                return
        if is_ended:
            self._add(parsed.finish())
            self.logprobs += [item.token_id for item in parsed.take_logprobs(is_end=True)]

    def _add(self, parts: Parts) -> None:
        self.content += "".join(parts.content)
        self.thoughts += "".join(parts.thoughts)
        self.calls += parts.calls


def test_thinking_content_and_calls_come_apart() -> None:
    run = Run(["{", "hm", "}", "Let", " me", "[get:", "x=1", "]", "[put:", "]"])
    assert (run.thoughts, run.content) == ("hm", "Let me")
    assert run.calls == [CallDelta(0, "get"), CallDelta(0, arguments="x=1"), CallDelta(1, "put")]
    assert run.parsed.reason("stop") == "tool_calls"
    assert run.parsed.reason("length") == "length"


def test_thinking_counts_its_marks() -> None:
    assert Run(["a", "{", "b", "c", "}", "d"]).parsed.n_thinking == 4


def test_a_call_that_was_cut_off_is_no_reason_to_end() -> None:
    run = Run(["[get:", "x"])
    assert run.parsed.reason("stop") == "stop"


def test_log_probabilities_are_of_the_content_alone() -> None:
    run = Run(["{", "hm", "}", "Let", " me", "[get:", "x", "]", "!"])
    assert run.logprobs == [3, 4, 8]


def test_a_token_that_is_partly_content_counts_once() -> None:
    assert Run(["a}b", "c{", "d", "}e"]).logprobs == [0, 1, 3]


def test_characters_that_come_in_pieces() -> None:
    euro = "€".encode()
    run = Run([euro[:1], euro[1:2], euro[2:], "!"])
    assert run.content == "€!"
    assert run.logprobs == [0, 1, 2, 3]


def test_stop_texts_end_content_and_nothing_else() -> None:
    run = Run(["{", "END", "}", "[get:", "END", "]", "on", "e E", "ND two"], ("END",))
    assert run.parsed.is_stopped
    assert (run.thoughts, run.content) == ("END", "one ")
    assert run.calls[1].arguments == "END"
    assert run.parsed.reason("stop") == "stop"


@pytest.mark.parametrize("tail", ["E", "EN"])
def test_what_might_have_become_a_stop_text_comes_at_the_end(tail: str) -> None:
    run = Run(["one ", tail], ("END",))
    assert run.content == "one " + tail
    assert run.logprobs == [0, 1]
